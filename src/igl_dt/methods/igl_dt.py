"""Stage 2: the student, between two frozen teachers.

    L   = L_l + L_u                                                                              [paper]
    L_l = L_sup(S) + λ_pl · [L_P(S, Y_su) + L_P(S, Y_ru)]                                        [paper]
    L_u = L_P(S, Y_su) + λ_glo · L_Glo(S, T_su) + λ_dis · L_Dis(S, T_ru)    in the global state  [paper; form: family]
    L_u = L_P(S, Y_ru) + λ_loc · L_Loc(S, T_ru) + λ_dis · L_Dis(S, T_su)    in the local state   [paper; form: family]

The states take turns. Teachers see the weak views, the student the strong one with CutMix, for which the teachers'
maps are mixed with the same boxes [family: CPS, UniMatch].
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from igl_dt.data.loading import Batch
from igl_dt.losses.common import full_precision
from igl_dt.losses.cutmix import cutmix
from igl_dt.losses.discrepancy import discrepancy_loss
from igl_dt.losses.global_context import global_context_loss
from igl_dt.losses.local_regional import average_pool, local_regional_loss
from igl_dt.losses.pseudo_label import pseudo_label_loss, pseudo_labels
from igl_dt.losses.schedule import ramp_up
from igl_dt.methods.base import GLOBAL_TEACHER, LOCAL_TEACHER, Method, MethodSetup
from igl_dt.methods.single import boxes_of
from igl_dt.networks.base import NetworkOutput, SegmentationNetwork
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
    """Steps or epochs between swaps of the global and the local state [paper: swapping; how often: ours]."""
    swap_unit: Literal["step", "epoch"] = "step"
    """What ``swap_every`` counts: steps, or epochs of the unlabelled images, in whole steps [ours]."""
    states: Literal["alternate", "both"] = "alternate"
    """Whether the states take turns, or every step has the mean of their losses [paper: they take turns]."""
    pseudo_label_source: Literal["state", "both", "weighted", "reliability"] = "state"
    """Whether L_P on the unlabelled batch follows the state's teacher, both one by one, or a mean of their
    probabilities: ``weighted`` by ``global_label_weight``, or by ``reliability``, where each class has weights in
    proportion to the teachers' IoU on the validation images [paper: the first; the last two: ours]."""
    global_label_weight: Probability = 0.5
    """Weight of the global teacher's probabilities in the weighted mean; the local one has the rest [ours]."""
    teacher_gate: bool = False
    """Whether a teacher's pseudo-labels count only while its mIoU on the validation images is at least the student's at
    the last validation; its other losses stay [ours]."""
    confidence_threshold: Probability = 0.0
    """Pseudo-labels with a lower probability are ignored [family: none in MGD]."""
    global_map: Literal["logits", "centered_logits", "probabilities", "features"] = "logits"
    """What is pooled for L_Glo [family: MGD pools logits]. Centred logits have mean 0 over the classes: a shift of all
    logits, which changes no probability, then changes no loss [ours]."""
    local_regions: PositiveInt | None = 7
    """Features are pooled to this many rows and columns for L_Loc [family]; null keeps every position."""
    ramp_up_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the unlabelled batch's weights rise from 0, as exp(-5(1 - t)²) [ours]."""


