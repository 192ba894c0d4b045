"""Boundary IoU (Cheng et al., CVPR 2021): how well contours are met, which IoU hardly sees on large objects."""

import math
from collections.abc import Callable, Sequence
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F

from igl_dt.utils.parameters import IGNORE_INDEX


class BoundaryScores(TypedDict):
    """What :func:`score_boundary` returns; fractions between 0 and 1, ready for JSON."""

    boundary_miou: float
    boundary_per_class: dict[str, float | None]


def boundary_counts(prediction: Tensor, target: Tensor, num_classes: int, width: float) -> Tensor:
    """Count the pixels near the contours of each class, in the truth, in the prediction, and in both.

    A class's boundary are its pixels within a distance d of a pixel of another class or of the image's border, where
    d = ``width`` · diagonal, rounded, at least 1; distances are the larger of rows and columns, as in the authors' code
    (3×3 erosion, d times). Ignored pixels count nowhere, and end a region in truth and prediction alike [ours].

    Args:
        prediction: Predicted class ids below 255, B×H×W, any integer type.
        target: True class ids, B×H×W, any integer type; 255 = ignore.
        num_classes: N.
        width: d over the image's diagonal.

    Returns:
        N×3 int64 on the target's device, to be summed over a set: pixels in both boundaries, the truth's, the
        prediction's.
    """
    distance = max(1, round(width * math.hypot(*target.shape[-2:])))
    truth = target.to(torch.int16)
    guess = prediction.to(torch.int16).where(truth != IGNORE_INDEX, IGNORE_INDEX)
    of_truth = _near_contour(truth, distance) & (truth != IGNORE_INDEX)
    of_guess = _near_contour(guess, distance) & (guess != IGNORE_INDEX)
    both = of_truth & of_guess & (truth == guess)
    counted = (truth[both], truth[of_truth], guess[of_guess])
    return torch.stack([torch.bincount(ids.long(), minlength=num_classes) for ids in counted], dim=1)


def score_boundary(counts: Tensor, class_names: Sequence[str]) -> BoundaryScores:
    """Boundary IoU of summed counts.

    Args:
        counts: N×3, as :func:`boundary_counts` returns them.
        class_names: The N names, in the order of the ids.

    Returns:
        ``boundary_miou``: mean over all N classes, where a class that neither occurs nor is predicted counts 0, as in
        ``miou``. ``boundary_per_class``: None where a class neither occurs nor is predicted.
    """
    ious = [
        both / (truth + guess - both) if truth + guess > 0 else None for both, truth, guess in counts.cpu().tolist()
    ]
    return {
        "boundary_miou": sum(iou or 0.0 for iou in ious) / len(ious),
        "boundary_per_class": dict(zip(class_names, ious, strict=True)),
    }


def _near_contour(ids: Tensor, distance: int) -> Tensor:
    """Tell which pixels of B×H×W int16 ids have another id, or the outside, within a distance.

    All classes at once: a window holds another id than its centre's if its largest or smallest id is another.
    """
    largest = _over_windows(F.pad(ids, 4 * (distance,), value=IGNORE_INDEX + 1), distance, torch.maximum)
    smallest = _over_windows(F.pad(ids, 4 * (distance,), value=-1), distance, torch.minimum)
    return (largest != ids) | (smallest != ids)


def _over_windows(ids: Tensor, distance: int, extreme: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Take the extreme over squares of 2 · distance + 1, in as many steps as that has binary digits."""
    window = 2 * distance + 1
    for dim in (-2, -1):
        covered = 1
        while covered < window:
            step = min(covered, window - covered)
            length = ids.shape[dim] - step
            ids = extreme(ids.narrow(dim, 0, length), ids.narrow(dim, step, length))
            covered += step
    return ids
