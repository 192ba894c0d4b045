"""The losses of both stages and the mixing they share, as plain functions of tensors.

Each takes tensors of any floating type, computes in float32 (float64 where it is given float64) also under
autocast, and returns a scalar. Where there is a teacher, it gets no gradient. No operation is used that lacks a
deterministic CUDA kernel.
"""

from igl_dt.losses.cutmix import cutmix
from igl_dt.losses.discrepancy import discrepancy_loss
from igl_dt.losses.global_context import global_context_loss
from igl_dt.losses.local_regional import average_pool, local_regional_loss
from igl_dt.losses.pseudo_label import pseudo_label_loss, pseudo_labels
from igl_dt.losses.schedule import ramp_up
from igl_dt.losses.supervised import cross_entropy, supervised_loss

__all__ = [
    "average_pool",
    "cross_entropy",
    "cutmix",
    "discrepancy_loss",
    "global_context_loss",
    "local_regional_loss",
    "pseudo_label_loss",
    "pseudo_labels",
    "ramp_up",
    "supervised_loss",
]
