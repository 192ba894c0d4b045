"""Runs that are killed at any moment and typed again: they end with the bytes of an undisturbed one."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = (
    "kedro",
    "run",
    "--env=smoke",
    "--pipelines=full",
    "--params=runtime.threads=1,runtime.recovery_seconds=0",
)

TEACHERS = "09_recovery/smoke/teacher_pretraining/*/*.pt"
STUDENT = "09_recovery/smoke/student_learning/student-*/*.pt"


@pytest.fixture
def start(environment: dict[str, str]) -> Callable[[Path], subprocess.Popen[str]]:
    """Start the run in a process group of its own."""

    def start(root: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            COMMAND,
            cwd=root,
            env=environment | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


def wait_for_file(process: subprocess.Popen[str], root: Path, pattern: str) -> None:
    while not any((root / "data").glob(pattern)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def kill(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> str:
    """End it with all that it has started; give what it had still said."""
    os.killpg(process.pid, number)
    said, _ = process.communicate()
    return said


def assert_same(once: dict[str, bytes], again: dict[str, bytes]) -> None:
    assert once.keys() == again.keys()
    assert [name for name in once if once[name] != again[name]] == []


@pytest.mark.parametrize("pattern", [TEACHERS, STUDENT, "07_model_output/smoke/*.csv"])
def test_goes_on_to_the_same_bytes(full: Path, make_project, start, type_command, outputs, pattern: str) -> None:
    root = make_project("killed")
    process = start(root)
    wait_for_file(process, root, pattern)
    kill(process)
    record = json.loads((root / "data/08_reporting/smoke/run_manifest.json").read_text("utf-8"))
    assert record["data_splitting"]["unfinished"] == [] and record["teacher_pretraining"]["commit"] is None
    assert record["student_learning"]["unfinished"] or pattern.endswith("csv")
    (root / "data/08_reporting/smoke/.run_manifest.json.1.tmp").touch()  # as if killed while it wrote
    said = type_command(root, *COMMAND)
    assert "goes on after step" in said
    assert "starts afresh" not in said
    assert_same(outputs(full), outputs(root))
    assert not list((root / "data/09_recovery").rglob("*.pt"))


def test_ctrl_c_saves_and_says_how_to_go_on(full: Path, make_project, start, type_command, outputs) -> None:
    root = make_project("interrupted")
    process = start(root)
    wait_for_file(process, root, STUDENT)
    said = kill(process, signal.SIGINT)
    assert process.returncode != 0
    assert "was stopped after step" in said and "the same command goes on from there" in said
    assert "Traceback" not in said
    assert "goes on after step" in type_command(root, *COMMAND)
    assert_same(outputs(full), outputs(root))


def test_a_second_run_of_the_recipe_is_refused(make_project, start, type_command) -> None:
    root = make_project("twice")
    process = start(root)
    wait_for_file(process, root, TEACHERS)
    os.killpg(process.pid, signal.SIGSTOP)  # so that it is not done before the second one has begun
    said = type_command(root, *COMMAND, code=1)
    kill(process)
    assert "another run of this recipe is under way" in said and "Traceback" not in said
    type_command(root, "kedro", "run", "--env=smoke", "--pipelines=data_splitting")


@pytest.mark.slow
def test_killed_at_twenty_random_moments(full: Path, make_project, start, type_command, outputs) -> None:
    template = make_project("template")
    began = time.monotonic()
    type_command(template, *COMMAND)
    seconds = time.monotonic() - began
    shutil.rmtree(template / "data")
    moments = random.Random(0)
    for number in range(20):
        root = template.with_name(f"killed{number}")
        while True:
            shutil.copytree(template, root)
            began = time.monotonic()
            process = start(root)
            try:
                # The first seconds are imports: nothing is lost by a kill there.
                process.communicate(timeout=moments.uniform(0.2, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                kill(process)
                break
            seconds = time.monotonic() - began  # it was quicker than the first one, and has ended before
            shutil.rmtree(root)
        said = type_command(root, *COMMAND)
        assert_same(outputs(full), outputs(root))
        went_on = re.findall(r"(\S+) goes on after step (\d+)", said)
        print(f"run {number + 1} of 20: killed, went on {went_on or 'from the start'}, the same bytes", flush=True)
        shutil.rmtree(root)