class IglDt(Method):
    """Iterative global-local learning of a student from two frozen teachers."""

    name = "igl_dt"
    parameters_type = IglDtParameters
    required_teachers = (GLOBAL_TEACHER, LOCAL_TEACHER)
    options: IglDtParameters
    label_shares: Tensor
    """Of the global and the local teacher in a mean of their probabilities: 2×1×1×1, or 2×N×1×1 by class."""

    def __init__(self, setup: MethodSetup) -> None:
        """Build it; a projection into the teacher's feature space is drawn from torch's global generator."""
        super().__init__(setup)
        self.projections = nn.ModuleDict()
        if self.options.global_map == "features":
            width: int = setup.teachers[GLOBAL_TEACHER].feature_channels
            self.projections[GLOBAL_TEACHER] = nn.Conv2d(setup.networks["student"].feature_channels, width, 1)
        share = self.options.global_label_weight
        shares = torch.tensor([share, 1 - share], dtype=torch.float64).view(2, 1, 1, 1)
        self.register_buffer("label_shares", shares, persistent=False)
        self.swap_steps = self.options.swap_every
        self.teacher_miou: dict[str, float] = {}
        self.student_miou = 0.0

    def before_training(
        self, steps_per_epoch: int, validate: Callable[[SegmentationNetwork], Mapping[str, Any]]
    ) -> None:
        """Count the steps between swaps, and evaluate the teachers where an option needs it."""
        super().before_training(steps_per_epoch, validate)
        options = self.options
        if options.swap_unit == "epoch":
            self.swap_steps = options.swap_every * steps_per_epoch
        if options.teacher_gate or options.pseudo_label_source == "reliability":
            scores = {role: validate(self.setup.teachers[role]) for role in self.required_teachers}
            self.teacher_miou = {role: of_teacher["miou"] for role, of_teacher in scores.items()}
            if options.pseudo_label_source == "reliability":
                ious = [[iou or 0.0 for iou in of_teacher["per_class"].values()] for of_teacher in scores.values()]
                measured = torch.tensor(ious, dtype=torch.float64, device=self.label_shares.device)
                shares = (measured / measured.sum(dim=0)).nan_to_num(nan=0.5)  # equal where neither knows the class
                self.label_shares = shares.view(2, -1, 1, 1)

    def after_validation(self, step: int, scores: Mapping[str, float]) -> None:
        """Note the student's score, for the gate."""
        self.student_miou = scores["student"]

    def get_extra_state(self) -> dict[str, float]:
        """Give what is saved beside the tensors."""
        return {"student_miou": self.student_miou}

    def set_extra_state(self, state: Mapping[str, float]) -> None:
        """Take back what ``get_extra_state`` gave."""
        self.student_miou = state["student_miou"]

    def trained(self) -> dict[str, nn.Module]:
        """Give the student, together with the projection into a teacher's feature space."""
        return {"student": nn.ModuleList([self.networks["student"], self.projections])}

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give the weighted terms of L_l and L_u; see ``Method.forward``."""
        labeled = len(batch.images)
        output = self.networks["student"](torch.cat([batch.images, cutmix(batch.strong[0], boxes_of(batch, 0))]))
        logits, strong = output.logits[:labeled], NetworkOutput(output.logits[labeled:], output.features[labeled:])
        terms = {"supervised": self.supervised(logits, batch.masks.long())}
        return terms | self.teacher_terms(batch, step, logits, strong)

    def teacher_terms(self, batch: Batch, step: int, logits: Tensor, strong: NetworkOutput) -> dict[str, Tensor]:
        """Give all weighted terms but L_sup.

        Args:
            batch: of the step.
            step: counted from 0.
            logits: the student's, of the labelled images: B×N×H×W.
            strong: the student's output for the first strong view of the unlabelled images, mixed with its boxes.
        """
        assert batch.weak is not None
        assert batch.padding is not None
        options, boxes, images, labeled, terms = self.options, boxes_of(batch, 0), batch.weak, 0, {}
        if options.labeled_pseudo_label_weight > 0:
            known = batch.images if batch.images_weak is None else batch.images_weak  # teachers see weak views alone
            images, labeled = torch.cat([known, images]), len(known)
        predictions = {role: partial(self.predict_teacher, role, images) for role in self.required_teachers}
        teachers = {role: _Teacher(predict, labeled, boxes) for role, predict in predictions.items()}
        if options.labeled_pseudo_label_weight > 0:
            ignored = batch.masks == IGNORE_INDEX
            guesses = [self._labels(teachers[role].known_logits, ignored) for role in self.labelers()]
            if guesses:
                loss = _sum_of_losses(logits, guesses, ignored)
                terms["labeled_pseudo_label"] = options.labeled_pseudo_label_weight * loss
        padding, ramp = cutmix(batch.padding, boxes), ramp_up(step, options.ramp_up_steps)
        if options.states == "alternate":
            return terms | self._terms_of_state(*self._teachers_of_state(step), strong, teachers, padding, ramp)
        for guide, other in ((GLOBAL_TEACHER, LOCAL_TEACHER), (LOCAL_TEACHER, GLOBAL_TEACHER)):
            for name, term in self._terms_of_state(guide, other, strong, teachers, padding, ramp / 2).items():
                terms[name] = terms[name] + term if name in terms else term
        return terms

    def _terms_of_state(
        self,
        guide: str,
        other: str,
        student: NetworkOutput,
        teachers: Mapping[str, "_Teacher"],
        padding: Tensor,
        weight: float,
    ) -> dict[str, Tensor]:
        """Give the terms of L_u in the state of one teacher, times a weight."""
        options, terms = self.options, {}
        if options.unlabeled_pseudo_label_weight > 0:
            guesses = [self._labels(logits, padding) for logits in self._label_logits(guide, teachers)]
            if guesses:
                loss = _sum_of_losses(student.logits, guesses, padding)
                terms["unlabeled_pseudo_label"] = weight * options.unlabeled_pseudo_label_weight * loss
        if guide == GLOBAL_TEACHER and options.global_weight > 0:
            maps = self._in_common_space(student, teachers[guide], guide, options.global_map)
            terms["global_context"] = weight * options.global_weight * global_context_loss(*maps)
        if guide == LOCAL_TEACHER and options.local_weight > 0:
            loss = local_regional_loss(student.features, teachers[guide].features, options.local_regions)
            terms["local_regional"] = weight * options.local_weight * loss
        if options.discrepancy_weight > 0:
            maps = self._in_common_space(student, teachers[other], other, "probabilities")
            terms["discrepancy"] = weight * options.discrepancy_weight * discrepancy_loss(*maps)
        return terms

    def _label_logits(self, guide: str, teachers: Mapping[str, "_Teacher"]) -> list[Tensor]:
        """Give the logits whose argmax labels the unlabelled images: none, once or twice."""
        labelers = self.labelers()
        if self.options.pseudo_label_source == "state":
            labelers = [role for role in labelers if role == guide]
        logits = [teachers[role].logits for role in labelers]
        if self.options.pseudo_label_source in ("state", "both") or len(logits) < 2:
            return logits
        of_global, of_local = (full_precision(x).softmax(dim=1) for x in logits)
        share, rest = self.label_shares.to(of_global.dtype)
        return [(share * of_global + rest * of_local).log()]

    def labelers(self) -> list[str]:
        """Name the teachers whose pseudo-labels count."""
        roles = [GLOBAL_TEACHER, LOCAL_TEACHER]
        if not self.options.teacher_gate:
            return roles
        return [role for role in roles if self.teacher_miou.get(role, 0.0) >= self.student_miou]

    def _teachers_of_state(self, step: int) -> tuple[str, str]:
        """Name the state's teacher, and the one that the student shall not lean on."""
        in_global_state = step // self.swap_steps % 2 == 0
        return (GLOBAL_TEACHER, LOCAL_TEACHER) if in_global_state else (LOCAL_TEACHER, GLOBAL_TEACHER)

    def _labels(self, logits: Tensor, padding: Tensor) -> Tensor:
        return pseudo_labels(logits, self.options.confidence_threshold, padding)

    def _in_common_space(
        self, student: NetworkOutput, teacher: "_Teacher", name: str, space: str
    ) -> tuple[Tensor, Tensor]:
        """Give both as logits, class probabilities, or features of the teacher's kind and the student's size."""
        if space == "logits":
            return student.logits, teacher.logits
        if space == "centered_logits":
            return _centered(student.logits), _centered(teacher.logits)
        if space == "probabilities":
            return student.logits.float().softmax(dim=1), teacher.logits.float().softmax(dim=1)
        projected = self.projections[name](student.features)
        return projected, average_pool(teacher.features, *projected.shape[-2:])


