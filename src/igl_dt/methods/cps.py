"""Stage 1: two teachers that label for each other [paper: CPS, two different backbones].

    L_teacher = L_sup(T_su) + L_sup(T_ru) + λ_cps · [CE(Z_su, argmax Z_ru) + CE(Z_ru, argmax Z_su)]

after Cross Pseudo Supervision (CVPR 2021), with its CutMix variant: each teacher predicts the two clean images, their
logits are mixed with the box, and the argmax of the mix labels the mixed image for the other teacher [family].
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from igl_dt.data.loading import Batch
from igl_dt.losses import cutmix, pseudo_label_loss, pseudo_labels, ramp_up, supervised_loss
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.methods.base import Method
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.utils.parameters import IGNORE_INDEX, Parameters, Weight


class CrossPseudoSupervisionParameters(Parameters):
    """Stage 1, the teachers' losses [paper: CPS; the rest family]."""

    supervised: SupervisedLossParameters = SupervisedLossParameters()
    cps_weight: Weight = 1.0
    """λ_cps: 1.5 without and 1.0 with CutMix on VOC, 6 and 5 on Cityscapes [family]."""
    cps_on_labeled: bool = False
    """Whether the labelled batch gets cross pseudo-labels too [family]."""
    ramp_up_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which λ_cps rises from 0, as exp(-5(1 - t)²) [ours]."""


class CrossPseudoSupervision(Method):
    """Cross Pseudo Supervision of the two teachers.

    Args:
        swin_unet: teacher of the global context.
        res_unet: teacher of the local detail.
        parameters: weights and choices.
    """

    settings: CrossPseudoSupervisionParameters

    def __init__(
        self,
        swin_unet: SegmentationNetwork,
        res_unet: SegmentationNetwork,
        parameters: CrossPseudoSupervisionParameters,
    ) -> None:
        super().__init__({"swin_unet": swin_unet, "res_unet": res_unet}, parameters)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give L_sup and the weighted L_cps of each teacher; see ``Method.forward``."""
        assert batch.weak is not None and batch.padding is not None
        target, padding, labeled = batch.masks.long(), batch.padding, len(batch.images)
        unlabeled = batch.weak
        if batch.cutmix is not None:
            unlabeled, padding = cutmix(batch.weak, batch.cutmix), cutmix(batch.padding, batch.cutmix)

        logits = {name: network(torch.cat([batch.images, unlabeled])).logits for name, network in self.networks.items()}
        labels = {}
        for name, network in self.networks.items():
            if batch.cutmix is None:
                predicted = logits[name][labeled:]
            else:
                with torch.no_grad():
                    predicted = cutmix(network(batch.weak).logits, batch.cutmix)
            labels[name] = pseudo_labels(predicted, ignore=padding)
            if self.settings.cps_on_labeled:
                labels[name] = torch.cat(
                    [pseudo_labels(logits[name][:labeled], ignore=target == IGNORE_INDEX), labels[name]]
                )

        weight = self.settings.cps_weight * ramp_up(step, self.settings.ramp_up_steps)
        terms = {}
        for name, other in (("swin_unet", "res_unet"), ("res_unet", "swin_unet")):
            crossed = logits[name] if self.settings.cps_on_labeled else logits[name][labeled:]
            terms[f"{name}.supervised"] = supervised_loss(logits[name][:labeled], target, self.settings.supervised)
            terms[f"{name}.cross_pseudo"] = weight * pseudo_label_loss(crossed, labels[other])
        return terms
