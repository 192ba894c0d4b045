"""UniMatch V2 (Yang et al., TPAMI 2025) on any network: complementary features, labels by an average of the weights.

    L = ½ (L_sup + ½ (L_s1 + L_s2))

The average (EMA) labels the weak views in evaluation mode. Both strong views go through the network in one forward, the
first with a random half of the feature channels, doubled, the second with the other half; half of the images are
exempt. The CutMix partners are the batch in reverse order. The paper's network is DINOv2 with DPT, whose four features
have the same channels and share a mask; here each feature of the encoder has its own [adapted].
"""

import torch
from torch import Tensor

from igl_dt.data.loading import Batch
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.losses.cutmix import paste
from igl_dt.losses.pseudo_label import pseudo_label_loss, pseudo_labels
from igl_dt.methods.ema import AveragedNetworkMethod, update_average, warm_decay
from igl_dt.methods.single import boxes_of, move_draws, with_strong_views
from igl_dt.utils.parameters import Parameters, Probability


class UniMatchV2Parameters(Parameters):
    """Threshold and average of UniMatch V2 [paper: UniMatch V2]."""

    confidence_threshold: Probability = 0.95
    """τ, on VOC and on Cityscapes."""
    ema_decay: Probability = 0.996
    """Reached from below: min(1 − 1 / (step + 1), this)."""
    exempt: Probability = 0.5
    """Share of the images whose features are left as they are."""


class UniMatchV2(AveragedNetworkMethod):
    """UniMatch V2."""

    name = "unimatch_v2"
    parameters_type = UniMatchV2Parameters
    strong_views = 2
    options: UniMatchV2Parameters

    def augmentation(self, given: AugmentationParameters) -> AugmentationParameters:
        """Give strong views."""
        return with_strong_views(given)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give the weighted losses; see ``Method.forward``."""
        assert batch.weak is not None
        assert batch.padding is not None
        padding, average = batch.padding, self.average.eval()
        with torch.no_grad():
            labels = pseudo_labels(average(batch.weak).logits, self.options.confidence_threshold, padding)
        boxes = [boxes_of(batch, view) for view in range(len(batch.strong))]
        logits = self.network(batch.images).logits
        views = [paste(x, box, x.flip(0)) for x, box in zip(batch.strong, boxes, strict=True)]
        encoded = self.network.encode(torch.cat(views))
        masked = complementary_dropout(encoded.features, self.options.exempt)
        strong = self.network.decode(encoded._replace(features=masked)).logits.chunk(2)

        terms = {"supervised": self.supervised(logits, batch.masks.long()) / 2}
        for view, (prediction, box) in enumerate(zip(strong, boxes, strict=True)):
            mixed, ignored = paste(labels, box, labels.flip(0)), paste(padding, box, padding.flip(0))
            terms[f"strong_view_{view + 1}"] = pseudo_label_loss(prediction, mixed, ignored) / 4
        return terms

    def after_step(self, step: int) -> None:
        """Update the average of parameters and buffers."""
        update_average(self.average, self.network, warm_decay(step, self.options.ema_decay), buffers=True)


def complementary_dropout(features: list[Tensor], exempt: float) -> list[Tensor]:
    """Keep a random half of the channels in the first half of the batch, and the others in the second half.

    What is kept is doubled. Random numbers come from torch's generator of the CPU, on every device.

    Args:
        features: 2B×C×h×w each; images b and B + b belong together.
        exempt: share of the pairs, rounded down, that stay as they are.
    """
    pairs = len(features[0]) // 2
    kept = torch.randperm(pairs)[: int(pairs * exempt)]
    masked = []
    for x in features:
        mask = 2 * torch.bernoulli(torch.full((pairs, x.shape[1]), 0.5))
        mask[kept] = 1
        both = torch.cat([mask, 2 - mask])[:, :, None, None]
        masked.append(x * move_draws(both.to(x.dtype), x.device))
    return masked
