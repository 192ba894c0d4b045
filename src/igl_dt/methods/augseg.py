"""AugSeg (Zhao et al., CVPR 2023): stronger, adaptive augmentation of the unlabelled images.

    L = L_sup + (1 / |pixels|) Σ [c ≥ τ] · CE(Z_s, Y),   Y and confidence c by an average of the weights

Strong views are one to three random operations (``igl_dt.data.random_operations``). A box of a labelled image, with its
true labels, is pasted into a copy of each of them with a probability of 1 − (confidence in that image). Then each view
gets a box of another image's copy; its own labelled box is not kept, as in the public code. Labelled images and strong
views go through the network in one forward. |pixels| counts all pixels of the batch. Padding gets no label [adapted:
AugSeg labels it].
"""

import math
from collections.abc import Callable

import torch
from pydantic import PositiveInt
from torch import Tensor

from igl_dt.data.loading import Batch
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.losses.common import full_precision
from igl_dt.losses.cutmix import paste
from igl_dt.losses.pseudo_label import pseudo_label_loss, pseudo_labels
from igl_dt.methods.ema import AveragedNetworkMethod, update_average, warm_decay
from igl_dt.methods.single import move_draws
from igl_dt.utils.parameters import Parameters, Probability, Weight


class AugSegParameters(Parameters):
    """Threshold, weight, average and operations of AugSeg [paper: AugSeg]."""

    confidence_threshold: Probability = 0.95
    """τ"""
    unlabeled_weight: Weight = 1.0
    """Weight of the unlabelled images' loss."""
    ema_decay: Probability = 0.999
    """0 in the first epoch, in which the average is a copy; then min(1 − 1 / (step + 1), this)."""
    operations: PositiveInt = 3
    """Most operations per strong view."""


class AugSeg(AveragedNetworkMethod):
    """AugSeg."""

    name = "augseg"
    parameters_type = AugSegParameters
    options: AugSegParameters

    def augmentation(self, given: AugmentationParameters) -> AugmentationParameters:
        """Give strong views of random operations; the boxes are drawn by the method."""
        strong = given.strong.model_copy(update={"random_operations": self.options.operations})
        return given.model_copy(update={"strong": strong, "strong_unlabeled": True, "cutmix_probability": 0.0})

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give the weighted losses; see ``Method.forward``."""
        assert batch.weak is not None
        assert batch.padding is not None
        labeled, target, average = len(batch.images), batch.masks.long(), self.average.eval()
        with torch.no_grad():
            predicted = average(batch.weak).logits
            labels = pseudo_labels(predicted, self.options.confidence_threshold, batch.padding)
            mix = _draw_mix(confidence_of_images(predicted), *batch.masks.shape[1:])
        mixed = self.network(torch.cat([batch.images, mix(batch.strong[0], batch.images)])).logits
        everywhere = torch.zeros_like(batch.padding)
        loss = pseudo_label_loss(mixed[labeled:], mix(labels, target), everywhere)
        return {
            "supervised": self.supervised(mixed[:labeled], target),
            "strong_view": self.options.unlabeled_weight * loss,
        }

    def after_step(self, step: int) -> None:
        """Update the average of parameters and buffers."""
        decay = 0.0 if step < self.steps_per_epoch else warm_decay(step, self.options.ema_decay)
        update_average(self.average, self.network, decay, buffers=True)


def confidence_of_images(logits: Tensor) -> Tensor:
    """Give, per image, the mean over pixels of max p · (1 − H(p) / log N), between 0 and 1.

    Args:
        logits: B×N×H×W.
    """
    log_p = full_precision(logits).log_softmax(dim=1)
    p = log_p.exp()
    certainty = 1 + (p * log_p).sum(dim=1) / math.log(max(2, logits.shape[1]))
    return (certainty * p.amax(dim=1)).mean(dim=(1, 2))


def random_boxes(count: int, height: int, width: int, alpha: float, beta: float) -> Tensor:
    """Draw one box per image, all of one size: 1 − Beta(alpha, beta) of the image, cut off at its border.

    Centres are uniform, except in the first eighth of rows and columns, where there are none [family: AugSeg].

    Returns:
        count×height×width bool on the CPU.
    """
    side = math.sqrt(1 - torch.distributions.Beta(alpha, beta).sample().item())

    def span(length: int) -> Tensor:
        half = int(length * side) // 2
        centre, position = torch.randint(length // 8, length, (count, 1)), torch.arange(length)
        return (centre - half <= position) & (position < centre + half)

    return span(height).unsqueeze(2) & span(width).unsqueeze(1)


def _draw_mix(confidence: Tensor, height: int, width: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Draw what is pasted where; gives a function that mixes unlabelled with labelled images, or their labels."""
    count, device = len(confidence), confidence.device
    order = move_draws(torch.randperm(count), device)
    from_labeled = move_draws(random_boxes(count, height, width, 8.0, 2.0), device)
    from_unlabeled = move_draws(random_boxes(count, height, width, 4.0, 4.0), device)
    doubtful = move_draws(torch.rand(count), device) > confidence
    from_labeled &= doubtful[:, None, None]

    def mix(unlabeled: Tensor, labeled: Tensor) -> Tensor:
        helped = paste(unlabeled, from_labeled, labeled[order])
        return paste(unlabeled, from_unlabeled, helped[order])

    return mix
