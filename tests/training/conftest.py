"""Small networks and images to train on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from igl_dt.data.loading import ImageReader, TrainingBatches
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import AugmentationParameters, DatasetParameters, SplittingParameters
from igl_dt.data.splits import Splits, split_labels
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.runtime.context import RunContext
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from tiny import CLASSES, TwoConvolutions, tiny_network


@pytest.fixture(name="tiny_network")
def _tiny_network() -> Callable[..., nn.Module]:
    return TwoConvolutions


@pytest.fixture
def real_network() -> Callable[[str], SegmentationNetwork]:
    """Make one of the project's networks by its role, the same in every call."""

    def make(role: str) -> SegmentationNetwork:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return tiny_network(role)

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


@pytest.fixture(scope="session")
def dataset(images: Path) -> DatasetParameters:
    return DatasetParameters(source="camvid", root=str(images))


@pytest.fixture(scope="session")
def splits(dataset: DatasetParameters) -> Splits:
    manifest = read_manifest(dataset)
    return split_labels(manifest.samples, manifest.class_pixels, SplittingParameters(labeled_fraction=0.5), seed=0)


@pytest.fixture
def make_batches(dataset: DatasetParameters, splits: Splits) -> Callable[..., TrainingBatches]:
    """Make training batches with CutMix and strong views, or of labelled images alone."""

    def make(
        steps: int = 4, batch_size: int = 2, seed: int = 0, alone: bool = True, augmentation: dict | None = None
    ) -> TrainingBatches:
        changes = {"crop_size": (24, 32), "strong_unlabeled": True, "cutmix_probability": 1.0} | (augmentation or {})
        return TrainingBatches(
            ImageReader(dataset, 1),
            splits.labeled,
            None if alone else splits.unlabeled,
            AugmentationParameters(**changes),
            steps=steps,
            batch_size=batch_size,
            seed=seed,
            stream="some_stage",
        )

    return make


@pytest.fixture
def runtime() -> RuntimeParameters:
    return RuntimeParameters(device="cpu", threads=1, workers=0)


@pytest.fixture
def context(dataset: DatasetParameters, runtime: RuntimeParameters) -> RunContext:
    return RunContext(dataset, EvaluationParameters(), runtime, seed=3)
