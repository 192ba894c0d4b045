"""Small networks and one batch, for losses that are recomputed by slow, plain code."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from igl_dt.data.loading import Batch
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.methods.base import Method, MethodSetup
from igl_dt.networks.base import Encoded, NetworkOutput

CLASSES = 3
HEIGHT, WIDTH = 6, 8


class TinyNetwork(nn.Module):
    """Logits that depend on a pixel's neighbours, so that mixing before and after it are two things."""

    def __init__(self, seed: int, channels: int = 4, stride: int = 1) -> None:
        super().__init__()
        self.feature_channels, self.stride = channels, stride
        self.class_names = tuple("abc")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = nn.Conv2d(3, channels, 3, padding=1)
            self.classifier = nn.Conv2d(channels, CLASSES, 3, padding=1)
        nn.init.normal_(self.classifier.weight, std=0.5, generator=torch.Generator().manual_seed(seed))

    def forward(self, images: Tensor) -> NetworkOutput:
        features = 4 * self.encoder(images.float() / 128 - 1)
        return NetworkOutput(self.classifier(features), F.avg_pool2d(features, self.stride))


class NormedNetwork(nn.Module):
    """Two scales and batch norms, in float64: what it predicts depends on its mode and on the other images."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.feature_channels, self.num_classes, self.class_names = 6, CLASSES, tuple("abc")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.shallow = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
            self.deep = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6))
            self.classifier = nn.Conv2d(10, CLASSES, 3, padding=1)
            nn.init.normal_(self.classifier.weight, std=0.3)
        self.double()

    def encode(self, images: Tensor) -> Encoded:
        shallow = F.relu(self.shallow(images.double() / 128 - 1))
        return Encoded([shallow, F.relu(self.deep(shallow))], (images.shape[2], images.shape[3]))

    def decode(self, encoded: Encoded) -> NetworkOutput:
        shallow, deep = encoded.features
        large = deep.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return NetworkOutput(self.classifier(torch.cat([shallow, large], dim=1)), deep)

    def forward(self, images: Tensor) -> NetworkOutput:
        return self.decode(self.encode(images))


class MakeMethod(NamedTuple):
    """Builds methods on given networks."""

    steps: int = 100

    def __call__(
        self,
        kind: type[Method],
        networks: Mapping[str, nn.Module],
        teachers: Mapping[str, nn.Module] | None = None,
        loss: SupervisedLossParameters | None = None,
        **parameters: Any,
    ) -> Method:
        options = kind.parameters_type(**parameters)
        return kind(MethodSetup(options, networks, teachers or {}, loss or SupervisedLossParameters(), self.steps))  # type: ignore[arg-type]


@pytest.fixture
def make_method() -> MakeMethod:
    return MakeMethod()


@pytest.fixture
def normed_network() -> Callable[[int], nn.Module]:
    return NormedNetwork


@pytest.fixture
def tiny_network() -> Callable[..., nn.Module]:
    return TinyNetwork


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Make two labelled and two unlabelled images, some pixels of which do not count."""

    def make(
        cutmix: bool = True, strong: bool = True, views: int = 1, count: int = 2, strong_labeled: bool = False
    ) -> Batch:
        draw = torch.Generator().manual_seed(7)

        def samples() -> Tensor:
            return torch.randint(0, 256, (count, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=draw)

        masks = torch.randint(0, CLASSES, (count, HEIGHT, WIDTH), dtype=torch.uint8, generator=draw)
        masks[0, 1, 2:5] = 255
        padding = torch.zeros(count, HEIGHT, WIDTH, dtype=torch.bool)
        padding[0, :, -2:], padding[1, -1] = True, True
        boxes = torch.zeros(count, HEIGHT, WIDTH, dtype=torch.bool)
        boxes[0, 2:6, 2:6], boxes[1, 0:4, 4:8] = True, True  # on even pixels: the same at stride 2
        images, weak, loud = samples(), samples(), samples()
        louder = tuple(samples() for _ in range(views - 1))  # views and boxes after the first differ from it
        other_boxes = tuple(boxes.roll(2 * number + 1, dims=2) for number in range(views - 1))
        return Batch(
            images,
            masks,
            weak,
            (loud, *louder) if strong else (weak,) * views,
            padding,
            (boxes, *other_boxes) if cutmix else (),
            samples() if strong_labeled else None,
        )

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
    def confident_loss(logits: Tensor, labels: Tensor, confidence: Tensor, ignored: Tensor, threshold: float) -> float:
        """Sum over confident, valid pixels; over the number of valid pixels."""
        total, valid = 0.0, 0
        for b in range(labels.shape[0]):
            for y in range(labels.shape[1]):
                for x in range(labels.shape[2]):
                    if not ignored[b, y, x]:
                        valid += 1
                        if confidence[b, y, x] >= threshold:
                            total -= logits[b, :, y, x].log_softmax(0)[labels[b, y, x]].item()
        return total / valid

    @staticmethod
    def paste(x: Tensor, boxes: Tensor, other: Tensor) -> Tensor:
        """Take what lies in each sample's box from another tensor."""
        mixed = x.clone()
        for sample, box in enumerate(boxes):
            mixed[sample][..., box] = other[sample][..., box]
        return mixed

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
