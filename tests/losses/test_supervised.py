import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.losses.supervised import cross_entropy, median_frequency_weights, supervised_loss
from igl_dt.utils.parameters import IGNORE_INDEX

SHAPES = [(1, 2, 1, 1), (2, 3, 4, 5), (3, 21, 7, 2)]


def random_batch(shape: tuple[int, int, int, int], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    samples, classes, height, width = shape
    logits = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    target = torch.randint(0, classes, (samples, height, width), generator=generator)
    ignored = torch.rand(target.shape, generator=generator) < 0.3
    ignored[0, 0, 0] = False
    return logits.to(dtype), target.masked_fill(ignored, IGNORE_INDEX)


def slow_pixel_losses(logits: Tensor, target: Tensor) -> list[float]:
    """Losses of the pixels that count, one by one."""
    losses = []
    for sample, row, column in torch.cartesian_prod(*map(torch.arange, target.shape)).reshape(-1, 3).tolist():
        true_class = int(target[sample, row, column])
        if true_class != IGNORE_INDEX:
            exponentials = [math.exp(z) for z in logits[sample, :, row, column].tolist()]
            losses.append(-math.log(exponentials[true_class] / sum(exponentials)))
    return losses


def slow_ohem(logits: Tensor, target: Tensor, threshold: float, min_fraction: float) -> float:
    losses = sorted(slow_pixel_losses(logits, target), reverse=True)
    hard = [loss for loss in losses if math.exp(-loss) < threshold]
    min_kept = max(1, round(min_fraction * target.numel()))  # of all pixels, also those that do not count
    kept = hard if len(hard) >= min_kept else losses[:min_kept]
    return sum(kept) / len(kept)


@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_is_the_mean_over_counted_pixels(shape):
    logits, target = random_batch(shape)
    losses = slow_pixel_losses(logits, target)
    torch.testing.assert_close(cross_entropy(logits, target).item(), sum(losses) / len(losses))
    built_in = F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX)
    torch.testing.assert_close(supervised_loss(logits, target, SupervisedLossParameters()), built_in)


def test_gradient_is_that_of_the_built_in_cross_entropy():
    logits, target = random_batch((2, 5, 6, 7))
    logits.requires_grad_()
    (own,) = torch.autograd.grad(cross_entropy(logits, target), logits)
    (built_in,) = torch.autograd.grad(F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX), logits)
    torch.testing.assert_close(own, built_in)


def test_memory_format_does_not_matter():
    logits, target = random_batch((2, 5, 6, 7), torch.float32)
    channels_last = logits.to(memory_format=torch.channels_last)
    torch.testing.assert_close(cross_entropy(logits, target), cross_entropy(channels_last, target))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threshold", [0.05, 0.7, 1.0])
@pytest.mark.parametrize("min_fraction", [1e-9, 1 / 16, 0.3, 1])
def test_ohem_keeps_the_pixels_below_the_threshold_and_at_least_the_hardest(shape, threshold, min_fraction):
    logits, target = random_batch(shape)
    parameters = SupervisedLossParameters(name="ohem", ohem_threshold=threshold, ohem_min_fraction=min_fraction)
    expected = slow_ohem(logits, target, threshold, min_fraction)
    torch.testing.assert_close(supervised_loss(logits, target, parameters).item(), expected)


def test_ohem_keeps_the_same_share_of_a_larger_batch():
    """So that a crop of another size, or a part of a batch, is mined as much."""
    logits, target = random_batch((2, 5, 6, 7))
    parameters = SupervisedLossParameters(name="ohem", ohem_threshold=0.05, ohem_min_fraction=1 / 4)
    twice = supervised_loss(logits.repeat(2, 1, 1, 1), target.repeat(2, 1, 1), parameters)
    torch.testing.assert_close(twice, supervised_loss(logits, target, parameters))


