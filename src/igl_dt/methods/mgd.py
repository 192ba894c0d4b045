"""MGD-style distillation (Qin et al., ECCV 2022) from two frozen teachers, all losses in every step.

    L = L_sup + Σ_T CE(x) + Σ_T CE(u) + λ_1 · L_Glo(S, deep) + λ_2 · L_Loc(S, wide)

MGD's deep and wide teachers are here the global and the local one [adapted]. Unlabelled images are mixed by CutMix,
with boxes of UniMatch's aspect ratios [adapted], and without colour jitter; the teachers label the clean images, and
predict the mixed ones for L_Glo and L_Loc. No discrepancy and no swapping: what IGL-DT adds. MGD's teachers keep
adapting their batch-norm statistics; here they are frozen altogether [adapted].
"""

from pydantic import PositiveInt
from torch import Tensor

from igl_dt.data.loading import Batch
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.losses.cutmix import cutmix
from igl_dt.losses.global_context import global_context_loss
from igl_dt.losses.local_regional import local_regional_loss
from igl_dt.losses.pseudo_label import pseudo_label_loss, pseudo_labels
from igl_dt.methods.base import GLOBAL_TEACHER, LOCAL_TEACHER
from igl_dt.methods.single import SingleNetworkMethod, boxes_of, without_strong_views
from igl_dt.utils.parameters import IGNORE_INDEX, Parameters, Probability, Range, Weight


class MgdParameters(Parameters):
    """Weights of MGD."""

    pseudo_label_weight: Weight = 1.0
    """Weight of each teacher's labels, on labelled and unlabelled images [paper: MGD]."""
    labeled_pseudo_label_weight: Weight | None = None
    """Another weight on labelled images [ours]; null: the same."""
    global_weight: Weight = 0.084
    """λ_1 on the mean absolute difference of pooled logits [paper: MGD, rescaled from a sum]."""
    local_weight: Weight = 100.0
    """λ_2 on the mean squared difference of similarity matrices [paper: MGD]."""
    local_regions: PositiveInt = 7
    """Rows and columns that features are pooled to [paper: MGD]."""
    cutmix_probability: Probability = 1.0
    """How often an image gets boxes [paper: MGD]."""
    cutmix_boxes: PositiveInt = 3
    """Boxes per image [paper: MGD]."""
    cutmix_area: Range[tuple[Probability, Probability]] = (0.25, 0.5)
    """Range of the boxes' area together, relative to the crop [paper: MGD]."""


class Mgd(SingleNetworkMethod):
    """MGD's losses with frozen teachers."""

    name = "mgd"
    parameters_type = MgdParameters
    required_teachers = (GLOBAL_TEACHER, LOCAL_TEACHER)
    options: MgdParameters

    def augmentation(self, given: AugmentationParameters) -> AugmentationParameters:
        """Give weak views alone, and boxes as the parameters say."""
        return without_strong_views(given, self.options)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give the weighted losses; see ``Method.forward``."""
        assert batch.weak is not None
        assert batch.padding is not None
        options, target, boxes = self.options, batch.masks.long(), boxes_of(batch, 0)
        mixed, padding = cutmix(batch.weak, boxes), cutmix(batch.padding, boxes)
        known = batch.images if batch.images_weak is None else batch.images_weak  # teachers see weak views alone
        on_labeled, clean = self.predict_teachers(known), self.predict_teachers(batch.weak)
        on_mixed = clean if boxes is None else self.predict_teachers(mixed)
        student, logits = self.network(mixed), self.network(batch.images).logits

        terms = {"supervised": self.supervised(logits, target)}
        labeled_weight = options.labeled_pseudo_label_weight
        if labeled_weight is None:
            labeled_weight = options.pseudo_label_weight
        for role in self.required_teachers:
            guess = pseudo_labels(on_labeled[role].logits, ignore=target == IGNORE_INDEX)
            loss = pseudo_label_loss(logits, guess)
            terms[f"labeled_pseudo_label.{role}"] = labeled_weight * loss
            guess = pseudo_labels(cutmix(clean[role].logits, boxes), ignore=padding)
            loss = pseudo_label_loss(student.logits, guess)
            terms[f"unlabeled_pseudo_label.{role}"] = options.pseudo_label_weight * loss
        loss = global_context_loss(student.logits, on_mixed[GLOBAL_TEACHER].logits)
        terms["global_context"] = options.global_weight * loss
        loss = local_regional_loss(student.features, on_mixed[LOCAL_TEACHER].features, options.local_regions)
        terms["local_regional"] = options.local_weight * loss
        return terms
