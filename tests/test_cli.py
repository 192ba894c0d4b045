"""The project's own commands, and Kedro's ``run`` as part of them."""

import subprocess
import sys
import zipfile
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
def test_the_wheel_runs_outside_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `kedro package` builds it, with a folder of configuration of its own."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    subprocess.run(["cp", "-r", str(PROJECT / "conf"), str(tmp_path / "settings")], check=True)
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("KEDRO_DISABLE_TELEMETRY", "1")
    command = [sys.executable, "-m", "igl_dt", "--conf-source=../settings", "--env=smoke", "--params=runtime.threads=1"]
    ran = subprocess.run(command, cwd=tmp_path / "work", capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "work/data/08_reporting/smoke/report.html").is_file()
