"""Cut-off trainings: they end with the same bits, never resume from what is not theirs, and lose no state."""

import logging
import os
import resource
import signal
import time
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest
import torch
from torch import nn

from devices import DEVICES
from igl_dt.methods.base import Method
from igl_dt.methods.igl_dt import IglDt
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.training import checkpoint
from igl_dt.training.checkpoint import Checkpointer, CheckpointError
from igl_dt.training.parameters import OptimizerParameters
from igl_dt.training.trainer import InterruptedTrainingError, TrainingResult, fit
from mean_teacher import MeanTeacher
from tiny import build_tiny_method

pytestmark = pytest.mark.usefixtures("count_one_step")

STEPS = 6
OPTIMIZERS = {
    "adamw": OptimizerParameters(name="adamw", learning_rate=0.01, weight_decay=0.01, warmup_steps=2),
    "sgd": OptimizerParameters(name="sgd", learning_rate=0.01, warmup_steps=2),
}
IDENTITY = {"parameters": "a", "code": "b"}


class KilledError(Exception):
    """Stands for whatever ends a process."""


def score_of_weights(network: nn.Module) -> float:
    """Give a score that goes up and down with the weights."""
    return float(torch.cat([parameter.flatten() for parameter in network.parameters()]).detach().sum().sin())


@pytest.fixture
def learn(make_batches, real_network, runtime):
    """Train a student, with rare rows and validations; ``die_at`` ends it before that step has made its update."""

    def learn(
        checkpointer: Checkpointer | None,
        die_at: int | None = None,
        optimizer: str = "adamw",
        kind: type[Method] = IglDt,
        **changes: object,
    ):
        teachers = {role: real_network(role) for role in ("global_teacher", "local_teacher")}
        options = {"global_map": "features"} if kind is IglDt else {}
        with torch.random.fork_rng():
            torch.manual_seed(1)
            method = build_tiny_method(kind, {"student": real_network("student")}, teachers, **options)
        forward = method.forward

        def mortal(batch, step: int):
            if step == die_at:
                raise KilledError
            return forward(batch, step)

        method.forward = mortal
        result = fit(
            method,
            make_batches(steps=STEPS, alone=False),
            {"student": OPTIMIZERS[optimizer]},
            runtime.model_copy(update=changes),
            score_of_weights,
            name="student",
            validate_every=2,
            checkpointer=checkpointer,
        )
        return method.state_dict(), result

    return learn


def assert_same(one: tuple[dict, TrainingResult], other: tuple[dict, TrainingResult]) -> None:
    (state, result), (other_state, other_result) = one, other
    assert state.keys() == other_state.keys()
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, other_state[name]), name
        else:
            assert value == other_state[name], name
    pd.testing.assert_frame_equal(result.history, other_result.history, check_exact=True)
    assert result.best_miou == other_result.best_miou
    assert result.best_weights.keys() == other_result.best_weights.keys()
    for role, weights in result.best_weights.items():
        for name, tensor in weights.items():
            assert torch.equal(tensor, other_result.best_weights[role][name]), (role, name)


