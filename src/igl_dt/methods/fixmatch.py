"""FixMatch for segmentation: confident predictions on the weak view label the strong view.

    L = ½ (L_sup + L_s),  L_s = (1 / |valid|) Σ [max softmax Z_w ≥ τ] · CE(Z_s, argmax Z_w)

Sohn et al., NeurIPS 2020, as the baseline of UniMatch (Yang et al., CVPR 2023). |valid| counts all pixels that are not
padding, confident or not. Weak views are predicted together with the labelled images in training mode; the CutMix
partner, whose box is pasted, is labelled by a forward of its own in evaluation mode; the strong view has its own
forward. The partner is the image's neighbour in the batch [adapted: UniMatch reads further images].
"""

import torch
from torch import Tensor

from igl_dt.data.loading import Batch
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.losses.cutmix import cutmix, paste
from igl_dt.losses.pseudo_label import pseudo_label_loss, pseudo_labels
from igl_dt.methods.single import SingleNetworkMethod, boxes_of, with_strong_views
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.utils.parameters import Parameters, Probability


class FixMatchParameters(Parameters):
    """Threshold of FixMatch's pseudo-labels."""

    confidence_threshold: Probability = 0.95
    """τ [paper: UniMatch on VOC; 0 on Cityscapes]."""


class FixMatch(SingleNetworkMethod):
    """FixMatch."""

    name = "fixmatch"
    parameters_type = FixMatchParameters
    options: FixMatchParameters

    def augmentation(self, given: AugmentationParameters) -> AugmentationParameters:
        """Give strong views."""
        return with_strong_views(given)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give ½ L_sup and ½ L_s; see ``Method.forward``."""
        assert batch.weak is not None
        assert batch.padding is not None
        labeled, threshold, boxes = len(batch.images), self.options.confidence_threshold, boxes_of(batch, 0)
        partners = label_partners(self.network, batch.weak, threshold, batch.padding)
        logits = self.network(torch.cat([batch.images, batch.weak])).logits
        labels = pseudo_labels(logits[labeled:], threshold, batch.padding)
        strong = self.network(cutmix(batch.strong[0], boxes)).logits
        loss = pseudo_label_loss(strong, paste(labels, boxes, partners), cutmix(batch.padding, boxes))
        return {"supervised": self.supervised(logits[:labeled], batch.masks.long()) / 2, "strong_view": loss / 2}


@torch.no_grad()
def label_partners(network: SegmentationNetwork, weak: Tensor, threshold: float, padding: Tensor) -> Tensor:
    """Label the CutMix partner of each unlabelled image, the one before it, in evaluation mode: B×H×W int64."""
    network.eval()
    labels = pseudo_labels(network(weak).logits, threshold, padding)
    network.train()
    return labels.roll(1, dims=0)
