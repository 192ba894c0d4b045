"""L_Loc: how the regions of an image resemble each other."""

import torch
from torch import Tensor

from igl_dt.losses.common import full_precision, unit_vectors

FEW_POSITIONS = 64
"""8×8 regions: up to here the similarity matrices are small, however few the channels."""


def local_regional_loss(student_features: Tensor, teacher_features: Tensor, regions: int | None) -> Tensor:
    """L_Loc = mean (M_S − M_T)², M = V̂ᵀV̂ [paper: local similarities are aligned; form: family, MGD].

    V̂ holds one column of unit length per region (C×r²), so M is the cosine similarity of each pair of regions.

    Of the two ways to compute it, exact both, the cheaper is taken. One builds the matrices, r²×r². The other
    avoids them, for maps of many positions: ‖SᵀS − TᵀT‖² = ‖SSᵀ‖² − 2‖STᵀ‖² + ‖TTᵀ‖² needs C×C only. It subtracts
    almost equal numbers, therefore in float64, and what rounding leaves below 0 counts as 0 (and has no gradient
    then: student and teacher agree to about eight digits).

    Args:
        student_features: B×C×H×W, of any floating type.
        teacher_features: B×c×h×w; gets no gradient.
        regions: Features are averaged over this many rows and columns of regions; None: over none, and where their
            sizes differ the teacher's are averaged (repeated, where smaller) to the student's size [ours].

    Returns:
        Scalar.

    Raises:
        ValueError: The two differ in samples.
    """
    if student_features.ndim != 4 or teacher_features.ndim != 4 or len(student_features) != len(teacher_features):
        raise ValueError(
            f"student features of shape {tuple(student_features.shape)} and teacher features of shape "
            f"{tuple(teacher_features.shape)} must be B×C×H×W and agree in samples"
        )
    height, width = (regions, regions) if regions else student_features.shape[-2:]
    # Under autocast the matrix products would be in half precision.
    with torch.autocast(student_features.device.type, enabled=False):
        student = unit_vectors(average_pool(full_precision(student_features), height, width).flatten(2))
        teacher = unit_vectors(average_pool(full_precision(teacher_features.detach()), height, width).flatten(2))
        positions = height * width
        # About where the two cost the same; memory is positions² for the one, channels² for the other.
        if positions <= max(FEW_POSITIONS, student.shape[1] + teacher.shape[1]):
            return by_similarity_matrices(student, teacher)
        return by_channel_matrices(student, teacher)


def by_similarity_matrices(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean (SᵀS − TᵀT)² of B×C×P and B×c×P, through P×P matrices."""
    return (student.mT @ student - teacher.mT @ teacher).square().mean()


def by_channel_matrices(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean (SᵀS − TᵀT)² of B×C×P and B×c×P, through C×C, C×c and c×c matrices."""
    s, t = student.double(), teacher.double()
    own, cross, other = ((a @ b.mT).square().sum(dim=(1, 2)) for a, b in ((s, s), (s, t), (t, t)))
    means = (own - 2 * cross + other).clamp(min=0) / student.shape[2] ** 2
    return means.mean().to(student.dtype)


def average_pool(x: Tensor, height: int, width: int) -> Tensor:
    """B×C×H×W to B×C×height×width, the same numbers as ``F.adaptive_avg_pool2d``.

    By matrix products, since the gradient of the latter has no deterministic CUDA kernel.
    """
    if x.shape[-2] != height:
        x = _averaging(x.shape[-2], height, x) @ x
    if x.shape[-1] != width:
        x = x @ _averaging(x.shape[-1], width, x).mT
    return x


def _averaging(length: int, bins: int, like: Tensor) -> Tensor:
    """bins×length matrix that averages; bin i covers floor(i·length/bins) to ceil((i + 1)·length/bins)."""
    index = torch.arange(bins, device=like.device).unsqueeze(1)
    start, end = index * length // bins, ((index + 1) * length + bins - 1) // bins
    position = torch.arange(length, device=like.device)
    inside = (start <= position) & (position < end)
    return inside.to(like.dtype) / (end - start)
