"""IGL-DT+: IGL-DT's teachers on top of UniMatch V1, with choices that are ours and not the paper's.

    L = ½ (L_sup + r(t) · L_uni + (1 − r(t) · (1 − w)) · L_T)

L_uni are UniMatch's losses of two strong views and perturbed features (see ``igl_dt.methods.unimatch``), labelled by
the student itself or by an average of its weights. L_T are IGL-DT's terms (see ``igl_dt.methods.igl_dt``), on the first
strong view. r rises from 0 to 1, so that the student's labels may replace the teachers', whose weight goes to w. With
all weights of L_T at 0, and UniMatch's threshold, it is UniMatch. Never report it as IGL-DT. All defaults are ours, and
not tuned yet.
"""

from typing import Literal

import torch
from torch import Tensor

from igl_dt.data.loading import Batch
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.losses.cutmix import cutmix
from igl_dt.losses.pseudo_label import pseudo_labels
from igl_dt.methods.base import MethodSetup
from igl_dt.methods.ema import frozen_copy, update_average, warm_decay
from igl_dt.methods.fixmatch import label_partners
from igl_dt.methods.igl_dt import IglDt, IglDtParameters
from igl_dt.methods.single import boxes_of, with_strong_views
from igl_dt.methods.unimatch import Predictions, UniMatchParameters, decode_with_dropout, view_losses
from igl_dt.networks.base import NetworkOutput
from igl_dt.utils.parameters import Probability, Weight


class ViewParameters(UniMatchParameters):
    """UniMatch's with another threshold [ours]."""

    confidence_threshold: Probability = 0.8


class IglDtPlusParameters(IglDtParameters):
    """IGL-DT's with other defaults, and what is added [ours]."""

    labeled_pseudo_label_weight: Weight = 0.25
    """λ_pl: below 0.5, so that two teachers that err alike do not outvote the truth."""
    global_weight: Weight = 0.3
    local_weight: Weight = 3.0
    pseudo_label_source: Literal["state", "both", "weighted", "reliability"] = "reliability"
    global_label_weight: Probability = 0.3
    global_map: Literal["logits", "centered_logits", "probabilities", "features"] = "centered_logits"
    views: ViewParameters = ViewParameters()
    """Threshold, weights and dropout of L_uni."""
    labeler: Literal["student", "ema"] = "ema"
    """Who labels for L_uni: the student, as in UniMatch, or an average of its weights in evaluation mode."""
    ema_decay: Probability = 0.996
    """Of the average, reached from below: min(1 − 1 / (step + 1), this)."""
    views_start: Probability = 0.5
    """Share of the steps before L_uni counts at all."""
    views_ramp: Probability = 0.25
    """Share of the steps over which its weight r then rises linearly to 1."""
    teachers_final_weight: Probability = 0.25
    """w: weight of L_T once r is 1."""


class IglDtPlus(IglDt):
    """IGL-DT on top of UniMatch."""

    name = "igl_dt_plus"
    parameters_type = IglDtPlusParameters
    strong_views = 2
    options: IglDtPlusParameters

    def __init__(self, setup: MethodSetup) -> None:
        """Build it; the average, if any, starts as a copy of the student."""
        super().__init__(setup)
        if self.options.labeler == "ema":
            self.averages["student_ema"] = frozen_copy(setup.networks["student"])

    def augmentation(self, given: AugmentationParameters) -> AugmentationParameters:
        """Give strong views."""
        return with_strong_views(given)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give all weighted terms; see ``Method.forward``."""
        assert batch.weak is not None
        assert batch.padding is not None
        views, labeled, rise = self.options.views, len(batch.images), self.rise(step)
        threshold, student = views.confidence_threshold, self.setup.networks["student"]
        if self.options.labeler == "student":
            partners = label_partners(student, batch.weak, threshold, batch.padding)
        images = torch.cat([batch.images, batch.weak])
        logits, perturbed = decode_with_dropout(student, images, views.feature_dropout)
        if self.options.labeler == "student":
            labels = pseudo_labels(logits[labeled:], threshold, batch.padding)
        else:
            with torch.no_grad():
                average = self.averages["student_ema"].eval()
                labels = pseudo_labels(average(batch.weak).logits, threshold, batch.padding)
            partners = labels.roll(1, dims=0)
        strong = student(torch.cat([cutmix(x, boxes_of(batch, view)) for view, x in enumerate(batch.strong)]))
        first = NetworkOutput(*(x[: len(batch.weak)] for x in strong))
        predicted = Predictions(
            logits[:labeled], logits[labeled:], perturbed[labeled:], strong.logits.chunk(self.strong_views)
        )

        terms = {"supervised": self.supervised(predicted.labeled, batch.masks.long())}
        losses = view_losses(batch, predicted, labels, partners, views)
        terms |= {name: rise * term for name, term in losses.items()}
        fade = 1 - rise * (1 - self.options.teachers_final_weight)
        terms |= {name: fade * term for name, term in self.teacher_terms(batch, step, predicted.labeled, first).items()}
        return {name: term / 2 for name, term in terms.items()}

    def rise(self, step: int) -> float:
        """Give r(t), between 0 and 1."""
        since = step / self.setup.steps - self.options.views_start
        if self.options.views_ramp == 0:
            return float(since >= 0)
        return min(1.0, max(0.0, since / self.options.views_ramp))

    def after_step(self, step: int) -> None:
        """Update the average of parameters and buffers."""
        for average in self.averages.values():
            decay = warm_decay(step, self.options.ema_decay)
            update_average(average, self.setup.networks["student"], decay, buffers=True)