def states(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.pt"))


@pytest.fixture(scope="module")
def results() -> dict:
    return {}


class TestResuming:
    @pytest.fixture(params=DEVICES)
    def runtime(self, request: pytest.FixtureRequest) -> RuntimeParameters:
        return RuntimeParameters(device=request.param, threads=1, workers=0)

    @pytest.fixture
    def undisturbed(self, learn, runtime: RuntimeParameters, results: dict):
        """Give what an undisturbed training comes to; each is run once for all tests."""

        def undisturbed(**options: object):
            key = f"{runtime.device} {options}"
            if key not in results:
                results[key] = learn(None, **options)
            return results[key]

        return undisturbed

    @pytest.mark.parametrize(("die_at", "optimizer"), [(1, "adamw"), (4, "adamw"), (5, "sgd")])
    def test_gives_the_same_bits_as_an_undisturbed_training(
        self, learn, undisturbed, tmp_path, die_at: int, optimizer: str
    ) -> None:
        with pytest.raises(KilledError):
            learn(Checkpointer(tmp_path, "student", IDENTITY, 0), die_at, optimizer)
        resumed = learn(Checkpointer(tmp_path, "student", IDENTITY, 0), optimizer=optimizer, workers=1)
        assert_same(undisturbed(optimizer=optimizer), resumed)

    def test_a_finished_training_is_taken_from_its_last_state(self, learn, tmp_path) -> None:
        undisturbed = learn(Checkpointer(tmp_path, "student", IDENTITY, 1e9))
        assert len(states(tmp_path)) == 1
        assert_same(undisturbed, learn(Checkpointer(tmp_path, "student", IDENTITY, 1e9), die_at=0))

    @pytest.mark.parametrize("die_at", [1, 4])
    def test_what_a_method_keeps_is_resumed_too(self, learn, undisturbed, tmp_path, die_at: int) -> None:
        """Averaged weights, a buffer and a state of its own."""
        with pytest.raises(KilledError):
            learn(Checkpointer(tmp_path, "student", IDENTITY, 0), die_at, kind=MeanTeacher)
        resumed = learn(Checkpointer(tmp_path, "student", IDENTITY, 0), kind=MeanTeacher)
        assert_same(undisturbed(kind=MeanTeacher), resumed)
        state, result = resumed
        assert state["updates"] == STEPS
        assert len(state["_extra_state"]["scores"]) == 3
        assert result.best_miou.keys() == {"student", "student_ema"}
        assert not torch.equal(
            state["average.encoder.conv1.0.weight"], state["networks.student.encoder.conv1.0.weight"]
        )

    def test_frozen_teachers_are_in_no_state(self, learn, tmp_path) -> None:
        weights, _ = learn(Checkpointer(tmp_path, "student", IDENTITY, 1e9))
        (file,) = states(tmp_path)
        saved = torch.load(file, weights_only=True)
        teachers = {name for name in weights if name.startswith("teachers.")}
        assert len(teachers) > 10
        assert set(saved["method"]) == set(weights) - teachers

    @pytest.mark.parametrize("damage", ["cut short", "a bit", "empty", "another's"])
    def test_skips_a_state_that_is_not_whole(self, learn, undisturbed, tmp_path, caplog, damage: str) -> None:
        with pytest.raises(KilledError):
            learn(Checkpointer(tmp_path, "student", IDENTITY, 0), die_at=4)
        before, latest = states(tmp_path)
        content = bytearray(latest.read_bytes())
        if damage == "cut short":
            latest.write_bytes(content[:-100])
        elif damage == "a bit":
            content[len(content) // 2] ^= 1
            latest.write_bytes(content)
        elif damage == "empty":
            latest.write_bytes(b"")
        else:
            other = Checkpointer(tmp_path / "other", "student", {"parameters": "c"}, 0)
            other.save({"step": 4})
            latest.unlink()
            latest = states(tmp_path / "other")[0].rename(before.parent / states(tmp_path / "other")[0].name)
        with caplog.at_level(logging.INFO):
            result = learn(Checkpointer(tmp_path, "student", IDENTITY, 0))
        assert_same(undisturbed(), result)
        assert f"{latest} is skipped" in caplog.text
        assert f"resumes after step 3, from {before}" in caplog.text

    def test_starts_from_scratch_and_says_why_when_anything_decisive_has_changed(self, learn, tmp_path, caplog) -> None:
        with pytest.raises(KilledError):
            learn(Checkpointer(tmp_path, "student", IDENTITY, 0), die_at=4)
        with caplog.at_level(logging.INFO):
            assert Checkpointer(tmp_path, "student", IDENTITY | {"code": "new"}, 0).load() is None
        assert "student starts from scratch" in caplog.text
        assert caplog.messages[-1].endswith("had other code")
        assert Checkpointer(tmp_path, "student", IDENTITY, 0).load()["step"] == 4

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_saves_and_says_how_to_resume(
        self, learn, undisturbed, tmp_path, monkeypatch, number: int
    ) -> None:
        seconds = 1e9
        real_due = Checkpointer.due

        def due(checkpointer: Checkpointer) -> bool:  # asked once a step
            due.steps += 1
            if due.steps == 3:
                os.kill(os.getpid(), number)
            return real_due(checkpointer)

        due.steps = 0
        monkeypatch.setattr(Checkpointer, "due", due)
        with pytest.raises(InterruptedTrainingError, match=r"was stopped after step 3: the same command resumes"):
            learn(Checkpointer(tmp_path, "student", IDENTITY, seconds), workers=1)
        monkeypatch.undo()
        assert_same(undisturbed(), learn(Checkpointer(tmp_path, "student", IDENTITY, seconds)))

    def test_a_signal_while_the_last_state_is_written_is_not_lost(self, learn, undisturbed, tmp_path) -> None:
        def save(checkpointer: Checkpointer, state: dict) -> None:
            real_save(checkpointer, state)
            os.kill(os.getpid(), signal.SIGTERM)

        real_save = Checkpointer.save
        with patch.object(Checkpointer, "save", save), pytest.raises(InterruptedTrainingError, match="its last step"):
            learn(Checkpointer(tmp_path, "student", IDENTITY, 1e9))
        assert_same(undisturbed(), learn(Checkpointer(tmp_path, "student", IDENTITY, 1e9)))


class TestSaving:
    def test_keeps_the_latest_states_and_nothing_else(self, tmp_path) -> None:
        checkpointer = Checkpointer(tmp_path, "student", IDENTITY, 0)
        checkpointer.save({"step": 1})
        (states(tmp_path)[0].parent / ".half-written.tmp").touch()
        for step in (2, 3):
            checkpointer.save({"step": step})
        assert [path.name[:9] for path in states(tmp_path)] == ["000000002", "000000003"]
        assert len(list(states(tmp_path)[0].parent.iterdir())) == 3

    def test_keeps_the_newest_though_others_have_a_later_time(self, tmp_path) -> None:
        checkpointer = Checkpointer(tmp_path, "student", IDENTITY, 0)
        for step in (1, 2):
            checkpointer.save({"step": step})
            os.utime(states(tmp_path)[-1], (0, time.time() + 3600 + step))
        checkpointer.save({"step": 3})
        assert [path.name[:9] for path in states(tmp_path)] == ["000000002", "000000003"]

    def test_keeps_a_few_other_trainings(self, tmp_path) -> None:
        for number in range(6):
            Checkpointer(tmp_path, "student", {"parameters": str(number)}, 0).save({"step": 1})
            Checkpointer(tmp_path, "supervised", {"parameters": str(number)}, 0).save({"step": 1})
        for name in ("student", "supervised"):
            assert len(list((tmp_path / name).iterdir())) == 1 + checkpoint.KEPT_TRAININGS
            assert Checkpointer(tmp_path, name, {"parameters": "5"}, 0).load()["step"] == 1

    def test_a_full_disk_leaves_the_last_state_and_names_path_and_space(self, small_disk) -> None:
        checkpointer = Checkpointer(small_disk, "student", IDENTITY, 0)
        checkpointer.save({"step": 1, "tensor": torch.zeros(10)})
        pattern = (
            r"student/[0-9a-f]+/000000002-[0-9a-f]+\.pt could not be written: No space left on device: "
            r"it needs 3\.8 MiB, and 1\.0 MiB are free\. .*free some space"
        )
        with pytest.raises(CheckpointError, match=pattern):
            checkpointer.save({"step": 2, "tensor": torch.zeros(10**6)})
        assert [path.name[:9] for path in states(small_disk)] == ["000000001"]
        assert Checkpointer(small_disk, "student", IDENTITY, 0).load()["step"] == 1

    def test_a_file_that_cannot_be_written_to_its_end_leaves_nothing_behind(self, tmp_path) -> None:
        checkpointer = Checkpointer(tmp_path, "student", IDENTITY, 0)
        checkpointer.save({"step": 1})
        before = sorted(tmp_path.rglob("*"))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
        try:
            with pytest.raises(CheckpointError, match=r"000000002-[0-9a-f]+\.pt could not be written"):
                checkpointer.save({"step": 2, "tensor": torch.zeros(2**20)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert sorted(tmp_path.rglob("*")) == before
        checkpointer.save({"step": 2})  # room has been made
        assert Checkpointer(tmp_path, "student", IDENTITY, 0).load()["step"] == 2

    def test_no_folder_no_states(self, learn, tmp_path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        learn(None)
        assert not list(tmp_path.iterdir())
