"""What a training costs, counted by hand."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from igl_dt.training.cost import COUNTED_STEPS, CostMeter, count_multiply_adds

CPU = torch.device("cpu")


def network(fingerprint: str, total: int, teachers: int | None) -> Any:
    return SimpleNamespace(fingerprint=fingerprint, compute={"total": total, "teachers": teachers})


def meter_after(steps: int) -> CostMeter:
    meter, layer = CostMeter(steps, CPU), nn.Conv2d(3, 4, 3, bias=False)
    for step in range(steps):
        with meter.counting(step):
            layer(torch.zeros(2, 3, 8, 8, requires_grad=step % 2 == 1)).sum().backward()
    return meter


def test_multiply_adds_are_those_of_forward_and_backward_also_where_steps_take_turns() -> None:
    forward = 2 * 4 * 6 * 6 * 3 * 3 * 3
    compute = meter_after(6 * COUNTED_STEPS).compute([])
    # forward, and the weights' gradient; the images' gradient in every other step
    assert compute["per_step"] == pytest.approx(2.5 * forward, rel=0.05)
    assert compute == {"steps": 60, "per_step": compute["total"] // 60, "total": compute["total"], "teachers": 0}


@pytest.mark.parametrize(
    ("layer", "forward"),
    [
        (nn.Conv2d(8, 6, 3, stride=2, padding=1), 6 * 6 * 6 * 8 * 9),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), 8 * 12 * 12 * 9),
        (nn.Conv2d(8, 4, 3, groups=2), 4 * 10 * 10 * 4 * 9),
        (nn.ConvTranspose2d(8, 4, 3, groups=2), 8 * 12 * 12 * 2 * 9),
        (nn.Linear(12, 5), 8 * 12 * 12 * 5),
    ],
)
def test_each_gradient_of_a_layer_takes_as_many_as_its_output(layer: nn.Module, forward: int) -> None:
    """Of a convolution in groups, torch's own formula counts those of the weights once per group."""
    for needed, times in ((False, 2), (True, 3)):
        with count_multiply_adds() as count:
            layer(torch.zeros(2, 8, 12, 12, requires_grad=needed)).sum().backward()
        assert count() == times * 2 * forward


def test_a_resumed_training_adds_to_what_was_measured_before() -> None:
    first, second = meter_after(4), CostMeter(4, CPU)
    second.load_state_dict(first.state_dict() | {"seconds": 100.0, "peak": 1e6})
    assert second.compute([]) == first.compute([])
    measured = second.measured(images_per_step=50)
    assert measured["seconds"] >= 100
    assert measured["images_per_second"] == pytest.approx(2, rel=0.1)
    assert measured["peak_memory_mib"] == 1e6


def test_teachers_that_were_trained_together_count_once_and_unknown_ones_make_it_unknown() -> None:
    meter = meter_after(1)
    assert meter.compute([network("a", 10, 0), network("a", 10, 0), network("b", 5, 2)])["teachers"] == 17
    assert meter.compute([network("a", 10, None)])["teachers"] is None
    assert meter.compute([nn.Linear(1, 1)])["teachers"] is None
