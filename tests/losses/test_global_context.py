import pytest
import torch

from igl_dt.losses.global_context import global_context_loss


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 4, 5), (4, 21, 3, 3)])
@pytest.mark.parametrize("teacher_size", [(2, 7), (8, 8)])
def test_it_is_the_mean_difference_of_the_pooled_maps(shape, teacher_size):
    student = torch.randn(shape, dtype=torch.float64)
    teacher = torch.randn(*shape[:2], *teacher_size, dtype=torch.float64)
    expected = 0.0
    for sample in range(shape[0]):
        for category in range(shape[1]):
            k_student = sum(student[sample, category].flatten().tolist()) / student[0, 0].numel()
            k_teacher = sum(teacher[sample, category].flatten().tolist()) / teacher[0, 0].numel()
            expected += abs(k_student - k_teacher) / shape[1] / shape[0]
    torch.testing.assert_close(global_context_loss(student, teacher).item(), expected)


def test_where_things_are_does_not_matter():
    teacher = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(global_context_loss(teacher.flip(-1), teacher).item(), 0.0)


def test_gradcheck():
    teacher = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    student = torch.randn(2, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: global_context_loss(s, teacher), student)


@pytest.mark.parametrize("shape", [(2, 4, 4, 4), (1, 3, 4, 4)])
def test_shapes_that_do_not_fit_are_named(shape):
    with pytest.raises(ValueError, match="shape") as error:
        global_context_loss(torch.zeros(2, 3, 4, 4), torch.zeros(shape))
    assert str(shape) in str(error.value)
    assert "(2, 3, 4, 4)" in str(error.value)
