"""CutMix: boxes of one image pasted into another."""

import torch
from torch import Tensor
from torch.nn import functional as F


def cutmix(x: Tensor, boxes: Tensor | None) -> Tensor:
    """Replace what lies inside its box in each sample by the same part of the batch's sample before it.

    The first sample takes from the last, and a batch of one stays as it is. Images, labels and logits that are
    mixed with the same boxes fit each other (Yun et al., ICCV 2019; in the form that CPS and UniMatch use) [family].

    Args:
        x: B×…×h×w of any type: images, logits, labels, masks. Where h×w is not H×W, the boxes are resized.
        boxes: B×H×W bool, true inside the boxes; None: no boxes.

    Returns:
        A new tensor of the shape and type of ``x``; ``x`` itself if there are no boxes.

    Raises:
        ValueError: The two differ in the number of samples.
    """
    return x if boxes is None else paste(x, boxes, x.roll(1, dims=0))


def paste(x: Tensor, boxes: Tensor | None, other: Tensor) -> Tensor:
    """Replace the inside of each sample's boxes by the same part of another tensor's sample.

    Args:
        x: B×…×h×w of any type.
        boxes: B×H×W bool, true inside the boxes, resized if h×w is not H×W; None: no boxes.
        other: of the shape and type of ``x``.

    Returns:
        A new tensor of the shape and type of ``x``; ``x`` itself if there are no boxes.

    Raises:
        ValueError: The tensors differ in the number of samples.
    """
    if boxes is None:
        return x
    if x.ndim < 3 or boxes.ndim != 3 or len(x) != len(boxes):
        raise ValueError(
            f"boxes of shape {tuple(boxes.shape)} do not fit a tensor of shape {tuple(x.shape)}: "
            "B×H×W boxes need a B×…×h×w tensor"
        )
    size = x.shape[-2:]
    if boxes.shape[-2:] != size:
        boxes = F.interpolate(boxes.unsqueeze(1).to(torch.uint8), size=size, mode="nearest-exact").squeeze(1).bool()
    return torch.where(boxes.view(len(x), *[1] * (x.ndim - 3), *size), other, x)
