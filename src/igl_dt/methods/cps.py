"""Two networks that label for each other: Cross Pseudo Supervision (Chen et al., CVPR 2021).

    L = Σ_k L_sup(k) + λ_cps · [CE(Z_1, argmax Z_2) + CE(Z_2, argmax Z_1)]

IGL-DT pretrains its two teachers, of different architectures, so [paper]. With CutMix, each network predicts the
two clean images, their logits are mixed with the box, and the argmax of the mix labels the mixed image for the other
network [family: CPS].

A training of one network, such as the student's, gets a second one of the same architecture from other initial
weights; that is CPS as a semi-supervised method of its own, and the first network is its result.
"""

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from igl_dt.data.loading import Batch
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.losses.cutmix import cutmix
from igl_dt.losses.pseudo_label import pseudo_label_loss, pseudo_labels
from igl_dt.losses.schedule import ramp_up
from igl_dt.methods.base import Method, MethodSetup
from igl_dt.methods.single import boxes_of, without_strong_views
from igl_dt.utils.parameters import IGNORE_INDEX, Parameters, Probability, Weight


class CpsParameters(Parameters):
    """Weight and schedule of the cross pseudo-labels [paper: CPS; the rest family]."""

    cps_weight: Weight = 1.0
    """λ_cps: 1.5 without and 1.0 with CutMix on VOC, 6 and 5 on Cityscapes [family]."""
    cps_on_labeled: bool = False
    """Whether the labelled batch gets cross pseudo-labels too [family]."""
    supervised_steps: Annotated[int, Field(ge=0)] = 0
    """First steps, on labelled images alone: networks label for each other only when they have learned something
    [ours]."""
    ramp_up_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which λ_cps then rises from 0, as exp(-5(1 - t)²) [ours]."""
    direction_weights: dict[str, Weight] = Field(default_factory=dict)
    """Per network, a factor of λ_cps for its loss on the other's labels; 1 where it is not given. With 0.1, a strong
    network learns little from a weak partner [ours]."""
    cutmix_probability: Probability | None = None
    """How often an image gets boxes, 1 in CPS [family]; null: as the training's augmentation says."""
    cutmix_boxes: PositiveInt | None = None
    """Boxes per image, 3 in CPS [family]; null: as the training's augmentation says."""


class CrossPseudoSupervision(Method):
    """Cross Pseudo Supervision of two networks."""

    name = "cps"
    parameters_type = CpsParameters
    options: CpsParameters

    def __init__(self, setup: MethodSetup) -> None:
        """Build it.

        Raises:
            ValueError: there are not two networks, or ``direction_weights`` names another.
        """
        super().__init__(setup)
        if len(self.networks) != 2:
            raise ValueError(f"cps trains two networks, not {len(self.networks)}: {', '.join(self.networks)}")
        if unknown := set(self.options.direction_weights) - set(self.networks):
            raise ValueError(f"cps.direction_weights names {min(unknown)!r}: it trains {' and '.join(self.networks)}")

    @classmethod
    def extra_networks(cls, roles: Iterable[str]) -> dict[str, str]:
        """Name a second network where the training has but one."""
        roles = list(roles)
        return {f"second_{roles[0]}": roles[0]} if len(roles) == 1 else {}

    def augmentation(self, given: AugmentationParameters) -> AugmentationParameters:
        """Give weak views alone, and boxes as the parameters say."""
        return without_strong_views(given, self.options)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give L_sup and the weighted L_cps of each network; see ``Method.forward``."""
        assert batch.weak is not None
        assert batch.padding is not None
        if step < self.options.supervised_steps:
            return {
                f"{role}.supervised": self.supervised(network(batch.images).logits, batch.masks.long())
                for role, network in self.networks.items()
            }
        target, unlabeled, padding, labeled = batch.masks.long(), batch.weak, batch.padding, len(batch.images)
        boxes = boxes_of(batch, 0)
        if boxes is not None:
            unlabeled, padding = cutmix(unlabeled, boxes), cutmix(padding, boxes)

        logits = {role: network(torch.cat([batch.images, unlabeled])).logits for role, network in self.networks.items()}
        labels = {}
        for role, network in self.networks.items():
            if boxes is None:
                predicted = logits[role][labeled:]
            else:
                with torch.no_grad():
                    predicted = cutmix(network(batch.weak).logits, boxes)
            labels[role] = pseudo_labels(predicted, ignore=padding)
            if self.options.cps_on_labeled:
                known = pseudo_labels(logits[role][:labeled], ignore=target == IGNORE_INDEX)
                labels[role] = torch.cat([known, labels[role]])

        ramp = ramp_up(step - self.options.supervised_steps, self.options.ramp_up_steps)
        weight = self.options.cps_weight * ramp
        first, second = self.networks
        terms = {}
        for role, other in ((first, second), (second, first)):
            factor = weight * self.options.direction_weights.get(role, 1.0)
            crossed = logits[role] if self.options.cps_on_labeled else logits[role][labeled:]
            terms[f"{role}.supervised"] = self.supervised(logits[role][:labeled], target)
            terms[f"{role}.cross_pseudo"] = factor * pseudo_label_loss(crossed, labels[other])
        return terms
