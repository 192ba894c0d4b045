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
from igl_dt.losses.cutmix import cutmix
from igl_dt.losses.discrepancy import discrepancy_loss
from igl_dt.losses.global_context import global_context_loss
from igl_dt.losses.local_regional import average_pool, local_regional_loss
from igl_dt.losses.pseudo_label import pseudo_label_loss, pseudo_labels
from igl_dt.losses.schedule import ramp_up
from igl_dt.methods.base import Method, MethodSetup
from igl_dt.networks.base import NetworkOutput
from igl_dt.utils.parameters import IGNORE_INDEX, Parameters, Probability, Weight


class IglDtParameters(Parameters):
    """Stage 2, the student's losses and their alternation."""

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
    ramp_up_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the unlabelled batch's weights rise from 0, as exp(-5(1 - t)²) [ours]."""


GLOBAL_TEACHER, LOCAL_TEACHER = "global_teacher", "local_teacher"


class IglDt(Method):
    """Iterative global-local learning of a student from two frozen teachers."""

    name = "igl_dt"
    parameters_type = IglDtParameters
    required_teachers = (GLOBAL_TEACHER, LOCAL_TEACHER)
    options: IglDtParameters

    def __init__(self, setup: MethodSetup) -> None:
        """Build it; a projection into the teacher's feature space is drawn from torch's global generator."""
        super().__init__(setup)
        self.student = setup.networks["student"]
        self.projections = nn.ModuleDict()
        if self.options.global_map == "features":
            width: int = setup.teachers[GLOBAL_TEACHER].feature_channels
            self.projections[GLOBAL_TEACHER] = nn.Conv2d(self.student.feature_channels, width, 1)

    def trained(self) -> dict[str, nn.Module]:
        """Give the student, together with the projection into a teacher's feature space."""
        return {"student": nn.ModuleList([self.student, self.projections])}

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give the weighted terms of L_l and L_u; see ``Method.forward``."""
        assert batch.weak is not None and batch.padding is not None
        options, target, labeled = self.options, batch.masks.long(), len(batch.images)
        guide, other = self._teachers_of_state(step)
        known = batch.images if batch.images_weak is None else batch.images_weak  # teachers see weak views alone
        teachers = self.predict_teachers(torch.cat([known, batch.weak]))

        strong, padding = batch.strong[0], batch.padding
        boxes = batch.cutmix[0] if batch.cutmix else None
        if boxes is not None:
            strong, padding = cutmix(strong, boxes), cutmix(padding, boxes)
        output = self.student(torch.cat([batch.images, strong]))
        logits = output.logits[:labeled]
        student = NetworkOutput(output.logits[labeled:], output.features[labeled:])

        terms = {"supervised": self.supervised(logits, target)}
        if options.labeled_pseudo_label_weight > 0:
            guesses = [self._labels(teacher.logits[:labeled], target == IGNORE_INDEX) for teacher in teachers.values()]
            loss = _sum_of_losses(logits, guesses, target == IGNORE_INDEX)
            terms["labeled_pseudo_label"] = options.labeled_pseudo_label_weight * loss
        unlabeled = {name: _Mixed(teacher, labeled, boxes) for name, teacher in teachers.items()}
        ramp = ramp_up(step, options.ramp_up_steps)
        sources = [guide] if options.pseudo_label_source == "state" else [GLOBAL_TEACHER, LOCAL_TEACHER]
        guessed = [self._labels(unlabeled[name].logits, padding) for name in sources]
        pseudo_label_weight = ramp * options.unlabeled_pseudo_label_weight
        terms["unlabeled_pseudo_label"] = pseudo_label_weight * _sum_of_losses(student.logits, guessed, padding)
        if guide == GLOBAL_TEACHER and options.global_weight > 0:
            maps = self._in_common_space(student, unlabeled[guide], guide, options.global_map)
            terms["global_context"] = ramp * options.global_weight * global_context_loss(*maps)
        if guide == LOCAL_TEACHER and options.local_weight > 0:
            loss = local_regional_loss(student.features, unlabeled[guide].features, options.local_regions)
            terms["local_regional"] = ramp * options.local_weight * loss
        if options.discrepancy_weight > 0:
            maps = self._in_common_space(student, unlabeled[other], other, "probabilities")
            terms["discrepancy"] = ramp * options.discrepancy_weight * discrepancy_loss(*maps)
        return terms

    def _teachers_of_state(self, step: int) -> tuple[str, str]:
        """Name the state's teacher, and the one that the student shall not lean on."""
        in_global_state = step // self.options.swap_every % 2 == 0
        return (GLOBAL_TEACHER, LOCAL_TEACHER) if in_global_state else (LOCAL_TEACHER, GLOBAL_TEACHER)

    def _labels(self, logits: Tensor, padding: Tensor) -> Tensor:
        return pseudo_labels(logits, self.options.confidence_threshold, padding)

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
