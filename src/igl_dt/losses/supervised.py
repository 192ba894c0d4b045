"""Loss against the ground truth: cross entropy, or its hardest pixels only."""

import math

import torch
from torch import Tensor

from igl_dt.losses.common import full_precision
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.utils.parameters import IGNORE_INDEX


def supervised_loss(
    logits: Tensor, target: Tensor, parameters: SupervisedLossParameters, class_weights: Tensor | None = None
) -> Tensor:
    """L_sup, the loss against the ground truth [family].

    Online hard example mining ("ohem") takes the mean over the pixels whose probability of the true class is at
    most ``ohem_threshold``, or over the hardest ``ohem_min_fraction`` of all pixels where that is more (all
    labelled pixels where there are fewer). The
    idea is Shrivastava et al.'s (CVPR 2016); CPS and U2PL use it in this form for Cityscapes.

    Args:
        logits: B×N×H×W, of any floating type.
        target: B×H×W int64, classes 0 to N - 1, or 255 for pixels that do not count.
        parameters: Which of the two, and the knobs of the second.
        class_weights: N, above 0: the mean becomes a weighted one, by the true class of each pixel. Which pixels are
            hard does not depend on it. None: all pixels weigh the same.

    Returns:
        Scalar; 0 with a gradient of zeros where no pixel counts.

    Raises:
        ValueError: The target's batch, height or width is not that of the logits.
    """
    losses, kept = _pixel_losses(logits, target)
    if parameters.name == "ohem":
        kept = _hard_pixels(losses.detach(), kept, parameters)
    if class_weights is None:
        return _mean(losses, kept, kept)
    weights = class_weights.to(losses.dtype)[target.masked_fill(~kept, 0)].masked_fill(~kept, 0)
    return (losses.masked_fill(~kept, 0) * weights).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def median_frequency_weights(pixels: Tensor, limit: float) -> Tensor:
    """Give class weights: the median frequency of all classes over a class's own (Eigen & Fergus, ICCV 2015) [family].

    A class's frequency is its share of the labelled pixels of those images in which it occurs.

    Args:
        pixels: I×N, pixels of each of N classes in each of I images.
        limit: Weights are clipped to between 1 / limit and limit [ours].

    Returns:
        N, float32; 1 for classes that do not occur.
    """
    pixels = pixels.double()
    occurs = pixels > 0
    frequencies = pixels.sum(dim=0) / (occurs * pixels.sum(dim=1, keepdim=True)).sum(dim=0)  # NaN: does not occur
    weights = (frequencies.nanquantile(0.5) / frequencies).clamp(1 / limit, limit)
    return weights.nan_to_num(nan=1.0).float()


def _hard_pixels(losses: Tensor, counted: Tensor, parameters: SupervisedLossParameters) -> Tensor:
    # Below every loss, so that pixels that do not count are never among the hardest.
    hardness = losses.masked_fill(~counted, -1)
    # Pixels of equal loss are kept or left together, so it does not matter which of them the k hardest are.
    least = max(1, round(parameters.ohem_min_fraction * hardness.numel()))
    hardest = hardness.flatten().topk(least, sorted=False).values
    return counted & (hardness >= hardest.min().clamp(max=-math.log(parameters.ohem_threshold)))


def cross_entropy(logits: Tensor, target: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Cross entropy, mean over the pixels that count.

    Args:
        logits: B×N×H×W, of any floating type.
        target: B×H×W int64, classes 0 to N - 1, or 255 for pixels that have none.
        ignore: B×H×W bool, pixels that do not count; those without a class count as losses of 0 then. None: just those
            without a class do not count.

    Returns:
        Scalar; 0 with a gradient of zeros where no pixel counts.

    Raises:
        ValueError: The target's batch, height or width is not that of the logits, or ``ignore`` has another shape.
    """
    if ignore is not None and ignore.shape != target.shape:
        raise ValueError(f"ignore of shape {tuple(ignore.shape)} does not fit a target of shape {tuple(target.shape)}")
    losses, known = _pixel_losses(logits, target)
    return _mean(losses, known, known if ignore is None else ~ignore)


def _pixel_losses(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of each pixel, and which pixels count; both B×H×W.

    ``F.cross_entropy`` has no deterministic CUDA kernel for B×N×H×W, and over flattened pixels it is seven times
    slower on the CPU. A gather has one, and costs as little as the former.
    """
    if logits.ndim != 4 or target.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"target of shape {tuple(target.shape)} does not fit logits of shape {tuple(logits.shape)}: "
            "B×N×H×W logits need a B×H×W target"
        )
    counted = target != IGNORE_INDEX
    true_class = target.masked_fill(~counted, 0).unsqueeze(1)
    losses = -full_precision(logits).log_softmax(dim=1).gather(1, true_class).squeeze(1)
    return losses, counted


def _mean(losses: Tensor, kept: Tensor, counted: Tensor) -> Tensor:
    """Sum of the kept losses over the number of counted pixels; 0 with a gradient of zeros where there are none."""
    return losses.masked_fill(~kept, 0).sum() / counted.sum().clamp(min=1)
