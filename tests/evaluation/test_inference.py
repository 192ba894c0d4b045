"""Whole-image and sliding-window inference with a network whose answer is known."""

import pytest
import torch
from torch import Tensor, nn

from igl_dt.evaluation.inference import predict_probabilities, window_starts
from igl_dt.runtime.parameters import EvaluationParameters
from pixels import Output, PixelNetwork, images_of, sliding


class MeanNetwork(PixelNetwork):
    """Two classes; logits are the mean brightness of what the network sees: every window has its own answer."""

    def forward(self, images: Tensor) -> Output:
        super().forward(images)
        mean = images.float().mean(dim=(1, 2, 3), keepdim=True) / 64
        zeros = torch.zeros(len(images), 1, *images.shape[-2:])
        return Output(torch.cat([mean + zeros, zeros], dim=1), zeros)


@pytest.mark.parametrize(
    ("length", "window", "overlap", "starts"),
    [
        (1024, 801, 1 / 3, [0, 223]),
        (2048, 801, 1 / 3, [0, 534, 1068, 1247]),
        (12, 6, 0.0, [0, 6]),
        (13, 6, 0.5, [0, 3, 6, 7]),
        (6, 6, 1 / 3, [0]),
        (12, 10, 0.9, [0, 1, 2]),
        (4, 2, 0.99, [0, 1, 2]),
    ],
)
def test_windows_cover_the_image_and_end_flush(length: int, window: int, overlap: float, starts: list[int]) -> None:
    assert window_starts(length, window, overlap) == starts


def test_whole_sample_gives_softmax_of_the_logits() -> None:
    network, images = PixelNetwork(), images_of((5, 7))[0][0][None]
    probabilities = predict_probabilities(network, images, EvaluationParameters())
    assert probabilities.shape == (1, 3, 5, 7)
    assert probabilities.dtype == torch.float32
    expected = network.classifier(images.float() / 255).softmax(dim=1)
    torch.testing.assert_close(probabilities, expected.detach())


@pytest.mark.parametrize("window", [(4, 4), (3, 20), (20, 3), (20, 20), (10, 13)])
def test_windows_change_nothing_for_a_network_that_sees_one_pixel(window: tuple[int, int]) -> None:
    network = PixelNetwork()
    images = torch.stack([image for image, _ in images_of((10, 13), (10, 13))])
    whole = predict_probabilities(network, images, EvaluationParameters())
    network.shapes.clear()
    torch.testing.assert_close(predict_probabilities(network, images, sliding(window, batch_size=3)), whole)
    assert all(shape[0] <= 3 and shape[2:] == (min(window[0], 10), min(window[1], 13)) for shape in network.shapes)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 50])
def test_windows_are_averaged_as_a_slow_loop_averages_them(batch_size: int) -> None:
    network, image = MeanNetwork(), images_of((9, 7))[0][0]
    expected, count = torch.zeros(2, 9, 7), torch.zeros(9, 7)
    for top in (0, 2, 4, 5):  # window 4, stride ⌊2/3 · 4⌋ = 2
        for left in (0, 2, 3):
            window = image[:, top : top + 4, left : left + 4]
            share = torch.sigmoid(window.float().mean() / 64)
            expected[0, top : top + 4, left : left + 4] += share
            expected[1, top : top + 4, left : left + 4] += 1 - share
            count[top : top + 4, left : left + 4] += 1
    probabilities = predict_probabilities(network, image[None], sliding((4, 4), batch_size))
    torch.testing.assert_close(probabilities[0], expected / count)


def test_modes_are_restored_part_by_part_even_after_an_error() -> None:
    network = PixelNetwork()
    predict_probabilities(network, images_of((4, 4))[0][0][None], EvaluationParameters())
    assert (network.training, network.classifier.training, network.frozen.training) == (True, True, False)
    with pytest.raises(RuntimeError):
        predict_probabilities(network, torch.zeros(1, 1, 4, 4, dtype=torch.uint8), EvaluationParameters())
    assert (network.training, network.classifier.training, network.frozen.training) == (True, True, False)


class ColumnNetwork(PixelNetwork):
    """Logits that depend on the place: mirrored images have another answer."""

    def forward(self, images: Tensor) -> Output:
        logits = super().forward(images).logits
        return Output(logits * torch.linspace(0, 3, images.shape[-1]), logits)


@pytest.mark.parametrize("base", [EvaluationParameters(), sliding((4, 5))])
def test_mirrored_samples_count_as_much(base: EvaluationParameters) -> None:
    network, images = ColumnNetwork(), images_of((6, 9))[0][0][None]
    plain = predict_probabilities(network, images, base)
    mirrored = predict_probabilities(network, images.flip(-1), base).flip(-1)
    assert not torch.allclose(plain, mirrored)
    both = predict_probabilities(network, images, base.model_copy(update={"flip": True}))
    torch.testing.assert_close(both, (plain + mirrored) / 2)


def test_scales_are_averaged_at_the_sample_s_size() -> None:
    network, images = ColumnNetwork(), images_of((6, 9))[0][0][None]
    network.shapes.clear()
    parameters = EvaluationParameters(scales=(0.5, 1, 1.75), flip=True)
    probabilities = predict_probabilities(network, images, parameters)
    sizes = [(3, 4), (6, 9), (10, 16)]  # rounded, halves to even
    assert [shape[2:] for shape in network.shapes] == [size for size in sizes for _ in range(2)]
    expected = torch.zeros_like(probabilities)
    for size in sizes:
        view = nn.functional.interpolate(images.float(), size=size, mode="bilinear")
        for flip in (False, True):
            with torch.inference_mode():
                logits = network.eval()(view.flip(-1) if flip else view).logits
            one = logits.softmax(dim=1)
            expected += nn.functional.interpolate(one.flip(-1) if flip else one, size=(6, 9), mode="bilinear")
    torch.testing.assert_close(probabilities, expected / 6)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(1, 6, 9))


def test_the_defaults_are_one_view_to_the_bit() -> None:
    network, images = MeanNetwork(), images_of((9, 7))[0][0][None]
    with torch.inference_mode():
        expected = network.eval()(images).logits.softmax(dim=1)
    assert torch.equal(predict_probabilities(network, images, EvaluationParameters()), expected)
