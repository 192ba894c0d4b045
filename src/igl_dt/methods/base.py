"""What the training loop asks of a method."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from igl_dt.data.loading import Batch
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.utils.parameters import Parameters


class Method(nn.Module, ABC):
    """A way to train one or more networks; its ``forward`` gives the losses of a step.

    Args:
        networks: what is validated and kept, by name.
        settings: on what its losses depend beside networks, batch and step. They are part of a result's fingerprint.
    """

    settings: Parameters | Mapping[str, Any]

    def __init__(self, networks: Mapping[str, SegmentationNetwork], settings: Parameters | Mapping[str, Any]) -> None:
        super().__init__()
        self.networks, self.settings = dict(networks), settings
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
