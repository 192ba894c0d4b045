"""What holds for every loss: precision, and that a teacher gets no gradient."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from igl_dt.losses.consistency import consistency_loss
from igl_dt.losses.discrepancy import discrepancy_loss
from igl_dt.losses.global_context import global_context_loss
from igl_dt.losses.local_regional import local_regional_loss
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.losses.pseudo_label import pseudo_label_loss, pseudo_labels
from igl_dt.losses.supervised import supervised_loss


def _target(x: Tensor) -> Tensor:
    target = torch.arange(x[:, 0].numel(), device=x.device).view_as(x[:, 0]) % (x.shape[1] + 1)
    return target.masked_fill(target == x.shape[1], 255)


OHEM = SupervisedLossParameters(name="ohem", ohem_min_fraction=50 / 576)

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda s, t: supervised_loss(s, _target(s), SupervisedLossParameters()),
    "ohem": lambda s, t: supervised_loss(s, _target(s), OHEM),
    "pseudo_label": lambda s, t: pseudo_label_loss(s, pseudo_labels(t, 0.4)),
    "global_context": global_context_loss,
    "local_regional": lambda s, t: local_regional_loss(s, t, 7),
    "local_regional_everywhere": lambda s, t: local_regional_loss(s, t, None),
    "discrepancy": discrepancy_loss,
    "consistency": consistency_loss,
}
with_every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


def student_and_teacher(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two random maps whose values every type can hold."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, 16, 18, generator=generator).bfloat16().to(dtype).unbind()
    return student.clone().requires_grad_(), teacher.clone().requires_grad_()


@with_every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_every_type_is_computed_in_float32(loss, dtype):
    student, teacher = student_and_teacher(dtype)
    value = loss(student, teacher)
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(*student_and_teacher(torch.float32)))
    value.backward()
    assert student.grad.dtype == dtype
    assert student.grad.isfinite().all()
    assert student.grad.any()


@with_every_loss
def test_float64_is_kept_and_float32_is_close_to_it(loss):
    exact = loss(*student_and_teacher(torch.float64))
    assert exact.dtype == torch.float64
    torch.testing.assert_close(loss(*student_and_teacher(torch.float32)).double(), exact, rtol=1e-5, atol=1e-6)


@with_every_loss
def test_autocast_changes_no_bit(loss):
    plain = loss(*student_and_teacher(torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(*student_and_teacher(torch.float32)), plain)


@with_every_loss
def test_the_teacher_gets_no_gradient(loss):
    student, teacher = student_and_teacher(torch.float32)
    loss(student, teacher).backward()
    assert student.grad.any()
    assert teacher.grad is None


@with_every_loss
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_cuda_it_is_deterministic_and_agrees_with_the_cpu(loss, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    expected = loss(*student_and_teacher(torch.float32))
    student, teacher = (x.detach().cuda().requires_grad_() for x in student_and_teacher(torch.float32))
    torch.use_deterministic_algorithms(True)
    try:
        values = [loss(student, teacher) for _ in range(2)]
        gradients = [torch.autograd.grad(value, student)[0] for value in values]
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(*values)
    assert torch.equal(*gradients)
    torch.testing.assert_close(values[0].cpu(), expected, rtol=1e-5, atol=1e-6)
