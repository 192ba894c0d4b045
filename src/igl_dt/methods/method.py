"""What the training loop asks of a method."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from igl_dt.data.loading import Batch
from igl_dt.networks import SegmentationNetwork


class Method(nn.Module, ABC):
    """A way to train one or more networks; its ``forward`` gives the losses of a step.

    Args:
        networks: what is validated and kept, by name.
    """

    def __init__(self, networks: Mapping[str, SegmentationNetwork]) -> None:
        super().__init__()
        self.networks = dict(networks)
        for name, network in networks.items():
            self.add_module(name, network)

    def trained(self) -> dict[str, nn.Module]:
        """Give the modules that are trained, by the name of their optimiser's parameters."""
        return dict(self.networks)

    @abstractmethod
    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Compute the losses of one step.

        Args:
            batch: on the networks' device.
            step: counted from 0.

        Returns:
            Scalars by name, already weighted: the total loss is their sum.
        """
