"""Small networks and one batch, for losses that are computed anew by slow hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from igl_dt.data.loading import Batch
from tiny import CLASSES, TwoConvolutions

HEIGHT, WIDTH = 6, 8


@pytest.fixture
def tiny_network() -> Callable[..., nn.Module]:
    return TwoConvolutions


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Make two labelled and two unlabelled images, some pixels of which do not count."""

    def make(cutmix: bool = True, strong: bool = True, strong_labeled: bool = False) -> Batch:
        draw = torch.Generator().manual_seed(7)

        def samples() -> Tensor:
            return torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=draw)

        masks = torch.randint(0, len(CLASSES), (2, HEIGHT, WIDTH), dtype=torch.uint8, generator=draw)
        masks[0, 1, 2:5] = 255
        padding = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
        padding[0, :, -2:], padding[1, -1] = True, True
        boxes = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
        boxes[0, 2:6, 2:6], boxes[1, 0:4, 4:8] = True, True  # on even pixels: the same at stride 2
        images, weak, loud = samples(), samples(), samples()
        views, boxes_of_views = (loud if strong else weak,), (boxes,) if cutmix else ()
        return Batch(images, masks, weak, views, padding, boxes_of_views, samples() if strong_labeled else None)

    return make


class ByHand:
    """What the equations say, without the project's losses."""

    @staticmethod
    def cross_entropy(logits: Tensor, labels: Tensor, ignore: Tensor | None = None) -> float:
        """Over the pixels that are not ignored, None: that have a label."""
        losses = [
            -logits[b, :, y, x].log_softmax(0)[int(labels[b, y, x])].item()
            for b in range(labels.shape[0])
            for y in range(labels.shape[1])
            for x in range(labels.shape[2])
            if labels[b, y, x] != 255
        ]
        return sum(losses) / (len(losses) if ignore is None else int((~ignore).sum()))

    @staticmethod
    def mix(x: Tensor, boxes: Tensor | None) -> Tensor:
        """Paste what lies in each sample's box from the sample before it."""
        mixed = x.clone()
        if boxes is not None:
            stride = boxes.shape[-1] // x.shape[-1]
            for sample, box in enumerate(boxes[:, ::stride, ::stride]):
                mixed[sample][..., box] = x[sample - 1][..., box]
        return mixed

    @staticmethod
    def labels(logits: Tensor, ignore: Tensor, threshold: float = 0.0) -> Tensor:
        confidence, labels = logits.softmax(dim=1).max(dim=1)
        labels[ignore | (confidence < threshold)] = 255
        return labels


@pytest.fixture
def by_hand() -> type[ByHand]:
    return ByHand
