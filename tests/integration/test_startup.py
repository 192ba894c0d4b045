"""What has to be quick imports nothing that is slow."""

import subprocess
import sys
from pathlib import Path

import pytest

SLOW = ("torch", "torchvision", "timm", "dvc", "grimp", "scipy")
COMMANDS = """
import sys
from kedro.framework.cli import main
for command in ("--help", "reproduce --help", "registry list", "run --env=smoke --pipelines=data_splitting"):
    sys.argv = ["kedro", *command.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code, command
    print("slow:", command, [name for name in {slow} if name in sys.modules])
"""
VIZ = """
import sys
from pathlib import Path
from kedro.framework.startup import bootstrap_project
bootstrap_project(Path.cwd())
from kedro_viz.server import load_and_populate_data
from kedro_viz.api import apps
from kedro_viz.api.rest.responses.nodes import get_node_metadata_response
from kedro_viz.data_access import data_access_manager
load_and_populate_data(Path.cwd(), env="smoke", package_name="igl_dt")
apps.create_api_app_from_project(Path.cwd())
for node in data_access_manager.nodes.get_node_ids():
    get_node_metadata_response(node)
print("slow:", [name for name in {slow} if name in sys.modules])
"""


@pytest.fixture(scope="module")
def project(make_project) -> Path:
    return make_project("startup")


@pytest.mark.parametrize("code", [COMMANDS, VIZ], ids=["commands", "kedro-viz with all previews"])
def test_no_torch(project: Path, environment: dict[str, str], code: str) -> None:
    command = [sys.executable, "-c", code.format(slow=SLOW)]
    ran = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    said = [line for line in ran.stdout.splitlines() if line.startswith("slow: ")]
    assert len(said) == (4 if code is COMMANDS else 1)
    assert all(line.endswith("[]") for line in said), said
    assert "WARNING" not in ran.stderr or code is VIZ  # there, of all that has not been made yet
