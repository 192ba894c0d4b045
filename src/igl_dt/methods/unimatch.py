"""UniMatch V1 (Yang et al., CVPR 2023): two strong views, and features with dropped channels, follow the weak view.

    L = ½ (L_sup + ¼ L_s1 + ¼ L_s2 + ½ L_fp)

FixMatch (see ``igl_dt.methods.fixmatch``) with two strong views, each with its own jitter and boxes, in one forward.
L_fp is the same loss for the weak view itself with half of the channels of its shallowest and deepest encoder features
dropped; its decoding shares a batch with the clean features of the labelled and weak views.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from igl_dt.data.loading import Batch
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.losses.cutmix import cutmix, paste
from igl_dt.losses.pseudo_label import pseudo_label_loss, pseudo_labels
from igl_dt.methods.fixmatch import label_partners
from igl_dt.methods.single import SingleNetworkMethod, boxes_of, with_strong_views
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.utils.parameters import Parameters, Probability, Weight


class UniMatchParameters(Parameters):
    """Threshold and weights of UniMatch V1 [paper: UniMatch]."""

    confidence_threshold: Probability = 0.95
    """τ on VOC; 0 on Cityscapes."""
    strong_weight: Weight = 0.25
    """Weight of each strong view."""
    feature_weight: Weight = 0.5
    """Weight of the view with perturbed features."""
    feature_dropout: Probability = 0.5
    """Share of the channels that are dropped."""


class UniMatch(SingleNetworkMethod):
    """UniMatch V1."""

    name = "unimatch"
    parameters_type = UniMatchParameters
    strong_views = 2
    options: UniMatchParameters

    def augmentation(self, given: AugmentationParameters) -> AugmentationParameters:
        """Give strong views."""
        return with_strong_views(given)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give the weighted losses; see ``Method.forward``."""
        assert batch.weak is not None
        assert batch.padding is not None
        threshold = self.options.confidence_threshold
        partners = label_partners(self.network, batch.weak, threshold, batch.padding)
        predicted = self.predict(batch)
        labels = pseudo_labels(predicted.weak, threshold, batch.padding)
        terms = {"supervised": self.supervised(predicted.labeled, batch.masks.long())}
        terms |= view_losses(batch, predicted, labels, partners, self.options)
        return {name: term / 2 for name, term in terms.items()}

    def predict(self, batch: Batch) -> "Predictions":
        """Predict all views in training mode."""
        assert batch.weak is not None
        images, labeled = torch.cat([batch.images, batch.weak]), len(batch.images)
        logits, perturbed = decode_with_dropout(self.network, images, self.options.feature_dropout)
        strong = predict_strong_views(self.network, batch)
        return Predictions(logits[:labeled], logits[labeled:], perturbed[labeled:], strong)


class Predictions(NamedTuple):
    """Logits of a step, B×N×H×W each."""

    labeled: Tensor
    weak: Tensor
    """Of the unlabelled images' weak views."""
    perturbed: Tensor
    """Of their weak views, with channels of the features dropped."""
    strong: tuple[Tensor, ...]
    """Of their strong views, mixed by CutMix."""


def view_losses(
    batch: Batch, predicted: Predictions, labels: Tensor, partners: Tensor, weights: UniMatchParameters
) -> dict[str, Tensor]:
    """Give the weighted losses of strong views and perturbed features against labels of the weak views.

    Args:
        batch: of the step.
        predicted: its views.
        labels: B×H×W int64 of the unlabelled images, 255 where uncertain.
        partners: likewise, of the images whose boxes are pasted into them.
        weights: of the losses.
    """
    assert batch.padding is not None
    terms = {}
    for view, prediction in enumerate(predicted.strong):
        boxes = boxes_of(batch, view)
        loss = pseudo_label_loss(prediction, paste(labels, boxes, partners), cutmix(batch.padding, boxes))
        terms[f"strong_view_{view + 1}"] = weights.strong_weight * loss
    loss = pseudo_label_loss(predicted.perturbed, labels, batch.padding)
    return terms | {"feature_view": weights.feature_weight * loss}


def decode_with_dropout(network: SegmentationNetwork, images: Tensor, dropout: float) -> tuple[Tensor, Tensor]:
    """Predict images twice, in one decoder batch: as they are, and with channels of their features dropped.

    Args:
        network: in training mode.
        images: B×3×H×W.
        dropout: share of the channels of the shallowest and the deepest features that are set to 0.

    Returns:
        Logits B×N×H×W of the clean and of the perturbed features.
    """
    encoded = network.encode(images)
    last = len(encoded.features) - 1
    stacked = [
        torch.cat([x, F.dropout2d(x, dropout) if index in (0, last) else x]) for index, x in enumerate(encoded.features)
    ]
    clean, perturbed = network.decode(encoded._replace(features=stacked)).logits.chunk(2)
    return clean, perturbed


def predict_strong_views(network: SegmentationNetwork, batch: Batch) -> tuple[Tensor, ...]:
    """Predict all strong views, each mixed with its boxes, in one forward: B×N×H×W logits for each."""
    views = [cutmix(view, boxes_of(batch, number)) for number, view in enumerate(batch.strong)]
    logits: Tensor = network(torch.cat(views)).logits
    return logits.chunk(len(views))
