"""Cut-off trainings: they end with the same bits, never go on from what is not theirs, and lose no state."""

import logging
import os
import resource
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from devices import DEVICES
from igl_dt.methods import IglDt
from igl_dt.methods.igl_dt import IglDtParameters
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.training import checkpoint as recovery_module
from igl_dt.training.checkpoint import Recovery, RecoveryError
from igl_dt.training.parameters import OptimizerParameters
from igl_dt.training.trainer import InterruptedTrainingError, Trained, train

STEPS = 6
OPTIMIZERS = {
    "adamw": OptimizerParameters(name="adamw", learning_rate=0.01, weight_decay=0.01, warmup_steps=2),
    "sgd": OptimizerParameters(name="sgd", learning_rate=0.01, warmup_steps=2),
}
IDENTITY = {"parameters": "a", "code": "b"}


class KilledError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture
def learn(make_batches, real_network, runtime):
    """Train a student, with rare rows and validations; ``die_at`` ends it before that step has made its update."""

    def learn(recovery: Recovery | None, die_at: int | None = None, optimizer: str = "adamw", **changes: object):
        student = real_network("student")
        settings = IglDtParameters(discrepancy_space="features")
        with torch.random.fork_rng():
            torch.manual_seed(1)
            method = IglDt(student, real_network("swin_unet"), real_network("res_unet"), settings)
        forward = method.forward

        def mortal(batch, step: int):
            if step == die_at:
                raise KilledError
            return forward(batch, step)

        method.forward = mortal
        batches = make_batches(steps=STEPS, alone=False, validate_every=2)

        def validate(network: nn.Module) -> float:  # up and down, as the weights say
            return float(torch.cat([parameter.flatten() for parameter in network.parameters()]).detach().sum().sin())

        trained = train(
            method, batches, {"student": OPTIMIZERS[optimizer]}, runtime.model_copy(update=changes), validate, recovery
        )
        return method.state_dict(), trained

    return learn


def assert_same(one: tuple[dict, Trained], other: tuple[dict, Trained]) -> None:
    (weights, trained), (others, trained_other) = one, other
    assert weights.keys() == others.keys()
    for name in weights:
        assert torch.equal(weights[name], others[name]), name
    pd.testing.assert_frame_equal(trained.history, trained_other.history, check_exact=True)
    assert trained.best_miou == trained_other.best_miou
    for name, tensor in trained.best["student"].items():
        assert torch.equal(tensor, trained_other.best["student"][name]), name


