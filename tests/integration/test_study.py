"""A study as a user types it: one run at a time or two, killed and typed again, with a run that fails."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

TINY = """\
env: smoke
parameters: {runtime.recovery_seconds: 0}
fractions: [0.25]
seeds: [0]
methods:
  supervised: {}
  igl_dt: {}
  fixmatch: {fractions: [1.0]}  # fails: no unlabelled images
ablations:
  no_local: {method: igl_dt, parameters: {student_learning.method.igl_dt.local_weight: 0}}
candidates: [igl_dt]
"""
COMMAND = ("kedro", "study", "run", "tiny")
TABLES = ("results.csv", "table.md")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def make_study(make_project: Callable[[str], Path]) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        root = make_project(name)
        (root / "studies/tiny").mkdir(parents=True)
        (root / "studies/tiny/study.yml").write_text(TINY, "utf-8")
        return root

    return make


@pytest.fixture(scope="module")
def once(make_study, type_command) -> Path:
    root = make_study("once")
    assert "not done: tiny-fixmatch-1-0;" in type_command(root, *COMMAND, code=1)
    return root


def tables(root: Path) -> list[str]:
    return [(root / "studies/tiny" / name).read_text("utf-8") for name in TABLES]


def test_killed_at_random_and_typed_again_it_gives_the_same(once: Path, make_study, type_command, environment) -> None:
    root = make_study("killed")
    moments = random.Random(0)
    for how in ("alone", "with its runs", "Ctrl-C", "with its runs"):
        process = subprocess.Popen(
            (*COMMAND, "--jobs=2"), cwd=root, env=environment | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        while "started" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(moments.uniform(0, 15))
        found = subprocess.run(["pgrep", f"-P{process.pid}"], capture_output=True, text=True, check=False)
        cells = found.stdout.split()
        process.send_signal(signal.SIGINT if how == "Ctrl-C" else signal.SIGKILL)
        if how == "with its runs":
            for cell in cells:
                os.killpg(int(cell), signal.SIGKILL)
        process.communicate()
        print(f"killed {how}: {len(cells)} were running", flush=True)
        if how == "Ctrl-C":
            assert not any(Path("/proc", cell).exists() for cell in cells)
    type_command(root, *COMMAND, code=1)
    assert tables(root) == tables(once)


def test_two_at_once_give_the_same(once: Path, make_study, type_command) -> None:
    root = make_study("twice")
    type_command(root, *COMMAND, "--jobs=2", code=1)
    assert tables(root) == tables(once)


def test_as_tasks_of_a_ray_cluster_they_give_the_same(once: Path, make_study, type_command) -> None:
    pytest.importorskip("ray")
    root = make_study("ray")
    type_command(root, *COMMAND, "--jobs=2", "--address=local", code=1)
    assert tables(root) == tables(once)


def test_another_clone_runs_only_what_the_tables_do_not_have(once: Path, make_study, type_command) -> None:
    root = make_study("clone")
    for name in ("results.csv", "costs.csv"):
        shutil.copy(once / "studies/tiny" / name, root / "studies/tiny")
    said = type_command(root, *COMMAND, code=1)
    assert [line for line in said.splitlines() if line.endswith("started")] == ["tiny-fixmatch-1-0 started"]
    assert tables(root) == tables(once)


def test_a_failed_run_is_in_the_table_and_the_others_are_done(once: Path, type_command) -> None:
    results, table = tables(once)
    assert [line.split(",")[:6] for line in results.splitlines()[1::2]] == [
        ["supervised", "", "0.25", "0", "last", "done"],
        ["igl_dt", "", "0.25", "0", "last", "done"],
        ["fixmatch", "", "1.0", "0", "last", "failed"],
        ["igl_dt", "no_local", "0.25", "0", "last", "done"],
    ]
    assert "| fixmatch | 1 | 0 (1 failed) | – | – |" in table
    assert "4 of 5 runs are done" in type_command(once, "kedro", "study", "plan", "tiny")
