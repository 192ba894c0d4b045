"""Dual Teacher (Na et al., NeurIPS 2023): two averages of one network take turns to label for it.

    even epochs:  L = L_sup + L_cut + 0.2 · L_ic    labels by the first average, images mixed by CutMix
    odd epochs:   L = L_sup + L_mix + 0.2 · L_ic    labels by the second average, images mixed by ClassMix

It is the published relative of IGL-DT's swapping. L_cut and L_mix are cross-entropies, weighted by the share of pixels
whose confidence reaches τ: per image with CutMix, over the batch with ClassMix. ClassMix pastes the pixels of half of
the classes that an image shows into another one. L_ic is FixMatch's loss on the strong view without mixing. The active
average follows the network, and restarts each epoch: its decay is min(1 − 1 / (i + 1), 0.99) at step i of the epoch.
Averages are of parameters, with batch norms in training mode. Dual Teacher blurs and flips CutMix's images once more,
which here are strong views, and its epochs are of the labelled images, here of the unlabelled ones, so that averages
restart less often [adapted].
"""

import torch
from torch import Tensor

from igl_dt.data.loading import Batch
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.losses.common import full_precision
from igl_dt.losses.cutmix import paste
from igl_dt.losses.pseudo_label import pseudo_label_loss
from igl_dt.methods.augseg import random_boxes
from igl_dt.methods.base import MethodSetup
from igl_dt.methods.ema import frozen_copy, update_average, warm_decay
from igl_dt.methods.single import SingleNetworkMethod, move_draws, with_strong_views
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.utils.parameters import IGNORE_INDEX, Parameters, Probability, Weight


class DualTeacherParameters(Parameters):
    """Threshold, weight and averages [paper: Dual Teacher]."""

    confidence_threshold: Probability = 0.95
    """τ"""
    consistency_weight: Weight = 0.2
    """Weight of L_ic."""
    ema_decay: Probability = 0.99
    """Reached from below, in each epoch."""


class DualTeacher(SingleNetworkMethod):
    """Dual Teacher."""

    name = "dual_teacher"
    parameters_type = DualTeacherParameters
    options: DualTeacherParameters

    def __init__(self, setup: MethodSetup) -> None:
        """Build it; both averages start as copies of the network."""
        super().__init__(setup)
        self.averages.update({f"{self.role}_ema_{turn}": frozen_copy(self.network) for turn in (1, 2)})

    def augmentation(self, given: AugmentationParameters) -> AugmentationParameters:
        """Give strong views; what is mixed is drawn by the method."""
        return with_strong_views(given).model_copy(update={"cutmix_probability": 0.0})

    def active(self, step: int) -> tuple[int, SegmentationNetwork]:
        """Give the turn at a step, 0 or 1, and the average whose turn it is."""
        turn = step // self.steps_per_epoch % 2
        return turn, self.evaluated()[f"{self.role}_ema_{turn + 1}"]

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give the weighted losses; see ``Method.forward``."""
        assert batch.weak is not None
        assert batch.padding is not None
        labeled, strong, threshold = len(batch.images), batch.strong[0], self.options.confidence_threshold
        turn, average = self.active(step)
        with torch.no_grad():
            confidence, labels = full_precision(average.train()(batch.weak).logits).softmax(dim=1).max(dim=1)
            labels = labels.masked_fill(batch.padding, IGNORE_INDEX)
            confident = (confidence >= threshold) & ~batch.padding
            order = move_draws(torch.randperm(labeled), labels.device)
            if turn == 0:
                where = move_draws(random_boxes(labeled, labels.shape[1], labels.shape[2], 4.0, 4.0), labels.device)
                share = confident.double().mean(dim=(1, 2))
            else:
                where = ~half_of_the_classes(labels)
                share = paste(confident, where, confident[order]).double().mean().expand(labeled)
        output = self.network(torch.cat([batch.images, paste(strong, where, strong[order])])).logits
        mixed = paste(labels, where, labels[order])
        losses = [pseudo_label_loss(output[labeled + i : labeled + i + 1], mixed[i : i + 1]) for i in range(labeled)]
        unmixed = self.network(strong).logits
        loss = pseudo_label_loss(unmixed, labels.masked_fill(~confident, IGNORE_INDEX), batch.padding)
        return {
            "supervised": self.supervised(output[:labeled], batch.masks.long()),
            "mixed": (torch.stack(losses) * share.to(output.device, losses[0].dtype)).mean(),
            "consistency": self.options.consistency_weight * loss,
        }

    def after_step(self, step: int) -> None:
        """Update the parameters of the average whose turn it is."""
        decay = warm_decay(step % self.steps_per_epoch, self.options.ema_decay)
        update_average(self.active(step)[1], self.network, decay, buffers=False)


def half_of_the_classes(labels: Tensor) -> Tensor:
    """Select the pixels of a random half of the classes in each image, rounded down: B×H×W int64 to bool."""
    # Counts, not unique() and isin(), which sort and compare all pixels: measurably slower. The draw is on the CPU, so
    # this waits for a GPU.
    pixels = torch.stack([image.flatten().bincount(minlength=IGNORE_INDEX + 1) for image in labels]).cpu()
    chosen = torch.zeros(pixels.shape, dtype=torch.bool)
    for image, shown in enumerate(pixels[:, :IGNORE_INDEX] > 0):
        classes = shown.nonzero().flatten()
        chosen[image, classes[torch.randperm(len(classes))[: len(classes) // 2]]] = True
    return move_draws(chosen, labels.device).gather(1, labels.flatten(1)).view_as(labels)