class _Teacher:
    """What a teacher says of a step's images, once it is asked: of the unlabelled ones mixed as these are.

    Computed only when a loss asks: in the other teacher's state perhaps none does. Features are large and few losses
    need them; mixing all of them took a twentieth of a step.
    """

    def __init__(self, predict: Callable[[], NetworkOutput], labeled: int, boxes: Tensor | None) -> None:
        self._predict = predict
        self._labeled = labeled
        self._boxes = boxes

    @cached_property
    def _output(self) -> NetworkOutput:
        return self._predict()

    @property
    def known_logits(self) -> Tensor:
        return self._output.logits[: self._labeled]

    @cached_property
    def logits(self) -> Tensor:
        return self._mix(self._output.logits)

    @cached_property
    def features(self) -> Tensor:
        return self._mix(self._output.features)

    def _mix(self, x: Tensor) -> Tensor:
        return cutmix(x[self._labeled :], self._boxes)


def _centered(logits: Tensor) -> Tensor:
    logits = full_precision(logits)
    return logits - logits.mean(dim=1, keepdim=True)


def _sum_of_losses(logits: Tensor, labels: Sequence[Tensor], ignore: Tensor) -> Tensor:
    return torch.stack([pseudo_label_loss(logits, label, ignore) for label in labels]).sum()
