"""What a training costs: multiply-adds, which are the same on every machine, and time and memory, which are not."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from igl_dt.runtime.memory import peak_memory, reset_peak_memory
from igl_dt.runtime.processes import ALONE, Group

Shape = list[int]
COUNTED_STEPS = 10
"""About this many steps are counted, spread evenly: counting takes time, and a method's steps may differ."""


@contextmanager
def count_multiply_adds() -> Iterator[Callable[[], int]]:
    """Count those of matrix products, convolutions and attention, forward and backward, by torch's own counter.

    Yields:
        A function that gives the number so far.
    """
    from torch.utils.flop_counter import FlopCounterMode  # only now: it imports Triton

    backward = {torch.ops.aten.convolution_backward: _convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=backward) as counter:
        yield lambda: counter.get_total_flops() // 2


def _convolution_backward(gradient: Shape, images: Shape, weights: Shape, *settings: Any, **_others: Any) -> int:
    """Count the operations of a convolution's gradients: of its input and its weights, each as many as forward.

    In the place of torch's own formula, which multiplies those of the weights by the number of groups: in a depthwise
    convolution, by that of channels.
    """
    from torch.utils.flop_counter import conv_flop_count

    *_, transposed, _output_padding, _groups, wanted = settings
    gradients = int(wanted[0]) + int(wanted[1])
    return gradients * int(conv_flop_count(images, weights, gradient, transposed))


class CostMeter:
    """Measures a training. What it has measured is part of the training's state: a resumed one reports the same.

    Args:
        steps: of the training.
        device: of the networks.
        group: the processes that share each step. Multiply-adds are those of all, time and memory of this one.
    """

    def __init__(self, steps: int, device: torch.device, group: Group = ALONE) -> None:
        self._steps, self._device, self._group = steps, device, group
        self._every = (steps // COUNTED_STEPS) | 1  # odd: a method's states may take turns with every step
        self._counts: list[int] = []
        self._before, self._peak, self._start = 0.0, 0.0, time.monotonic()
        reset_peak_memory(device)

    @contextmanager
    def counting(self, step: int) -> Iterator[None]:
        """Count the multiply-adds of a step's forward and backward passes, if it is one that is counted.

        What ``count_multiply_adds`` leaves out, such as norms, losses and optimisers, is small. It changes no bit
        of networks that are not compiled; torch.compile stands back for a counter, so counted steps run as they are.
        Which steps are counted depends on the number of steps alone.
        """
        if step % self._every:
            yield
            return
        with count_multiply_adds() as count:
            yield
        self._counts.append(int(self._group.sum_counts(torch.tensor(count()))))

    def compute(self, teachers: Iterable[nn.Module]) -> dict[str, int | None]:
        """Give what ``SegmentationNetwork.compute`` holds.

        Args:
            teachers: from which the networks learned.
        """
        total = sum(self._counts) * self._steps // len(self._counts)
        return {
            "steps": self._steps,
            "per_step": total // self._steps,
            "total": total,
            "teachers": _add_trainings(teachers),
        }

    def measured(self, images_per_step: int) -> dict[str, Any]:
        """Give the seconds, images per second and peak memory in MiB of the whole training, validations included."""
        seconds = self._seconds()
        speed = self._steps * images_per_step / seconds
        return {"seconds": round(seconds, 1), "images_per_second": round(speed, 2), "peak_memory_mib": self._memory()}

    def state_dict(self) -> dict[str, Any]:
        """Give what a resumed training needs."""
        return {"counts": self._counts, "seconds": self._seconds(), "peak": self._memory()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back; what was lost between the state and the interruption does not count."""
        self._counts, self._before, self._peak = state["counts"], state["seconds"], state["peak"]

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._start

    def _memory(self) -> float:
        return max(self._peak, peak_memory(self._device))


def _add_trainings(networks: Iterable[nn.Module]) -> int | None:
    """Add up what training some networks took, and their own teachers before; None where it is not recorded.

    Networks of one fingerprint were trained together, and count once.
    """
    trainings = {getattr(network, "fingerprint", None): getattr(network, "compute", None) for network in networks}
    total = 0
    for compute in trainings.values():
        if compute is None or compute["teachers"] is None:
            return None
        total += compute["total"] + compute["teachers"]
    return total
