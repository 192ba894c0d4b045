"""What holds for every method, on networks of the project: it learns, and resumes to the bit."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import igl_dt.methods
from devices import DEVICES
from igl_dt.data.loading import Batch
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.methods.base import Method
from igl_dt.methods.parameters import MethodChoice
from igl_dt.runtime.determinism import configure_torch
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.training.checkpoint import Checkpointer
from igl_dt.training.parameters import OptimizerParameters, TrainingParameters
from igl_dt.training.trainer import create_method, fit
from igl_dt.utils.registry import find_classes
from tiny import CLASSES, NETWORKS, tiny_network

pytestmark = pytest.mark.usefixtures("count_one_step")

METHODS = find_classes(igl_dt.methods, Method)
OPTIONS: dict[str, dict[str, Any]] = {
    "mean_teacher": {"consistency_weight": 1.0},
    "mgd": {"pseudo_label_weight": 0.1, "local_weight": 1.0},
    "igl_dt": {"labeled_pseudo_label_weight": 0.1, "unlabeled_pseudo_label_weight": 0.1, "local_weight": 1.0},
    "igl_dt_plus": {"labeled_pseudo_label_weight": 0.1, "unlabeled_pseudo_label_weight": 0.1, "local_weight": 1.0},
}
"""Untrained teachers and averages must not outweigh the ground truth in so few steps."""


class Batches:
    """A few random crops of three classes that differ in colour, again and again."""

    seed, stream, images_per_step = 0, "test", 8

    def __init__(self, steps: int, views: int) -> None:
        self.steps, self.views = steps, views

    def __len__(self) -> int:
        return self.steps

    def read(self, first: int, workers: int, pin_memory: bool) -> Iterator[Batch]:
        return (self.batch(step % 2) for step in range(first, self.steps))

    def batch(self, number: int) -> Batch:
        draw = torch.Generator().manual_seed(number)
        masks = torch.randint(0, 3, (8, 4, 4), dtype=torch.uint8, generator=draw)
        masks = masks.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
        noise = torch.randint(0, 40, (8, 3, 32, 32), dtype=torch.uint8, generator=draw)
        images = 70 * masks.unsqueeze(1) + noise
        boxes = torch.zeros(4, 32, 32, dtype=torch.bool)
        boxes[:, 4:16, 8:24] = True
        views = tuple(images[4:].flip(1).roll(view, 0).roll(-view, 0) for view in range(self.views))
        return Batch(
            images[:4],
            masks[:4],
            images[4:],
            views,
            torch.zeros(4, 32, 32, dtype=torch.bool),
            tuple(boxes.roll(view, 2) for view in range(self.views)),
        )


class KilledError(Exception):
    """Ends a training in the middle."""


def make(name: str, steps: int) -> tuple[Method, TrainingParameters]:
    options = dict(OPTIONS.get(name, {}))
    if "confidence_threshold" in METHODS[name].parameters_type.model_fields:
        options["confidence_threshold"] = 0.3  # untrained networks are never confident
    parameters = TrainingParameters(
        networks={"student": NETWORKS["student"]},
        method=MethodChoice.model_validate({"name": name, name: options}),
        optimizers={"student": OptimizerParameters(name="adamw", learning_rate=0.01)},
        steps=steps,
        batch_size=4,
        augmentation=AugmentationParameters(crop_size=(32, 32)),
    )
    torch.manual_seed(1)
    teachers = {role: tiny_network(role) for role in METHODS[name].required_teachers}
    return create_method(parameters, CLASSES, 0, teachers), parameters


def run(
    name: str, steps: int, folder: Path | None = None, killed_at: int | None = None, device: str = "cpu"
) -> tuple[Method, Any]:
    method, parameters = make(name, steps)
    if killed_at is not None:
        after_step = method.after_step

        def stop(step: int) -> None:
            if step == killed_at:
                raise KilledError
            after_step(step)

        method.after_step = stop  # type: ignore[method-assign]
    extra = method.extra_networks(parameters.networks)
    result = fit(
        method,
        Batches(steps, method.strong_views),  # type: ignore[arg-type]
        {role: parameters.optimizer(role, extra.get(role)) for role in method.trained()},
        RuntimeParameters(device=device, threads=1, workers=0),
        lambda network: next(network.parameters()).detach().sum().item() % 1,
        name="test",
        validate_every=2,
        checkpointer=Checkpointer(folder, "test", {"code": "1"}, 0),
    )
    return method, result


def tensors(method: Method) -> dict[str, Tensor]:
    return {name: value for name, value in method.state_dict().items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", METHODS)
def test_it_resumes_to_the_bit(name: str, device: str, tmp_path: Path) -> None:
    whole, result = run(name, steps=3, device=device)
    with pytest.raises(KilledError):
        run(name, steps=3, folder=tmp_path, killed_at=2, device=device)
    assert list(tmp_path.rglob("*.pt"))
    resumed, result_again = run(name, steps=3, folder=tmp_path, device=device)
    state = tensors(resumed)
    assert all(torch.equal(value, state[key]) for key, value in tensors(whole).items())
    assert result.best_miou == result_again.best_miou
    assert result.history.equals(result_again.history)
    costs = [{name: network.compute for name, network in each.networks.items()} for each in (result, result_again)]
    assert costs[0] == costs[1]
    assert all(cost["total"] > 0 and cost["steps"] == 3 for cost in costs[0].values())


def test_a_state_must_have_all_that_is_the_method_s_own() -> None:
    method = make("igl_dt", steps=3)[0]
    state = method.own_state()
    method.load_own_state(state)
    with pytest.raises(RuntimeError, match="Missing key"):
        method.load_own_state(dict(list(state.items())[1:]))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        method.load_own_state(state | {"other": torch.zeros(1)})


@pytest.mark.parametrize("name", METHODS)
def test_its_loss_falls(name: str) -> None:
    method, result = run(name, steps=12)
    losses = result.history[[column for column in result.history if column.endswith("supervised")]].sum(axis=1)
    assert losses.iloc[-1] < 0.7 * losses.iloc[0]
    assert {"student"} <= set(result.networks) == set(method.evaluated())
    trained = {id(parameter) for module in method.trained().values() for parameter in module.parameters()}
    learning = {id(parameter) for parameter in method.parameters() if parameter.requires_grad}
    assert learning == trained, "what is not optimised is frozen"


@pytest.mark.parametrize("name", METHODS)
def test_it_is_documented(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    assert f"\n## {name}\n" in page
    (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
    assert float(row.split("|")[-2].split()[0]) >= 1, "its multiply-adds over those of supervised training"
    _, _, section = page.partition(f"\n## {name}\n")
    section = section.partition("\n## ")[0]
    assert re.search(r"\bet al\.|Valpola|labelled images alone|additions of our own", section), "its source"
    assert "\n    L = " in section or "(method.md)" in section, "its equation"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", METHODS)
def test_half_precision_gives_every_parameter_a_gradient(name: str, device: str) -> None:
    """Autocast caches cast weights, also those cast within ``no_grad``."""
    method = make(name, steps=3)[0].train().to(device)
    with torch.autocast(device, torch.bfloat16):
        terms = method(Batches(3, method.strong_views).batch(0).to(torch.device(device)), 0)
    assert all(term.dtype == torch.float32 and term.shape == () for term in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    for module in method.trained().values():
        assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", METHODS)
def test_its_steps_do_not_wait_for_a_gpu(name: str) -> None:
    if name == "dual_teacher":
        pytest.xfail("it draws from the classes that labels show, on the CPU")
    device = configure_torch(RuntimeParameters(device="cuda"))
    method = make(name, steps=3)[0].train().to(device)
    batches = [Batches(3, method.strong_views).batch(step).to(device) for step in range(3)]
    for step, batch in enumerate(batches):
        torch.cuda.set_sync_debug_mode("error" if step else "default")  # the first one makes what the others use
        try:
            torch.stack(list(method(batch, step).values())).sum().backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", METHODS)
def test_class_weights_change_its_supervised_loss(name: str) -> None:
    method = make(name, steps=3)[0].train()
    batch, losses = Batches(3, method.strong_views).batch(0), []
    batch.masks[:] = batch.masks.clamp(max=1)
    for method.class_weights in (None, torch.tensor([5.0, 0.2, 1.0])):
        torch.manual_seed(0)
        losses.append({key: term.item() for key, term in method(batch, 0).items()})
    for key in losses[0]:
        if key.endswith("supervised"):
            assert losses[0][key] != losses[1][key]
    assert not any("class_weights" in key for key in method.state_dict())
