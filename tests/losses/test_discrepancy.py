import math

import pytest
import torch

from igl_dt.losses.discrepancy import discrepancy_loss


@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (2, 5, 3, 4), (3, 21, 6, 2)])
def test_it_is_one_plus_the_mean_cosine(shape):
    student, teacher = torch.randn(2, *shape, dtype=torch.float64).unbind()
    cosines = []
    vectors = (x.movedim(1, -1).reshape(-1, shape[1]).tolist() for x in (student, teacher))
    for s, t in zip(*vectors, strict=True):
        cosines.append(sum(a * b for a, b in zip(s, t, strict=True)) / math.hypot(*s) / math.hypot(*t))
    expected = 1 + sum(cosines) / len(cosines)
    torch.testing.assert_close(discrepancy_loss(student, teacher).item(), expected, rtol=1e-3, atol=1e-3)


def test_it_falls_from_two_for_the_same_to_zero_for_the_opposite():
    x = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(discrepancy_loss(x, x).item(), 2.0, rtol=1e-3, atol=0)
    torch.testing.assert_close(discrepancy_loss(x, -x).item(), 0.0, rtol=0, atol=1e-3)


def test_probabilities_of_different_classes_give_one():
    one, other = torch.eye(4)[:2].reshape(2, 1, 4, 1, 1)
    assert discrepancy_loss(one, other).item() == 1


def test_gradcheck():
    teacher = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    student = torch.randn(2, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: discrepancy_loss(s, teacher), student)


def test_vectors_of_zeros_have_a_bounded_gradient():
    student = torch.zeros(1, 3, 2, 2, requires_grad=True)
    discrepancy_loss(student, torch.randn(1, 3, 2, 2)).backward()
    assert student.grad.abs().max() <= 1e3


@pytest.mark.parametrize("shape", [(2, 4, 4, 4), (2, 3, 2, 2), (1, 3, 4, 4)])
def test_shapes_that_do_not_fit_are_named(shape):
    with pytest.raises(ValueError, match="shape") as error:
        discrepancy_loss(torch.zeros(2, 3, 4, 4), torch.zeros(shape))
    assert str(shape) in str(error.value)
    assert "(2, 3, 4, 4)" in str(error.value)
