"""Mean Teacher: agreement with an average of the network's own past weights (Tarvainen & Valpola, NeurIPS 2017).

    L = L_sup + λ · MSE(softmax Z, softmax Z_ema), on the labelled and the unlabelled images

As in TorchSemiSeg's experiments beside CPS: the average is one of parameters, its batch norms are in training mode and
keep statistics of their own, and no prediction is left out as uncertain. Labelled and unlabelled images are predicted
one after the other. With CutMix, after French et al. (BMVC 2020), the average predicts the clean images, and its mixed
probabilities are the target for the mixed image; loss, weight and boxes stay as above, while French et al. paste half
of the image, weight the loss by the share of confident pixels, and apply it to unlabelled images alone. The average is
updated after the optimiser's step [adapted: after the forward in TorchSemiSeg].
"""

import torch
from torch import Tensor

from igl_dt.data.loading import Batch
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.losses.common import full_precision
from igl_dt.losses.consistency import consistency_loss
from igl_dt.losses.cutmix import cutmix
from igl_dt.methods.ema import AveragedNetworkMethod, update_average
from igl_dt.methods.single import boxes_of, without_strong_views
from igl_dt.utils.parameters import Parameters, Probability, Weight


class MeanTeacherParameters(Parameters):
    """Weight and average of Mean Teacher."""

    consistency_weight: Weight = 100.0
    """λ [paper: TorchSemiSeg]."""
    ema_decay: Probability = 0.99
    """[paper: TorchSemiSeg]"""
    cutmix_probability: Probability = 0.0
    """0: plain Mean Teacher; 1: with CutMix."""


class MeanTeacher(AveragedNetworkMethod):
    """Mean Teacher, plain or with CutMix."""

    name = "mean_teacher"
    parameters_type = MeanTeacherParameters
    options: MeanTeacherParameters

    def augmentation(self, given: AugmentationParameters) -> AugmentationParameters:
        """Give weak views alone, and as many boxes as the parameters say."""
        return without_strong_views(given, self.options)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give L_sup and the weighted consistency; see ``Method.forward``."""
        assert batch.weak is not None
        boxes, average = boxes_of(batch, 0), self.average.train()
        known = self.network(batch.images).logits
        unknown = self.network(cutmix(batch.weak, boxes)).logits
        with torch.no_grad():
            known_target = full_precision(average(batch.images).logits).softmax(dim=1)
            target = cutmix(full_precision(average(batch.weak).logits).softmax(dim=1), boxes)
        loss = consistency_loss(torch.cat([known, unknown]), torch.cat([known_target, target]))
        return {
            "supervised": self.supervised(known, batch.masks.long()),
            "consistency": self.options.consistency_weight * loss,
        }

    def after_step(self, step: int) -> None:
        """Update the average of the parameters."""
        update_average(self.average, self.network, self.options.ema_decay, buffers=False)
