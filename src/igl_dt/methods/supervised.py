"""Training on the labelled images alone: the reference that every semi-supervised method must beat."""

from torch import Tensor

from igl_dt.data.loading import Batch
from igl_dt.losses import supervised_loss
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.methods.base import Method
from igl_dt.networks.base import SegmentationNetwork


class Supervised(Method):
    """Supervised training of one network.

    Args:
        name: of the network, in histories.
        network: to be trained.
        parameters: of the loss.
    """

    settings: SupervisedLossParameters

    def __init__(self, name: str, network: SegmentationNetwork, parameters: SupervisedLossParameters) -> None:
        super().__init__({name: network}, parameters)
        self.name = name

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give L_sup; see ``Method.forward``."""
        network = self.networks[self.name]
        return {"supervised": supervised_loss(network(batch.images).logits, batch.masks.long(), self.settings)}
