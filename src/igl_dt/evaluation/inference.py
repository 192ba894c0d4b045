"""Predictions for whole images, at their own size."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from igl_dt.evaluation.boundary import boundary_counts
from igl_dt.evaluation.metrics import confusion_matrix, score_image
from igl_dt.runtime.parameters import EvaluationParameters
from igl_dt.utils.parameters import Size


def predict_probabilities(network: nn.Module, images: Tensor, parameters: EvaluationParameters) -> Tensor:
    """Class probabilities of every pixel.

    In mode ``whole`` the network sees the whole image. In mode ``sliding_window`` it sees overlapping windows, the
    field's way for Cityscapes [family]: windows start every ⌊window · (1 - overlap)⌋ pixels, the last one lies flush
    with the border, and a pixel's probabilities are the mean over the windows that cover it. A window larger than the
    image is clipped to it, in each direction on its own.

    With other scales than 1, or with ``flip``, this is done for each scaled and each mirrored image; probabilities
    are brought to the image's size bilinearly and averaged, the field's multi-scale inference [family].

    The network is in evaluation mode meanwhile and gets no gradients. Autocast is the caller's business.

    Args:
        network: Returns an object with ``logits`` (B×N×H×W) for uint8 images (B×3×H×W).
        images: B×3×H×W uint8 RGB; on any device.
        parameters: Mode, window, how many windows are predicted at once, scales and mirroring.

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
    """The most probable class of every pixel, of several the first one.

    Args:
        network: See :func:`predict_probabilities`.
        images: B×3×H×W uint8 RGB; on any device.
        parameters: See :func:`predict_probabilities`.

    Returns:
        B×H×W int64 on the network's device.
    """
    # argmax by another name, and on the CPU many times faster
    return predict_probabilities(network, images, parameters).max(dim=1).indices


def evaluate(
    network: nn.Module,
    samples: Iterable[tuple[Tensor, Tensor]],
    parameters: EvaluationParameters,
    num_classes: int,
) -> Tensor:
    """Confusion matrix of a network over a set of images.

    Consecutive images of one size are predicted together, at most ``parameters.batch_size`` of them.

    Args:
        network: See :func:`predict_probabilities`.
        samples: Pairs of an image (3×H×W uint8) and its mask (H×W, integer class ids, 255 = ignore).
        parameters: How an image is predicted.
        num_classes: N.

    Returns:
        N×N int64 on the network's device; rows are the truth, columns the prediction. See
        :func:`igl_dt.evaluation.metrics.score`.

    Raises:
        ValueError: A mask has another size than its image, or holds an id outside the classes.
    """
    device = _device(network)
    total = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)
    for images, masks in _batches(samples, parameters.batch_size):
        prediction = predict_classes(network, images, parameters)
        total += confusion_matrix(prediction, masks.to(device), num_classes)
    return total


class Measured(NamedTuple):
    """How a network does on a set of images; counts of pixels."""

    confusion: Tensor
    """N×N int64: rows are the truth, columns the prediction."""
    boundary: Tensor
    """N×3 int64: see :func:`igl_dt.evaluation.boundary.boundary_counts`."""
    images: list[float | None]
    """Each image's mean IoU: see :func:`igl_dt.evaluation.metrics.score_image`."""


def measure(
    network: nn.Module,
    samples: Iterable[tuple[Tensor, Tensor]],
    parameters: EvaluationParameters,
    num_classes: int,
) -> Measured:
    """Count all that scores are made from, in one pass: what :func:`evaluate` gives, contours, and each image's IoU.

    Takes and raises what :func:`evaluate` does.
    """
    confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    boundary = torch.zeros(num_classes, 3, dtype=torch.int64)
    scores = []
    for images, masks in _batches(samples, parameters.batch_size):
        predictions = predict_classes(network, images, parameters)
        masks = masks.to(predictions.device)
        for prediction, mask in zip(predictions.split(1), masks.split(1), strict=True):
            counts = confusion_matrix(prediction, mask, num_classes).cpu()
            confusion += counts
            scores.append(score_image(counts))
        boundary += boundary_counts(predictions, masks, num_classes, parameters.boundary_width).cpu()
    return Measured(confusion, boundary, scores)


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along one direction of an image; the last one ends with the image.

    Args:
        length: Pixels of the image.
        window: Pixels of the window; at most ``length``.
        overlap: Share of the window that neighbours have in common, 0 <= overlap < 1.
    """
    # 10 · (1 - 0.9) is 0.999… in floating point, and is meant to be 1.
    stride = max(math.floor(window * (1 - overlap) + 1e-9), 1)
    return [*range(0, length - window, stride), length - window]


def _predict(network: nn.Module, images: Tensor, parameters: EvaluationParameters) -> Tensor:
    if parameters.mode == "whole" or parameters.window_size is None:
        return network(images).logits.float().softmax(dim=1)
    return _slide(network, images, parameters.window_size, parameters.window_overlap, parameters.batch_size)


def _views(network: nn.Module, images: Tensor, parameters: EvaluationParameters) -> Iterator[Tensor]:
    """Give the probabilities of each scaled and mirrored view, at the images' place and size."""
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


def _slide(network: nn.Module, images: Tensor, window_size: tuple[int, int], overlap: float, at_once: int) -> Tensor:
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
    for first in range(0, len(places), at_once):
        group = places[first : first + at_once]
        windows = torch.stack([images[image, :, rows, columns] for image, rows, columns in group])
        probabilities = network(windows).logits.float().softmax(dim=1)
        if total is None:
            total = probabilities.new_zeros(batch, probabilities.shape[1], height, width)
        for (image, rows, columns), window in zip(group, probabilities, strict=True):
            total[image, :, rows, columns] += window
            count[image, :, rows, columns] += 1
    assert total is not None, "a batch holds at least one image"
    return total / count


def _batches(samples: Iterable[tuple[Tensor, Tensor]], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Stack consecutive images of one size."""
    images: list[Tensor] = []
    masks: list[Tensor] = []
    for position, (image, mask) in enumerate(samples):
        if image.shape[-2:] != mask.shape:
            raise ValueError(
                f"image {position} (counted from 0) is {tuple(image.shape[-2:])} (height, width) and its mask"
                f" {tuple(mask.shape)}; a mask must have the size of its image"
            )
        if images and (len(images) == batch_size or image.shape != images[0].shape):
            yield torch.stack(images), torch.stack(masks)
            images, masks = [], []
        images.append(image)
        masks.append(mask)
    if images:
        yield torch.stack(images), torch.stack(masks)


@contextmanager
def _evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Evaluation mode within, each part's own mode again afterwards (a part may be frozen in evaluation mode)."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
