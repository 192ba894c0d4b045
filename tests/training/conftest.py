"""Small networks and images to train on, and torch's global state put back after each test."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from igl_dt.data.loading import ImageReader, TrainingBatches
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import AugmentationParameters, DatasetParameters, SplittingParameters
from igl_dt.data.splits import split_labels
from igl_dt.networks import NetworkOutput, SegmentationNetwork, build_network
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.training.parameters import StageParameters
from tiny import CLASSES, NETWORKS


class TinyNetwork(nn.Module):
    """Two convolutions, no norm: what it says of an image does not depend on the other images."""

    def __init__(self, seed: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = nn.Conv2d(3, 6, 3, padding=1)
            self.classifier = nn.Conv2d(6, len(CLASSES), 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor) -> NetworkOutput:
        features = self.dropout(F.relu(self.encoder(images.float() / 128 - 1)))
        return NetworkOutput(self.classifier(features), features)


@pytest.fixture
def tiny_network() -> Callable[..., nn.Module]:
    return TinyNetwork


@pytest.fixture
def real_network() -> Callable[..., SegmentationNetwork]:
    """Make one of the project's networks, the same in every call."""

    def make(name: str) -> SegmentationNetwork:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return build_network(name, NETWORKS[name], CLASSES)

    return make


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images of 40×32 to train on, in the manner of CamVid; every pixel has one of three classes."""
    root = tmp_path_factory.mktemp("engine") / "images"
    rng = np.random.default_rng(0)
    for split, count in {"train": 8, "val": 2}.items():
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            mask = np.kron(rng.integers(0, 3, (4, 5)), np.ones((8, 8))).astype(np.uint8)
            image = (80 * mask[..., None] + rng.integers(0, 60, (32, 40, 3))).astype(np.uint8)
            Image.fromarray(image).save(root / split / "images" / f"{split}{index}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"{split}{index}.png")
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root


@pytest.fixture
def make_batches(images: Path) -> Callable[..., TrainingBatches]:
    """Make training batches with CutMix and strong views, or of labelled images alone."""
    dataset = DatasetParameters(source="camvid", root=str(images))
    manifest = read_manifest(dataset)
    parts = split_labels(manifest.images, manifest.class_pixels, SplittingParameters(labeled_fraction=0.5), seed=0)

    def make(
        steps: int = 4,
        batch_size: int = 2,
        seed: int = 0,
        alone: bool = True,
        augmentation: dict | None = None,
        **stage: int,
    ) -> TrainingBatches:
        changes = {"crop_size": (24, 32), "strong_unlabeled": True, "cutmix_probability": 1.0} | (augmentation or {})
        parameters = StageParameters(
            steps=steps, batch_size=batch_size, augmentation=AugmentationParameters(**changes), **stage
        )
        unlabeled = None if alone else parts.unlabeled
        return TrainingBatches(ImageReader(dataset, 1), parts.labeled, unlabeled, parameters, seed, "some_stage")

    return make


@pytest.fixture
def runtime() -> RuntimeParameters:
    return RuntimeParameters(device="cpu", threads=1, workers=0)
