"""What a training shows while it runs: readable at any time, and without a trace in its results."""

from pathlib import Path

import pytest
import torch
from torch import nn

from igl_dt.methods.supervised import Supervised
from igl_dt.networks.io import load_network
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.runtime.processes import Group
from igl_dt.training.parameters import TrainingParameters
from igl_dt.training.trainer import TrainingData, TrainingResult, create_method, train
from tiny import CLASSES, NETWORKS

pytestmark = pytest.mark.usefixtures("count_one_step")

PARAMETERS = TrainingParameters(
    networks={"student": NETWORKS["student"]},
    method={"name": "supervised"},
    optimizers={"student": {"learning_rate": 0.01}},
    steps=6,
    batch_size=2,
    validate_every=3,
    augmentation={"crop_size": (32, 32)},
)


class KilledError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture
def learn(splits, context, monkeypatch):
    def learn(
        die_at: int | None = None, keep_every: int | None = None, leads: bool = True, **runtime: object
    ) -> TrainingResult:
        def forward(self, batch, step):
            if step == die_at:
                raise KilledError
            return original(self, batch, step)

        parameters = PARAMETERS.model_copy(update={"keep_every": keep_every})
        there = context._replace(runtime=context.runtime.model_copy(update=runtime))
        with monkeypatch.context() as patch:
            original = Supervised.forward
            patch.setattr(Supervised, "forward", forward)
            data = TrainingData(splits.labeled, splits.unlabeled, splits.val)
            method, group = create_method(parameters, CLASSES, 3), Group(leads=leads)
            return train(method, data, parameters, there, "some_training", group=group)

    return learn


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return one.fingerprint == other.fingerprint and all(torch.equal(*pair) for pair in pairs)


def test_the_history_grows_and_weights_are_kept(learn, tmp_path: Path) -> None:
    folder = tmp_path / "log/some_training"
    folder.mkdir(parents=True)
    for name in ("student_000009.safetensors", "mine.txt"):
        (folder / name).touch()
    log = str(tmp_path / "log")
    with pytest.raises(KilledError):
        learn(die_at=5, keep_every=2, log_folder=log)
    killed = (folder / "history.csv").read_text()
    assert len(killed.splitlines()) == 6
    kept = ["student_000002.safetensors", "student_000004.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == ["history.csv", "mine.txt", *kept]
    nowhere = {"log_folder": str(tmp_path / "nowhere"), "recovery_folder": str(tmp_path / "nowhere")}
    undisturbed, logged = learn(keep_every=1, leads=False, **nowhere), learn(keep_every=6, log_folder=log)
    assert not (tmp_path / "nowhere").exists(), "the first of several processes writes"
    assert same(undisturbed.networks["student"], logged.networks["student"])
    table = logged.history.to_csv(index=False, lineterminator="\n")
    assert (folder / "history.csv").read_text() == table == undisturbed.history.to_csv(index=False, lineterminator="\n")
    assert table.startswith(killed)
    assert same(load_network(folder / "student_000006.safetensors"), logged.networks["student"])


def test_weights_cannot_be_kept_nowhere(learn) -> None:
    with pytest.raises(ValueError, match=r"some_training\.keep_every needs runtime\.log_folder"):
        learn(keep_every=1)


def test_tensorboard_shows_one_curve_of_a_resumed_training(learn, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = {"log_folder": str(tmp_path / "log"), "recovery_folder": str(tmp_path / "recovery"), "tensorboard": True}
    with pytest.raises(KilledError):
        learn(die_at=3, recovery_seconds=0, **logs)
    (latest,) = sorted(tmp_path.glob("recovery/*/*/*3-*.pt"))
    latest.unlink()  # so that the third step is done once more
    resumed = learn(**logs)
    assert same(learn().networks["student"], resumed.networks["student"])

    events = EventAccumulator(str(tmp_path / "log/some_training"))
    events.Reload()
    steps = [1, 2, 3, 4, 5, 6]
    found = {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    every = dict.fromkeys(("losses/supervised", "learning_rate/student", "speed/images_per_second", "memory/peak_mib"))
    assert found == dict.fromkeys(every, steps) | {"val_miou/student": [3, 6]}
    last = events.Scalars("val_miou/student")[-1].value
    assert last == pytest.approx(resumed.history["val_miou.student"].iloc[-1])
    assert events.Tags()["images"] == ["student/1", "student/2"]
    assert [(event.step, event.width, event.height) for event in events.Images("student/1")] == [
        (3, 120, 32),
        (6, 120, 32),
    ]


def test_extras_are_missed_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("igl_dt.runtime.parameters.find_spec", lambda name: None)
        for name, value in {"tensorboard": True, "mlflow": "sqlite:///x.db"}.items():
            with pytest.raises(ValueError, match=rf"pip install 'igl-dt\[{name}\]'"):
                RuntimeParameters(**{name: value, "log_folder": "x"})
    monkeypatch.setattr("igl_dt.runtime.parameters.find_spec", lambda name: name)
    with pytest.raises(ValueError, match=r"runtime.tensorboard needs runtime.log_folder"):
        RuntimeParameters(tensorboard=True)
