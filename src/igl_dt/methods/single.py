"""What methods with one network have in common."""

import torch
from torch import Tensor

from igl_dt.data.loading import Batch
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.methods.base import Method, MethodSetup
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.utils.parameters import Parameters


class SingleNetworkMethod(Method):
    """A method that trains one network, whatever its role."""

    def __init__(self, setup: MethodSetup) -> None:
        """Build it.

        Raises:
            ValueError: there is not exactly one network.
        """
        super().__init__(setup)
        if len(setup.networks) != 1:
            raise ValueError(f"{self.name} trains one network, not {len(setup.networks)}: {', '.join(setup.networks)}")
        (self.role,) = setup.networks

    @property
    def network(self) -> SegmentationNetwork:
        """The network that is trained."""
        return self.setup.networks[self.role]


def with_strong_views(given: AugmentationParameters) -> AugmentationParameters:
    """Give the same augmentation with strong views of the unlabelled images."""
    return given.model_copy(update={"strong_unlabeled": True})


def without_strong_views(given: AugmentationParameters, options: Parameters) -> AugmentationParameters:
    """Give the same augmentation without strong views of the unlabelled images, and with a method's own boxes.

    These are the method's options that are called as those of the augmentation, ``cutmix_…``; null: as given.
    """
    boxes = {name: value for name, value in options if name.startswith("cutmix_") and value is not None}
    return given.model_copy(update={"strong_unlabeled": False} | boxes)


def move_draws(draws: Tensor, device: torch.device) -> Tensor:
    """Move what was drawn on the CPU to a device, without waiting for what a GPU has still to compute."""
    return (draws.pin_memory() if device.type == "cuda" else draws).to(device, non_blocking=True)


def boxes_of(batch: Batch, view: int) -> Tensor | None:
    """Give the CutMix boxes of a strong view, B×H×W bool; None without CutMix."""
    return batch.cutmix[view] if batch.cutmix else None
