"""L_Glo: what the whole image contains."""

from torch import Tensor

from igl_dt.losses.common import full_precision


def global_context_loss(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """L_Glo = ``(1/N) Σ_i |K_S,i − K_T,i|`` with K = GAP(map), mean over the batch [paper].

    Args:
        student_map: B×N×H×W, of any floating type; one channel per class in the paper.
        teacher_map: B×N×h×w; gets no gradient. Its height and width may differ, since they are pooled away.

    Returns:
        Scalar.

    Raises:
        ValueError: The two differ in samples or channels.
    """
    if student_map.shape[:2] != teacher_map.shape[:2]:
        raise ValueError(
            f"student map of shape {tuple(student_map.shape)} and teacher map of shape {tuple(teacher_map.shape)} "
            "must agree in samples and channels"
        )
    student = full_precision(student_map).mean(dim=(2, 3))
    teacher = full_precision(teacher_map.detach()).mean(dim=(2, 3))
    return (student - teacher).abs().mean()
