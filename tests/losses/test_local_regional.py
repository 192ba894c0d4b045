import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from igl_dt.losses import local_regional
from igl_dt.losses.common import unit_vectors
from igl_dt.losses.local_regional import (
    average_pool,
    by_channel_matrices,
    by_similarity_matrices,
    local_regional_loss,
)


def random_features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_loss(student: Tensor, teacher: Tensor, size: tuple[int, int]) -> float:
    """Pool, compare every pair of regions of each image by their cosine, and average the squared differences."""
    student, teacher = F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)
    regions = [(row, column) for row in range(size[0]) for column in range(size[1])]

    def cosine(features: Tensor, one: tuple[int, int], other: tuple[int, int]) -> float:
        a, b = features[:, *one].tolist(), features[:, *other].tolist()
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        for one in regions:
            for other in regions:
                total += (cosine(s, one, other) - cosine(t, one, other)) ** 2
    return total / len(student) / len(regions) ** 2


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (14, 21), (5, 16), (32, 3), (9, 10)])
@pytest.mark.parametrize("bins", [(1, 1), (7, 7), (3, 5), (12, 4)])
def test_pooling_and_its_gradient_are_those_of_adaptive_average_pooling(size, bins):
    x = random_features(2, 3, *size).requires_grad_()
    own, built_in = average_pool(x, *bins), F.adaptive_avg_pool2d(x, bins)
    torch.testing.assert_close(own, built_in)
    weights = random_features(*own.shape, seed=1)
    torch.testing.assert_close(*(torch.autograd.grad((y * weights).sum(), x)[0] for y in (own, built_in)))


@pytest.mark.parametrize("student_shape", [(1, 4, 9, 9), (2, 6, 8, 11)])
@pytest.mark.parametrize("teacher_shape", [(4, 9, 9), (3, 5, 14)])
@pytest.mark.parametrize("regions", [1, 3, 7])
def test_it_is_the_mean_squared_difference_of_region_similarities(student_shape, teacher_shape, regions):
    student = random_features(*student_shape)
    teacher = random_features(student_shape[0], *teacher_shape, seed=1)
    expected = slow_loss(student, teacher, (regions, regions))
    torch.testing.assert_close(local_regional_loss(student, teacher, regions).item(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("student_size", [(3, 4), (9, 10)])
@pytest.mark.parametrize("teacher_size", [(3, 4), (9, 10), (5, 21)])
def test_without_regions_every_position_of_the_student_counts(student_size, teacher_size):
    student, teacher = random_features(2, 3, *student_size), random_features(2, 2, *teacher_size, seed=1)
    expected = slow_loss(student, teacher, student_size)
    torch.testing.assert_close(local_regional_loss(student, teacher, None).item(), expected, rtol=1e-4, atol=1e-5)


def test_the_scale_of_the_features_does_not_matter():
    student, teacher = random_features(2, 8, 7, 7), random_features(2, 5, 7, 7, seed=1)
    torch.testing.assert_close(
        local_regional_loss(student, teacher, 7), local_regional_loss(9 * student, 30 * teacher, 7), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize(
    ("channels", "other_channels", "positions"), [(4, 6, 3), (3, 3, 50), (16, 8, 300), (64, 64, 49)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_forms_agree_in_value_and_gradient(channels, other_channels, positions, dtype):
    student = unit_vectors(random_features(2, channels, positions)).to(dtype).requires_grad_()
    teacher = unit_vectors(random_features(2, other_channels, positions, seed=1)).to(dtype)
    direct, channelwise = by_similarity_matrices(student, teacher), by_channel_matrices(student, teacher)
    assert direct.dtype == channelwise.dtype == dtype
    torch.testing.assert_close(direct, channelwise)
    torch.testing.assert_close(*(torch.autograd.grad(loss, student)[0] for loss in (direct, channelwise)))


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-6])
def test_both_forms_agree_for_nearly_equal_features(distance):
    student = unit_vectors(random_features(2, 16, 100))
    teacher = unit_vectors(student + distance * random_features(2, 16, 100, seed=1))
    direct = by_similarity_matrices(student, teacher)
    torch.testing.assert_close(by_channel_matrices(student, teacher), direct, rtol=1e-2, atol=0)
    in_float32 = by_channel_matrices(student.float(), teacher.float())
    torch.testing.assert_close(in_float32.double(), direct, rtol=1e-2, atol=1e-13)


def test_equal_features_give_zero_never_less():
    features = random_features(4, 16, 20, 20).float().requires_grad_()
    for regions in (7, None):
        loss = local_regional_loss(features, features.detach(), regions)
        assert 0 <= loss.item() < 1e-13
        assert torch.autograd.grad(loss, features)[0].abs().max() < 1e-6


def test_rounding_never_makes_the_channelwise_form_negative():
    student = unit_vectors(random_features(50, 8, 100))
    teacher = student.flip(1)  # other channels, same similarities
    values = [by_channel_matrices(s, t).item() for s, t in zip(student.split(1), teacher.split(1), strict=True)]
    assert min(values) >= 0
    assert max(values) < 1e-14


@pytest.mark.parametrize(("regions", "form"), [(7, "by_similarity_matrices"), (None, "by_channel_matrices")])
def test_the_cheaper_form_is_taken(monkeypatch, regions, form):
    calls = []
    for name in ("by_similarity_matrices", "by_channel_matrices"):
        monkeypatch.setattr(local_regional, name, lambda s, t, name=name: calls.append(name) or s.sum())
    local_regional_loss(torch.zeros(1, 8, 32, 32), torch.zeros(1, 16, 32, 32), regions)
    assert calls == [form]


@pytest.mark.parametrize(("regions", "size"), [(2, (3, 5)), (None, (2, 3)), (None, (9, 9))])
def test_gradcheck(regions, size):
    teacher = random_features(2, 2, 4, 4, seed=1)
    student = random_features(2, 3, *size).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: local_regional_loss(s, teacher, regions), student)


def test_regions_without_any_activation_have_a_bounded_gradient():
    student = torch.randn(1, 8, 14, 14)
    student[..., :6, :6] = 0
    student.requires_grad_()
    local_regional_loss(student, torch.randn(1, 8, 14, 14), 7).backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() < 100


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (2, 3, 16)])
def test_shapes_that_do_not_fit_are_named(shape):
    with pytest.raises(ValueError, match="shape") as error:
        local_regional_loss(torch.zeros(2, 3, 4, 4), torch.zeros(shape), 7)
    assert str(shape) in str(error.value)
    assert "(2, 3, 4, 4)" in str(error.value)
