"""Stage 2: the student, between two frozen teachers.

    L   = L_l + L_u                                                                              [paper]
    L_l = L_sup(S) + λ_pl · [L_P(S, Y_su) + L_P(S, Y_ru)]                                        [paper]
    L_u = L_P(S, Y_su) + λ_glo · L_Glo(S, T_su) + λ_dis · L_Dis(S, T_ru)    in the global state  [paper; form: family]
    L_u = L_P(S, Y_ru) + λ_loc · L_Loc(S, T_ru) + λ_dis · L_Dis(S, T_su)    in the local state   [paper; form: family]

The states take turns. Teachers see the weak views, the student the strong one with CutMix, for which the teachers'
maps are mixed with the same boxes [family: CPS, UniMatch].
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from igl_dt.data.loading import Batch
from igl_dt.losses import (
    average_pool,
    cutmix,
    discrepancy_loss,
    global_context_loss,
    local_regional_loss,
    pseudo_label_loss,
    pseudo_labels,
    ramp_up,
    supervised_loss,
)
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.methods.base import Method
from igl_dt.networks.base import NetworkOutput, SegmentationNetwork
from igl_dt.utils.parameters import IGNORE_INDEX, Parameters, Probability, Weight


class IglDtParameters(Parameters):
    """Stage 2, the student's losses and their alternation."""

    supervised: SupervisedLossParameters = SupervisedLossParameters()
    labeled_pseudo_label_weight: Weight = 1.0
    """λ_pl: both teachers' pseudo-labels on the labelled batch [paper]."""
    unlabeled_pseudo_label_weight: Weight = 1.0
    """Weight of L_P on the unlabelled batch [family: 1]."""
    global_weight: Weight = 0.08
    """λ_glo [family: MGD]."""
    local_weight: Weight = 100.0
    """λ_loc on the mean squared difference of similarity matrices [family: MGD]."""
    discrepancy_weight: Weight = 0.05
    """λ_dis [ours]."""
    swap_every: PositiveInt = 1
    """Steps between swaps of the global and the local state [paper: swapping; per step: ours]."""
    pseudo_label_source: Literal["state", "both"] = "state"
    """Whether L_P on the unlabelled batch follows the state's teacher, or both."""
    confidence_threshold: Probability = 0.0
    """Pseudo-labels with a lower probability are ignored [family: none in MGD]."""
    global_map: Literal["logits", "probabilities", "features"] = "logits"
    """What is pooled for L_Glo [family: MGD pools logits]."""
    local_regions: PositiveInt | None = 7
    """Features are pooled to this many rows and columns for L_Loc [family]; null keeps every position."""
    discrepancy_space: Literal["probabilities", "features"] = "probabilities"
    """Where student and teacher are compared; ``features`` through a learned 1×1 projection [ours]."""
    ramp_up_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the unlabelled batch's weights rise from 0, as exp(-5(1 - t)²) [ours]."""


SWIN_UNET, RES_UNET = "swin_unet", "res_unet"


