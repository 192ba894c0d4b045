"""Networks whose weights are exponential moving averages of a trained one's (Tarvainen & Valpola, NeurIPS 2017)."""

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from igl_dt.methods.base import MethodSetup
from igl_dt.methods.single import SingleNetworkMethod
from igl_dt.networks.base import SegmentationNetwork


def frozen_copy(network: SegmentationNetwork) -> SegmentationNetwork:
    """Copy a network; no gradient reaches the copy."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, buffers: bool) -> None:
    """Move an average one step towards a network: decay · average + (1 − decay) · network.

    Args:
        average: changed in place.
        network: of the same structure.
        decay: between 0, which copies the network, and 1.
        buffers: whether to average buffers, such as batch-norm statistics, too; integer ones are copied. Otherwise
            the average keeps its own.
    """
    averaged, current = list(average.parameters()), list(network.parameters())
    if buffers:
        for own, other in zip(average.buffers(), network.buffers(), strict=True):
            if own.is_floating_point():
                averaged.append(own)  # type: ignore[arg-type]
                current.append(other)  # type: ignore[arg-type]
            else:
                own.copy_(other)
    move = get_ema_multi_avg_fn(decay)
    plain: tuple[list[Tensor], list[Tensor]] = ([t.detach() for t in averaged], [t.detach() for t in current])
    move(*plain, None)


def warm_decay(step: int, decay: float) -> float:
    """Give min(1 − 1 / (step + 1), decay), steps counted from 0: a plain mean at first."""
    return min(1 - 1 / (step + 1), decay)


class AveragedNetworkMethod(SingleNetworkMethod):
    """A method that trains one network and averages its weights; the average is validated and kept too."""

    def __init__(self, setup: MethodSetup) -> None:
        """Build it; the average starts as a copy of the network."""
        super().__init__(setup)
        self.averages[f"{self.role}_ema"] = frozen_copy(self.network)

    @property
    def average(self) -> SegmentationNetwork:
        """The averaged network."""
        return self.evaluated()[f"{self.role}_ema"]
