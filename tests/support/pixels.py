"""Networks whose answer is known, and samples for them."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from igl_dt.runtime.parameters import EvaluationParameters


class Output(NamedTuple):
    logits: Tensor
    features: Tensor


class PixelNetwork(nn.Module):
    """Logits that depend on the pixel alone, so that no window changes the answer."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(3, num_classes, 1)
        torch.manual_seed(0)
        nn.init.normal_(self.classifier.weight)
        self.frozen = nn.BatchNorm2d(3).eval()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images: Tensor) -> Output:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.shapes.append(tuple(images.shape))
        features = images.float() / 255
        return Output(self.classifier(features), features)


def images_of(*sizes: tuple[int, int]) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randint(256, (3, *size), dtype=torch.uint8, generator=generator),
            torch.randint(3, size, dtype=torch.uint8, generator=generator),
        )
        for size in sizes
    ]


def sliding(window: tuple[int, int], batch_size: int = 8, overlap: float = 1 / 3) -> EvaluationParameters:
    return EvaluationParameters(
        mode="sliding_window", window_size=window, window_overlap=overlap, batch_size=batch_size
    )