class IglDt(Method):
    """Iterative global-local learning of a student from two teachers.

    Args:
        student: to be trained.
        swin_unet: teacher of the global state; frozen from now on: no gradients, evaluation mode, the same to the bit.
        res_unet: teacher of the local state; frozen likewise.
        parameters: weights and choices.
    """

    settings: IglDtParameters

    def __init__(
        self,
        student: SegmentationNetwork,
        swin_unet: SegmentationNetwork,
        res_unet: SegmentationNetwork,
        parameters: IglDtParameters,
    ) -> None:
        super().__init__({"student": student}, parameters)
        self.student = student
        self.teachers = nn.ModuleDict({SWIN_UNET: swin_unet, RES_UNET: res_unet}).requires_grad_(False).eval()
        both = parameters.discrepancy_space == "features"
        projected = {SWIN_UNET: both or parameters.global_map == "features", RES_UNET: both}
        self.projections = nn.ModuleDict(
            {
                name: nn.Conv2d(student.feature_channels, teacher.feature_channels, 1)
                for name, teacher in ((SWIN_UNET, swin_unet), (RES_UNET, res_unet))
                if projected[name]
            }
        )

    def trained(self) -> dict[str, nn.Module]:
        """Give the student, together with the projections into the teachers' feature spaces."""
        return {"student": nn.ModuleList([self.student, self.projections])}

    def train(self, mode: bool = True) -> "IglDt":
        """Set the mode of the student; the teachers stay in evaluation mode [ours: MGD lets their statistics drift]."""
        super().train(mode)
        self.teachers.eval()
        return self

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give the weighted terms of L_l and L_u; see ``Method.forward``."""
        assert batch.weak is not None and batch.padding is not None
        parameters, target, labeled = self.settings, batch.masks.long(), len(batch.images)
        guide, other = self._roles(step)
        teachers = self._predict(batch)

        strong, padding = batch.strong if batch.strong is not None else batch.weak, batch.padding
        if batch.cutmix is not None:
            strong, padding = cutmix(strong, batch.cutmix), cutmix(padding, batch.cutmix)
        output = self.student(torch.cat([batch.images, strong]))
        logits = output.logits[:labeled]
        student = NetworkOutput(output.logits[labeled:], output.features[labeled:])

        terms = {"supervised": supervised_loss(logits, target, parameters.supervised)}
        if parameters.labeled_pseudo_label_weight > 0:
            known = [self._labels(teacher.logits[:labeled], target == IGNORE_INDEX) for teacher in teachers.values()]
            loss = _sum_of_losses(logits, known, target == IGNORE_INDEX)
            terms["labeled_pseudo_label"] = parameters.labeled_pseudo_label_weight * loss
        unlabeled = {name: _Mixed(teacher, labeled, batch.cutmix) for name, teacher in teachers.items()}
        ramp = ramp_up(step, parameters.ramp_up_steps)
        sources = [guide] if parameters.pseudo_label_source == "state" else [SWIN_UNET, RES_UNET]
        guessed = [self._labels(unlabeled[name].logits, padding) for name in sources]
        pseudo_label_weight = ramp * parameters.unlabeled_pseudo_label_weight
        terms["unlabeled_pseudo_label"] = pseudo_label_weight * _sum_of_losses(student.logits, guessed, padding)
        if guide == SWIN_UNET and parameters.global_weight > 0:
            maps = self._in_common_space(student, unlabeled[guide], guide, parameters.global_map)
            terms["global_context"] = ramp * parameters.global_weight * global_context_loss(*maps)
        if guide == RES_UNET and parameters.local_weight > 0:
            loss = local_regional_loss(student.features, unlabeled[guide].features, parameters.local_regions)
            terms["local_regional"] = ramp * parameters.local_weight * loss
        if parameters.discrepancy_weight > 0:
            maps = self._in_common_space(student, unlabeled[other], other, parameters.discrepancy_space)
            terms["discrepancy"] = ramp * parameters.discrepancy_weight * discrepancy_loss(*maps)
        return terms

    def _roles(self, step: int) -> tuple[str, str]:
        """Name the state's teacher, and the one that the student shall not lean on."""
        in_global_state = step // self.settings.swap_every % 2 == 0
        return (SWIN_UNET, RES_UNET) if in_global_state else (RES_UNET, SWIN_UNET)

    @torch.no_grad()
    def _predict(self, batch: Batch) -> dict[str, NetworkOutput]:
        assert batch.weak is not None
        images = torch.cat([batch.images, batch.weak])
        return {name: teacher(images) for name, teacher in self.teachers.items()}

    def _labels(self, logits: Tensor, padding: Tensor) -> Tensor:
        return pseudo_labels(logits, self.settings.confidence_threshold, padding)

    def _in_common_space(
        self, student: NetworkOutput, teacher: "_Mixed", name: str, space: str
    ) -> tuple[Tensor, Tensor]:
        """Give both as logits, class probabilities, or features of the teacher's kind and the student's size."""
        if space == "logits":
            return student.logits, teacher.logits
        if space == "probabilities":
            return student.logits.float().softmax(dim=1), teacher.logits.float().softmax(dim=1)
        projected = self.projections[name](student.features)
        return projected, average_pool(teacher.features, *projected.shape[-2:])


class _Mixed:
    """What a teacher says of the unlabelled images, mixed as they are, once it is asked for.

    Features are large and few losses need them: mixing all of them took a twentieth of a step.
    """

    def __init__(self, output: NetworkOutput, labeled: int, boxes: Tensor | None) -> None:
        self._output = output
        self._labeled = labeled
        self._boxes = boxes

    @cached_property
    def logits(self) -> Tensor:
        return self._mix(self._output.logits)

    @cached_property
    def features(self) -> Tensor:
        return self._mix(self._output.features)

    def _mix(self, x: Tensor) -> Tensor:
        unlabeled = x[self._labeled :]
        return unlabeled if self._boxes is None else cutmix(unlabeled, self._boxes)


def _sum_of_losses(logits: Tensor, labels: Sequence[Tensor], ignore: Tensor) -> Tensor:
    return torch.stack([pseudo_label_loss(logits, label, ignore) for label in labels]).sum()