@pytest.mark.parametrize("shape", SHAPES)
def test_class_weights_make_the_mean_a_weighted_one(shape):
    logits, target = random_batch(shape)
    weights = torch.rand(shape[1], generator=torch.Generator().manual_seed(1)) + 0.1
    plain = supervised_loss(logits, target, SupervisedLossParameters(), weights)
    built_in = F.cross_entropy(logits, target, weights.double(), ignore_index=IGNORE_INDEX)
    torch.testing.assert_close(plain, built_in)
    ohem = SupervisedLossParameters(name="ohem", ohem_threshold=0.3, ohem_min_fraction=1e-9)
    hard = target.masked_fill(cross_entropy_map(logits, target) < -math.log(0.3), IGNORE_INDEX)
    if (hard != IGNORE_INDEX).any():
        built_in = F.cross_entropy(logits, hard, weights.double(), ignore_index=IGNORE_INDEX)
        torch.testing.assert_close(supervised_loss(logits, target, ohem, weights), built_in)


def cross_entropy_map(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX, reduction="none")


def test_median_frequency_weights_are_clipped_and_1_for_absent_classes():
    pixels = torch.tensor([[60.0, 0.5, 0, 39.5], [100, 0, 0, 0]])
    frequencies = [160 / 200, 0.5 / 100, 39.5 / 100]
    wanted = [frequencies[2] / frequencies[0], 4.0, 1.0, 1.0]
    torch.testing.assert_close(median_frequency_weights(pixels, 4), torch.tensor(wanted))
    assert median_frequency_weights(pixels, 1).tolist() == [1, 1, 1, 1]
    assert median_frequency_weights(pixels, 1.5).tolist() == pytest.approx([1 / 1.5, 1.5, 1, 1])


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, math.nan])
def test_a_share_of_no_pixel_or_of_more_than_all_is_refused(fraction):
    with pytest.raises(ValidationError, match="ohem_min_fraction"):
        SupervisedLossParameters(ohem_min_fraction=fraction)


def test_ohem_with_everything_kept_is_cross_entropy():
    logits, target = random_batch((2, 5, 6, 7))
    parameters = SupervisedLossParameters(name="ohem", ohem_threshold=1.0)
    torch.testing.assert_close(supervised_loss(logits, target, parameters), cross_entropy(logits, target))


def test_ohem_gives_easy_pixels_no_gradient():
    logits = torch.zeros(1, 2, 1, 3)
    logits[0, 0, 0] = torch.tensor([9.0, 0.0, -9.0])
    target = torch.zeros(1, 1, 3, dtype=torch.int64)
    logits.requires_grad_()
    supervised_loss(logits, target, SupervisedLossParameters(name="ohem", ohem_min_fraction=1e-9)).backward()
    assert (logits.grad != 0).any(dim=1).flatten().tolist() == [False, True, True]


@pytest.mark.parametrize("name", ["cross_entropy", "ohem"])
def test_gradcheck(name):
    logits, target = random_batch((2, 3, 2, 2))
    parameters = SupervisedLossParameters(name=name, ohem_min_fraction=3 / 8)
    assert torch.autograd.gradcheck(lambda z: supervised_loss(z, target, parameters), logits.requires_grad_())


@pytest.mark.parametrize("name", ["cross_entropy", "ohem"])
def test_no_counted_pixel_gives_zero_and_a_gradient_of_zeros(name):
    target = torch.full((2, 4, 4), IGNORE_INDEX)
    for weights in (None, torch.tensor([0.2, 1.0, 5.0])):
        logits = torch.randn(2, 3, 4, 4, requires_grad=True)
        loss = supervised_loss(logits, target, SupervisedLossParameters(name=name), weights)
        loss.backward()
        assert loss.item() == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_ignored_pixels_do_not_matter_whatever_their_logits():
    logits, target = random_batch((2, 3, 4, 5))
    ignored = (target == IGNORE_INDEX).unsqueeze(1)
    other = logits.masked_fill(ignored, 1e30)
    for name in ("cross_entropy", "ohem"):
        parameters = SupervisedLossParameters(name=name, ohem_min_fraction=5 / 40)
        assert torch.equal(supervised_loss(logits, target, parameters), supervised_loss(other, target, parameters))


@pytest.mark.parametrize("target_shape", [(2, 4, 5), (1, 4, 4), (2, 1, 4, 4)])
def test_shapes_that_do_not_fit_are_named(target_shape):
    with pytest.raises(ValueError, match="shape") as error:
        cross_entropy(torch.zeros(2, 3, 4, 4), torch.zeros(target_shape, dtype=torch.int64))
    assert str(target_shape) in str(error.value)
    assert "(2, 3, 4, 4)" in str(error.value)
