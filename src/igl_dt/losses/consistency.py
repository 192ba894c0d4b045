"""Consistency of two predictions for the same images."""

from torch import Tensor

from igl_dt.losses.common import full_precision


def consistency_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of probabilities, over pixels, classes and images [paper: Mean Teacher].

    Args:
        student: B×N×H×W logits, of any floating type.
        teacher: B×N×H×W *probabilities*, of any floating type; gets no gradient.

    Returns:
        Scalar.

    Raises:
        ValueError: The shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"student logits of shape {tuple(student.shape)} and teacher probabilities of shape "
            f"{tuple(teacher.shape)} must agree"
        )
    return (full_precision(student).softmax(dim=1) - full_precision(teacher.detach())).square().mean()
