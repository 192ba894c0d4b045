"""Confusion matrix and the scores made from it.

Scores come from one matrix summed over the whole set, not from averages over images: the field's convention.
"""

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from igl_dt.utils.parameters import IGNORE_INDEX


class Scores(TypedDict):
    """What :func:`score` returns; fractions between 0 and 1, ready for JSON."""

    miou: float
    miou_present: float
    pixel_accuracy: float
    mean_class_accuracy: float
    per_class: dict[str, float | None]
    pixels: int


def confusion_matrix(prediction: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Count how often each class is predicted as which.

    Whole numbers are counted, so the sum over batches is exact and does not depend on how a set is split.

    Args:
        prediction: Predicted class ids, B×H×W, any integer type.
        target: True class ids, B×H×W, any integer type; pixels of the ignore index (255) are left out.
        num_classes: N.

    Returns:
        N×N int64 on the target's device: rows are the truth, columns the prediction.

    Raises:
        ValueError: Shapes differ, or an id is outside 0 .. N - 1.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction and target must have one shape, not {tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    counted = target != IGNORE_INDEX
    truth, predicted = target[counted].long(), prediction[counted].long()
    if truth.numel() == 0:
        return torch.zeros(num_classes, num_classes, dtype=torch.int64, device=target.device)
    for name, ids in (("target", truth), ("prediction", predicted)):
        smallest, largest = (int(bound) for bound in torch.aminmax(ids))
        if smallest < 0 or largest >= num_classes:
            wrong = smallest if smallest < 0 else largest
            raise ValueError(
                f"{name} holds class id {wrong}; {num_classes} classes have ids 0 to {num_classes - 1}"
                f" ({IGNORE_INDEX} in the target: ignored). Check the number of classes and how masks are read"
            )
    # Without weights, bincount adds whole numbers only: deterministic on CUDA too.
    return torch.bincount(truth * num_classes + predicted, minlength=num_classes**2).view(num_classes, num_classes)


def score(confusion: Tensor, class_names: Sequence[str]) -> Scores:
    """Scores of a confusion matrix (rows: truth, columns: prediction).

    Args:
        confusion: N×N counts, as :func:`confusion_matrix` returns them, summed over the set.
        class_names: The N names, in the order of the ids.

    Returns:
        ``miou``: mean IoU over all N classes, where a class that neither occurs nor is predicted counts 0, as in the
        field's code. ``miou_present``: mean IoU over the classes that occur in the ground truth.
        ``mean_class_accuracy``: mean recall over the classes that occur. ``per_class``: IoU, None where a class
        neither occurs nor is predicted. ``pixels``: how many were counted. Without any, all means are 0.

    Raises:
        ValueError: The matrix is not N×N.
    """
    num_classes = len(class_names)
    if confusion.shape != (num_classes, num_classes):
        raise ValueError(
            f"a confusion matrix of {num_classes} class names must be {num_classes}×{num_classes},"
            f" not {tuple(confusion.shape)}"
        )
    counts = confusion.cpu()
    correct: list[int] = counts.diagonal().tolist()
    occurring: list[int] = counts.sum(dim=1).tolist()
    predicted: list[int] = counts.sum(dim=0).tolist()

    ious = [
        hits / (true + guessed - hits) if true + guessed > 0 else None
        for hits, true, guessed in zip(correct, occurring, predicted, strict=True)
    ]
    present = [index for index, true in enumerate(occurring) if true > 0]
    return {
        "miou": _mean([iou or 0.0 for iou in ious]),
        "miou_present": _mean([ious[index] or 0.0 for index in present]),
        "pixel_accuracy": sum(correct) / max(sum(occurring), 1),
        "mean_class_accuracy": _mean([correct[index] / occurring[index] for index in present]),
        "per_class": dict(zip(class_names, ious, strict=True)),
        "pixels": sum(occurring),
    }


def score_image(confusion: Tensor) -> float | None:
    """Mean IoU of one image's N×N counts over the classes that occur in its truth or its prediction.

    None where every pixel is ignored.
    """
    counts = confusion.cpu()
    hits = counts.diagonal().tolist()
    unions = (counts.sum(dim=0) + counts.sum(dim=1) - counts.diagonal()).tolist()
    ious = [hit / union for hit, union in zip(hits, unions, strict=True) if union > 0]
    return _mean(ious) if ious else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)
