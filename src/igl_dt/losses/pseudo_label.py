"""Pseudo-labels: a network's own predictions as ground truth for another."""

import torch
from torch import Tensor

from igl_dt.losses.common import full_precision
from igl_dt.losses.supervised import cross_entropy
from igl_dt.utils.parameters import IGNORE_INDEX


@torch.no_grad()
def pseudo_labels(logits: Tensor, confidence_threshold: float = 0.0, ignore: Tensor | None = None) -> Tensor:
    """The most probable class of each pixel, Y = argmax Z [paper: pseudo-labels; threshold: family].

    Args:
        logits: B×N×H×W, of any floating type.
        confidence_threshold: Pixels whose most probable class is less probable than this are ignored; 0: none.
        ignore: B×H×W bool, pixels that are ignored in any case, such as the padding of a crop.

    Returns:
        B×H×W int64 without gradient, 255 where ignored.

    Raises:
        ValueError: The batch, height or width of ``ignore`` is not that of the logits.
    """
    if ignore is not None and ignore.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"ignore of shape {tuple(ignore.shape)} does not fit logits of shape {tuple(logits.shape)}: "
            "B×N×H×W logits need a B×H×W mask"
        )
    labels = logits.max(dim=1).indices  # argmax by another name, and on the CPU several times faster
    if confidence_threshold > 0:
        confidence = full_precision(logits).softmax(dim=1).amax(dim=1)
        labels = labels.masked_fill(confidence < confidence_threshold, IGNORE_INDEX)
    if ignore is not None:
        labels = labels.masked_fill(ignore, IGNORE_INDEX)
    return labels


def pseudo_label_loss(logits: Tensor, labels: Tensor, ignore: Tensor | None = None) -> Tensor:
    """L_P(S, Y) = CE(Z_S, Y), the loss against pseudo-labels [paper: name and purpose; cross entropy: family, CPS].

    Where labels below a threshold are left out, few that are left weigh little: their losses are divided by the number
    of all pixels that are not ignored [family: FixMatch, UniMatch].

    Args:
        logits: B×N×H×W, of any floating type.
        labels: B×H×W int64, from `pseudo_labels`.
        ignore: B×H×W bool, what `pseudo_labels` was told to ignore in any case. None: all that has no label.

    Returns:
        Scalar, mean over the pixels that are not ignored; 0 with a gradient of zeros where all are.

    Raises:
        ValueError: The labels' batch, height or width is not that of the logits, or ``ignore`` has another shape.
    """
    return cross_entropy(logits, labels, ignore)