def states(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.pt"))


class TestGoingOn:
    @pytest.fixture(params=DEVICES)
    def runtime(self, request: pytest.FixtureRequest) -> RuntimeParameters:
        return RuntimeParameters(device=request.param, threads=1, workers=0)

    @pytest.mark.parametrize(("die_at", "optimizer"), [(1, "adamw"), (4, "adamw"), (5, "sgd")])
    def test_gives_the_same_bits_as_an_undisturbed_training(self, learn, tmp_path, die_at: int, optimizer: str) -> None:
        undisturbed = learn(None, optimizer=optimizer)
        with pytest.raises(KilledError):
            learn(Recovery(tmp_path, "student", IDENTITY, 0), die_at, optimizer)
        assert_same(undisturbed, learn(Recovery(tmp_path, "student", IDENTITY, 0), optimizer=optimizer, workers=1))

    def test_a_finished_training_is_taken_from_its_last_state(self, learn, tmp_path) -> None:
        undisturbed = learn(Recovery(tmp_path, "student", IDENTITY, 1e9))
        assert len(states(tmp_path)) == 1
        assert_same(undisturbed, learn(Recovery(tmp_path, "student", IDENTITY, 1e9), die_at=0))

    @pytest.mark.parametrize("damage", ["cut short", "a bit", "empty", "another's"])
    def test_passes_over_a_state_that_is_not_whole(self, learn, tmp_path, caplog, damage: str) -> None:
        undisturbed = learn(None)
        with pytest.raises(KilledError):
            learn(Recovery(tmp_path, "student", IDENTITY, 0), die_at=4)
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
            other = Recovery(tmp_path / "other", "student", {"parameters": "c"}, 0)
            other.save({"step": 4})
            latest.unlink()
            latest = states(tmp_path / "other")[0].rename(before.parent / states(tmp_path / "other")[0].name)
        with caplog.at_level(logging.INFO):
            result = learn(Recovery(tmp_path, "student", IDENTITY, 0))
        assert_same(undisturbed, result)
        assert f"{latest} is passed over" in caplog.text
        assert f"goes on after step 3, from {before}" in caplog.text

    def test_starts_afresh_and_says_why_when_anything_decisive_has_changed(self, learn, tmp_path, caplog) -> None:
        with pytest.raises(KilledError):
            learn(Recovery(tmp_path, "student", IDENTITY, 0), die_at=4)
        with caplog.at_level(logging.INFO):
            assert Recovery(tmp_path, "student", IDENTITY | {"code": "new"}, 0).load() is None
        assert "student starts afresh" in caplog.text and caplog.messages[-1].endswith("had other code")
        assert Recovery(tmp_path, "student", IDENTITY, 0).load()["step"] == 4

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_saves_and_says_how_to_go_on(self, learn, tmp_path, monkeypatch, number: int) -> None:
        undisturbed = learn(None)
        seconds = 1e9
        real_due = Recovery.due

        def due(recovery: Recovery) -> bool:  # asked once a step
            due.steps += 1
            if due.steps == 3:
                os.kill(os.getpid(), number)
            return real_due(recovery)

        due.steps = 0
        monkeypatch.setattr(Recovery, "due", due)
        with pytest.raises(InterruptedTrainingError, match=r"was stopped after step 3: the same command goes on"):
            learn(Recovery(tmp_path, "student", IDENTITY, seconds), workers=1)
        monkeypatch.undo()
        assert_same(undisturbed, learn(Recovery(tmp_path, "student", IDENTITY, seconds)))


class TestSaving:
    def test_keeps_the_latest_states_and_nothing_else(self, tmp_path) -> None:
        recovery = Recovery(tmp_path, "student", IDENTITY, 0)
        recovery.save({"step": 1})
        (states(tmp_path)[0].parent / ".half-written.tmp").touch()
        for step in (2, 3):
            recovery.save({"step": step})
        assert [path.name[:9] for path in states(tmp_path)] == ["000000002", "000000003"]
        assert len(list(states(tmp_path)[0].parent.iterdir())) == 3

    def test_keeps_a_few_other_trainings(self, tmp_path) -> None:
        for number in range(6):
            Recovery(tmp_path, "student", {"parameters": str(number)}, 0).save({"step": 1})
            Recovery(tmp_path, "supervised", {"parameters": str(number)}, 0).save({"step": 1})
        names = [path.name for path in tmp_path.iterdir()]
        assert sum(name.startswith("student") for name in names) == 1 + recovery_module.KEPT_TRAININGS
        assert sum(name.startswith("supervised") for name in names) == 1 + recovery_module.KEPT_TRAININGS

    def test_a_full_disk_leaves_the_last_state_and_names_path_and_space(self, small_disk) -> None:
        recovery = Recovery(small_disk, "student", IDENTITY, 0)
        recovery.save({"step": 1, "tensor": torch.zeros(10)})
        pattern = (
            r"student-[0-9a-f]+/000000002-[0-9a-f]+\.pt could not be written: No space left on device: "
            r"it needs 3\.8 MiB, and 1\.0 MiB are free\. .*make room"
        )
        with pytest.raises(RecoveryError, match=pattern):
            recovery.save({"step": 2, "tensor": torch.zeros(10**6)})
        assert [path.name[:9] for path in states(small_disk)] == ["000000001"]
        assert Recovery(small_disk, "student", IDENTITY, 0).load()["step"] == 1

    def test_a_file_that_cannot_be_written_to_its_end_leaves_nothing_behind(self, tmp_path) -> None:
        recovery = Recovery(tmp_path, "student", IDENTITY, 0)
        recovery.save({"step": 1})
        before = sorted(tmp_path.rglob("*"))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
        try:
            with pytest.raises(RecoveryError, match=r"000000002-[0-9a-f]+\.pt could not be written"):
                recovery.save({"step": 2, "tensor": torch.zeros(2**20)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert sorted(tmp_path.rglob("*")) == before
        recovery.save({"step": 2})  # room has been made
        assert Recovery(tmp_path, "student", IDENTITY, 0).load()["step"] == 2

    def test_no_folder_no_states(self, learn, tmp_path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        learn(None)
        assert not list(tmp_path.iterdir())
