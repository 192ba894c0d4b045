import pytest
import torch

from igl_dt.losses.consistency import consistency_loss


def test_it_is_the_mean_squared_difference_of_probabilities():
    student, teacher = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64).unbind()
    target = teacher.softmax(dim=1)
    expected = 0.0
    for b in range(2):
        for i in range(4):
            for j in range(5):
                exponents = student[b, :, i, j].exp()
                for k in range(3):
                    expected += (exponents[k] / exponents.sum() - target[b, k, i, j]).item() ** 2
    torch.testing.assert_close(consistency_loss(student, target).item(), expected / (2 * 3 * 4 * 5))


def test_equal_predictions_give_zero_and_the_teacher_gets_no_gradient():
    student = torch.randn(1, 3, 2, 2, requires_grad=True)
    teacher = torch.randn(1, 3, 2, 2, requires_grad=True)
    assert consistency_loss(student, student.softmax(dim=1)).item() == 0
    consistency_loss(student, teacher.softmax(dim=1)).backward()
    assert student.grad.any()
    assert teacher.grad is None


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"\(1, 3, 2, 2\).*\(1, 3, 2, 1\)"):
        consistency_loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 1))
