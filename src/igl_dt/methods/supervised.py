"""Training on the labelled images alone: the baseline that every semi-supervised method must beat."""

from torch import Tensor

from igl_dt.data.loading import Batch
from igl_dt.methods.base import Method
from igl_dt.utils.parameters import Parameters


class SupervisedParameters(Parameters):
    """None: the loss against the ground truth is the training's."""


class Supervised(Method):
    """Supervised training of each network on its own; two teachers trained so do not learn from each other."""

    name = "supervised"
    parameters_type = SupervisedParameters
    uses_unlabeled = False

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give L_sup of each network; see ``Method.forward``."""
        target = batch.masks.long()
        losses = {
            role: self.supervised(network(batch.images).logits, target) for role, network in self.networks.items()
        }
        if len(losses) == 1:
            return {"supervised": next(iter(losses.values()))}
        return {f"{role}.supervised": loss for role, loss in losses.items()}
