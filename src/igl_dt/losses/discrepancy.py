"""L_Dis: distance from the teacher that does not guide."""

from torch import Tensor

from igl_dt.losses.common import full_precision, unit_vectors


def discrepancy_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_Dis = mean over positions of 1 + cos(sg(T), S) [paper: purpose; form: family, CCVC, CVPR 2023].

    The vectors are those of the channels at each position. From 0 (opposite) to 2 (same direction); vectors without
    negative entries, such as probabilities, give no less than 1.

    Args:
        student: B×C×H×W, of any floating type.
        teacher: B×C×H×W; gets no gradient.

    Returns:
        Scalar.

    Raises:
        ValueError: The shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"student of shape {tuple(student.shape)} and teacher of shape {tuple(teacher.shape)} must agree: "
            "bring both into a common space and size first"
        )
    cosine = (unit_vectors(full_precision(student)) * unit_vectors(full_precision(teacher.detach()))).sum(dim=1)
    return 1 + cosine.mean()
