"""Runs that are killed at any moment and typed again: they end with the bytes of an undisturbed one."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from igl_dt.training import IN_USE, STOPPED

COMMAND = (
    "kedro",
    "run",
    "--env=smoke",
    "--pipelines=full",
    "--params=runtime.threads=1,runtime.recovery_seconds=0",
)

TEACHERS = "09_recovery/smoke/teacher_pretraining/*/*.pt"
STUDENT = "09_recovery/smoke/student_learning/*/*.pt"


@pytest.fixture
def start(environment: dict[str, str]) -> Callable[..., subprocess.Popen[str]]:
    """Start the run in a process group of its own."""

    def start(root: Path, command: tuple[str, ...] = COMMAND) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
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


def run_manifest(root: Path) -> dict[str, dict]:
    return json.loads((root / "data/08_reporting/smoke/run_manifest.json").read_text("utf-8"))


def assert_same(once: dict[str, bytes], again: dict[str, bytes]) -> None:
    assert once.keys() == again.keys()
    assert [name for name in once if once[name] != again[name]] == []


def test_killed_again_and_again_it_ends_with_the_same_bytes(
    full: Path, make_project, start, type_command, outputs, run_here
) -> None:
    """Killed while it trains teachers and evaluates, stopped by Ctrl-C in between; another one is refused meanwhile."""
    root = make_project("killed")
    process = start(root)
    wait_for_file(process, root, TEACHERS)
    os.killpg(process.pid, signal.SIGSTOP)  # so that it is not done before the second one has begun
    with pytest.raises(click.ClickException, match="another training of this run holds") as refused:
        run_here(root, "full")
    assert refused.value.exit_code == IN_USE
    kill(process)
    record = run_manifest(root)
    assert record["data_splitting"]["unfinished"] == []
    assert record["teacher_pretraining"]["commit"] is None
    assert record["student_learning"]["unfinished"]

    process = start(root)
    wait_for_file(process, root, STUDENT)
    said = kill(process, signal.SIGINT)
    assert process.returncode == STOPPED
    assert "teacher_pretraining resumes after step" in said
    assert run_manifest(root)["student_learning"]["unfinished"]
    assert "was stopped after step" in said
    assert "the same command resumes from there" in said
    assert "Traceback" not in said

    process = start(root)
    wait_for_file(process, root, "07_model_output/smoke/confusion/*.csv")
    assert "student_learning resumes after step" in kill(process)
    assert run_manifest(root)["student_learning"]["unfinished"] == []
    (root / "data/08_reporting/smoke/.run_manifest.json.1.tmp").touch()  # as if killed while it wrote

    said = type_command(root, *COMMAND)
    assert "resumes after step" in said
    assert "starts from scratch" not in said
    assert_same(outputs(full), outputs(root))
    assert not list((root / "data/09_recovery").rglob("*.pt"))


@pytest.mark.slow
def test_a_method_outside_the_project_resumes_with_all_it_holds(
    full: Path, make_project, start, type_command, outputs, run_here
) -> None:
    """Mean Teacher in a file of its own, chosen by two parameters, without teachers."""
    root = make_project("outside")
    shutil.copy(Path(__file__).parent / "outside/my_methods.py", root)
    for layer in ("01_raw", "05_model_input"):
        shutil.copytree(full / "data" / layer, root / "data" / layer)
    other = root.with_name("other")
    shutil.copytree(root, other)
    pipelines = ("student_learning", "evaluation", "reporting")
    method = "student_learning.method.name=my_methods:MeanTeacher,student_learning.method.my_mean_teacher.decay=0.5"
    command = (
        *("kedro", "run", "--env=smoke", f"--pipelines={','.join(pipelines)}"),
        f"--params=runtime.threads=1,runtime.recovery_seconds=0,student_learning.reference=false,{method}",
    )
    process = start(root, command)
    wait_for_file(process, root, "09_recovery/smoke/student_learning/*/00000000[3-7]-*.pt")
    kill(process)
    assert not (root / "data/06_models/smoke/student.safetensors").exists()
    assert re.search(r"student_learning resumes after step \d", type_command(root, *command))
    chosen = {"name": "my_methods:MeanTeacher", "my_mean_teacher": {"decay": 0.5}}
    try:
        run_here(other, *pipelines, student_learning={"method": chosen, "reference": False})
    finally:
        sys.modules.pop("my_methods", None)
    assert_same(outputs(other), outputs(root))
    metrics = json.loads((root / "data/08_reporting/smoke/metrics.json").read_text("utf-8"))
    assert list(metrics)[:4] == ["student", "student_best", "student_ema", "student_ema_best"]
    assert metrics["student"]["miou"] != metrics["student_ema"]["miou"]
    networks = json.loads((root / "data/08_reporting/smoke/networks.json").read_text("utf-8"))
    assert networks["student_ema"]["trained_by"] == "my_mean_teacher"
    assert "global_teacher" not in networks
    assert "my_mean_teacher" in (root / "data/08_reporting/smoke/report.html").read_text("utf-8")


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
        resumed = re.findall(r"(\S+) resumes after step (\d+)", said)
        print(f"run {number + 1} of 20: killed, resumed {resumed or 'from the start'}, the same bytes", flush=True)
        shutil.rmtree(root)


@pytest.mark.slow
def test_ctrl_c_and_sigterm_end_all_processes_that_train_together(make_project, start, type_command, outputs) -> None:
    """Typed again, two processes end with the bytes of one."""
    alone, root = make_project("alone"), make_project("stopped")
    batches = "teacher_pretraining.batch_size=4,student_learning.batch_size=4"
    in_shards = (*COMMAND[:-1], f"{COMMAND[-1]},{batches},runtime.shards=2")
    type_command(alone, *in_shards)
    together = (*COMMAND[:-1], f"{in_shards[-1]},runtime.processes=2,runtime.workers=1")
    for pattern, number in ((TEACHERS, signal.SIGINT), (STUDENT, signal.SIGTERM)):
        process = start(root, together)
        wait_for_file(process, root, pattern)
        said = kill(process, number)
        assert process.returncode == STOPPED
        assert "was stopped after step" in said
        assert "the same command resumes from there" in said
        assert "Traceback" not in said
        found = subprocess.run(["pgrep", f"-g{process.pid}", "-rD,R,S,T"], capture_output=True, text=True, check=False)
        assert found.stdout == ""
    assert "student_learning resumes after step" in type_command(root, *together)
    assert_same(outputs(alone), outputs(root))
