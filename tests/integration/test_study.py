"""A study as a user types it: in one process or two, killed and typed again, with a run that fails."""

import os
import random
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
seeds: [0, 1]
methods:
  supervised: {}
  igl_dt: {seeds: [0]}
  fixmatch: {fractions: [1.0], seeds: [0]}  # fails: no unlabelled images
ablations:
  no_local: {method: igl_dt, parameters: {student_learning.method.igl_dt.local_weight: 0}}
candidates: [igl_dt]
"""


@pytest.fixture
def make_study(make_project: Callable[[str], Path]) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        root = make_project(name)
        (root / "studies/tiny").mkdir(parents=True)
        (root / "studies/tiny/study.yml").write_text(TINY, "utf-8")
        return root

    return make


def tables(root: Path) -> tuple[str, str]:
    return (root / "studies/tiny/results.csv").read_text("utf-8"), (root / "studies/tiny/table.md").read_text("utf-8")


@pytest.mark.slow
def test_one_job_two_jobs_and_killed_at_random_give_the_same_results(make_study, type_command, environment) -> None:
    run = ("kedro", "study", "run", "tiny")
    once = make_study("once")
    began = time.monotonic()
    said = type_command(once, *run, code=1)
    seconds = time.monotonic() - began
    assert "failed: tiny-fixmatch-1-0" in said
    results, table = tables(once)
    assert [line.split(",")[:6] for line in results.splitlines()[1::2]] == [
        ["supervised", "", "0.25", "0", "last", "done"],
        ["igl_dt", "", "0.25", "0", "last", "done"],
        ["fixmatch", "", "1.0", "0", "last", "failed"],
        ["igl_dt", "no_local", "0.25", "0", "last", "done"],
        ["supervised", "", "0.25", "1", "last", "done"],
    ]
    assert "| fixmatch | 1 | 0 (1 failed) | – | – |" in table
    assert "5 of 6 runs are done" in type_command(once, "kedro", "study", "plan", "tiny")
    assert "started" not in type_command(once, *run, code=1).replace("tiny-fixmatch-1-0 started", "")

    twice = make_study("twice")
    type_command(twice, *run, "--jobs=2", code=1)
    assert tables(twice) == (results, table)

    killed = make_study("killed")
    moments = random.Random(0)
    for how in ("alone", "with its runs", "Ctrl-C", "with its runs"):
        command = (*run, "--jobs=2")
        process = subprocess.Popen(command, cwd=killed, env=environment, stdout=subprocess.PIPE, text=True)
        time.sleep(moments.uniform(0.15, 0.4) * seconds)
        assert process.poll() is None, process.communicate()
        cells = subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        process.send_signal(signal.SIGINT if how == "Ctrl-C" else signal.SIGKILL)
        if how == "with its runs":
            for cell in cells:
                os.killpg(int(cell), signal.SIGKILL)
        process.communicate()
        if how == "Ctrl-C":
            assert not any(Path("/proc", cell).exists() for cell in cells)
    type_command(killed, *run, code=1)
    assert tables(killed) == (results, table)
