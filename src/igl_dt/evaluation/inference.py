"""Class probabilities of whole images, in one pass or in sliding windows."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from igl_dt.runtime.parameters import EvaluationParameters
from igl_dt.utils.parameters import Size


def predict_probabilities(network: nn.Module, images: Tensor, parameters: EvaluationParameters) -> Tensor:
    """Class probabilities of every pixel.

    In mode ``whole`` the network sees the whole image. In mode ``sliding_window`` it sees overlapping windows, as is
    usual for Cityscapes [family]: windows start every ⌊window · (1 - overlap)⌋ pixels, the last one is flush with the
    border, and a pixel's probabilities are the mean over the windows that cover it. A window larger than the image is
    clipped to it, separately in each direction.

    With scales other than 1, or with ``flip``, this is repeated for each scaled and each mirrored image; probabilities
    are resized bilinearly to the image's size and averaged: multi-scale inference [family].

    The network runs in evaluation mode and without gradients. Autocast is up to the caller.

    Args:
        network: Returns an object with ``logits`` (B×N×H×W float) for uint8 images (B×3×H×W).
        images: B×3×H×W uint8 RGB; on any device.
        parameters: Mode, window, windows per forward pass, scales and mirroring.

    Returns:
        B×N×H×W float32 on the network's device; sums to 1 over the classes.
    """
    images = images.to(_device(network))
    with torch.inference_mode(), _evaluation_mode(network):
        if parameters.scales == (1.0,) and not parameters.flip:
            return _predict(network, images, parameters)
        count = len(parameters.scales) * (2 if parameters.flip else 1)
        return reduce(torch.add, _views(network, images, parameters)) / count


def predict_classes(network: nn.Module, images: Tensor, parameters: EvaluationParameters) -> Tensor:
    """The most probable class of every pixel; the lowest id wins a tie.

    Args:
        network: See :func:`predict_probabilities`.
        images: B×3×H×W uint8 RGB; on any device.
        parameters: See :func:`predict_probabilities`.

    Returns:
        B×H×W int64 on the network's device.
    """
    # Same result as argmax, and many times faster on the CPU.
    return predict_probabilities(network, images, parameters).max(dim=1).indices


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Start positions of the windows along one direction of an image; the last window ends at the border.

    Args:
        length: Pixels of the image.
        window: Pixels of the window; at most ``length``.
        overlap: Share of a window that its neighbour covers too, 0 <= overlap < 1.
    """
    # 10 · (1 - 0.9) is 0.999… in floating point, but should count as 1.
    stride = max(math.floor(window * (1 - overlap) + 1e-9), 1)
    return [*range(0, length - window, stride), length - window]


def _predict(network: nn.Module, images: Tensor, parameters: EvaluationParameters) -> Tensor:
    if parameters.mode == "whole" or parameters.window_size is None:
        probabilities: Tensor = network(images).logits.float().softmax(dim=1)
        return probabilities
    return _slide(network, images, parameters.window_size, parameters.window_overlap, parameters.batch_size)


def _views(network: nn.Module, images: Tensor, parameters: EvaluationParameters) -> Iterator[Tensor]:
    """Yield the probabilities of each scaled and mirrored view, mapped back to the images' orientation and size."""
    height, width = images.shape[2:]
    for scale in parameters.scales:
        size = max(1, round(scale * height)), max(1, round(scale * width))
        view = images if size == (height, width) else _resize(images.float(), size)
        for flip in (False, True) if parameters.flip else (False,):
            probabilities = _predict(network, view.flip(-1) if flip else view, parameters)
            probabilities = probabilities.flip(-1) if flip else probabilities
            yield probabilities if size == (height, width) else _resize(probabilities, (height, width))


def _resize(maps: Tensor, size: Size) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _slide(network: nn.Module, images: Tensor, window_size: tuple[int, int], overlap: float, batch_size: int) -> Tensor:
    batch, _, height, width = images.shape
    window_height, window_width = min(window_size[0], height), min(window_size[1], width)
    places = [
        (image, slice(top, top + window_height), slice(left, left + window_width))
        for image in range(batch)
        for top in window_starts(height, window_height, overlap)
        for left in window_starts(width, window_width, overlap)
    ]
    total: Tensor | None = None
    count = torch.zeros(batch, 1, height, width, device=images.device)
    for first in range(0, len(places), batch_size):
        group = places[first : first + batch_size]
        windows = torch.stack([images[image, :, rows, columns] for image, rows, columns in group])
        probabilities = network(windows).logits.float().softmax(dim=1)
        if total is None:
            total = probabilities.new_zeros(batch, probabilities.shape[1], height, width)
        for (image, rows, columns), window in zip(group, probabilities, strict=True):
            total[image, :, rows, columns] += window
            count[image, :, rows, columns] += 1
    assert total is not None, "a batch holds at least one image"
    return total / count


@contextmanager
def _evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode, and restore each submodule's own mode on exit (some may be frozen in ``eval()``)."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
