"""The project's own commands, and Kedro's ``run`` as part of them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from kedro.framework.cli import project
from kedro.framework.cli.utils import find_run_command

from igl_dt.cli import run

PROJECT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Kedro's, on names of datasets


@pytest.mark.parametrize("option", ["--pipeline=evaluaton", "--pipelines=data_splitting,evaluaton"])
def test_an_unknown_pipeline_brings_the_nearest(option: str) -> None:
    said = CliRunner().invoke(run, [option])
    assert said.exit_code == 1
    assert said.output.strip() == "Error: --pipelines: there is no pipeline 'evaluaton'; did you mean 'evaluation'?"


def test_everything_else_is_kedros() -> None:
    assert find_run_command("igl_dt") is run  # of an installed package
    assert run.params == project.run.params
    assert run.help == project.run.help
    said = CliRunner().invoke(run, ["--help"])
    assert "--pipelines" in said.output
    assert "--conf-source" in said.output


@pytest.mark.slow
def test_the_package_runs_in_a_clean_environment_outside_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `kedro package` builds, with its dependencies from a package registry, and a copy of its configuration."""

    def run(*command: str | Path, folder: Path = tmp_path) -> None:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"

    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("KEDRO_DISABLE_TELEMETRY", "1")
    tracked = subprocess.run(["git", "ls-files"], cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    for name in tracked.splitlines():
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / "project" / name)
    run(sys.executable, "-m", "kedro", "package", folder=tmp_path / "project")
    built = tmp_path / "project/dist"
    (wheel,) = built.glob("*.whl")
    run("tar", "-xzf", built / "conf-igl_dt.tar.gz")
    python = tmp_path / "environment/bin/python"
    run(sys.executable, "-m", "uv", "venv", "--python", sys.executable, tmp_path / "environment")
    versions = ("--constraint", PROJECT / "requirements.lock")
    run(sys.executable, "-m", "uv", "pip", "install", "--python", python, *versions, wheel)
    shutil.rmtree(tmp_path / "project")
    (tmp_path / "work").mkdir()
    options = ("--conf-source=../conf", "--env=smoke", "--pipelines=full", "--params=runtime.threads=1")
    run(python, "-m", "igl_dt", *options, folder=tmp_path / "work")
    assert (tmp_path / "work/data/08_reporting/smoke/report.html").is_file()
