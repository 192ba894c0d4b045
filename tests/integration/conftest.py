"""Copies of the project to run things in, and commands as a user types them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

PROJECT = Path(__file__).parents[2]
UNUSED = shutil.ignore_patterns("local", "*.egg-info", "dvc.lock")
COSTS = ("cost_teachers.json", "cost_student.json", "cost_supervised.json")
ACCOUNTS = ("run_manifest.json", "report.html", "checked_files.json", "lock", ".gitignore", *COSTS)


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Copy what is needed to run the project, without any data."""

    def make(name: str) -> Path:
        root = tmp_path_factory.mktemp(name) / "project"
        for folder in ("conf", "src"):
            shutil.copytree(PROJECT / folder, root / folder, ignore=UNUSED)
        (root / "conf/local").mkdir()
        for file in ("pyproject.toml", ".telemetry", ".gitignore", ".dvcignore", "dvc.yaml", "requirements.lock"):
            shutil.copy(PROJECT / file, root)
        (root / ".dvc").mkdir()
        for file in ("config", ".gitignore"):
            shutil.copy(PROJECT / ".dvc" / file, root / ".dvc")
        shutil.copytree(PROJECT / ".dvc/plots", root / ".dvc/plots")
        return root

    return make


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """What a command finds when this environment is activated; no GPU, which would give other bits than committed."""
    mine = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("DVC_")}
    who = {f"GIT_{role}_{what}": "test" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return kept | who | {"PATH": mine, "KEDRO_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="session")
def type_command(environment: dict[str, str]) -> Callable[..., str]:
    """Type a command in a folder; give what it says, and fail where it ends otherwise than expected."""

    def type_command(folder: Path, *command: str, code: int = 0) -> str:
        ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == code, f"{command}: {ran.returncode}\n{ran.stdout}{ran.stderr}"
        return ran.stdout + ran.stderr

    return type_command


@pytest.fixture(scope="session")
def kedro_run(type_command) -> Callable[..., str]:
    """Type ``kedro run --env=smoke`` in a folder."""

    def kedro_run(root: Path, *options: str, code: int = 0) -> str:
        return type_command(root, "kedro", "run", "--env=smoke", "--params=runtime.threads=1", *options, code=code)

    return kedro_run


@pytest.fixture(scope="session")
def outputs() -> Callable[[Path], dict[str, bytes]]:
    """Give the files of a project's results, all but the accounts of when and where they were made."""

    def outputs(root: Path) -> dict[str, bytes]:
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted((root / "data").rglob("*"))
            if path.is_file() and path.name not in ACCOUNTS
        }

    return outputs


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory, worker_id: str, make_project, kedro_run) -> Path:
    """A folder in which the whole has run, undisturbed: once for all of xdist's processes, so write no data there."""
    shared = tmp_path_factory.getbasetemp()
    done = (shared if worker_id == "master" else shared.parent) / "full"
    with FileLock(done.with_suffix(".lock")):
        if not done.exists():
            root = make_project("full")
            said = kedro_run(root, "--pipeline=full")
            assert "Traceback" not in said
            assert "student_learning" in said
            assert "step 8/8" in said
            done.symlink_to(root)
    return done.resolve()


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run pipelines in this process: as the command does, without the seconds that it takes to start."""
    monkeypatch.setenv("KEDRO_DISABLE_TELEMETRY", "1")
    monkeypatch.setattr(sys, "path", [*sys.path])  # a run adds to it

    def run(root: Path, *pipelines: str, **parameters: object) -> None:
        monkeypatch.chdir(root)
        bootstrap_project(root)
        # Of two threads, each would wait for the other where the tests' machine is busy.
        given = {"runtime": {"threads": 1, "device": "cpu"}} | parameters
        with KedroSession.create(root, env="smoke", runtime_params=given) as session:
            session.run(pipeline_names=list(pipelines))

    return run
