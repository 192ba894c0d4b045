"""What it takes to split, load and supply images."""

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from PIL import Image

from benchmarks import settings
from benchmarks.figures import Figure, median
from benchmarks.trainings import draw_images, load_project, make_batches, prepare, sizes, time_step
from igl_dt.data import loading
from igl_dt.data.loading import ImageReader, TrainingBatches
from igl_dt.data.parameters import AugmentationParameters, SplittingParameters
from igl_dt.data.splits import Splits, split_labels
from igl_dt.data.transforms import CropWindow
from igl_dt.kedro_ext.parameters import ProjectParameters
from igl_dt.networks.registry import build_network
from igl_dt.runtime.determinism import configure_torch
from igl_dt.runtime.memory import peak_memory
from igl_dt.training.parameters import TrainingParameters
from igl_dt.training.trainer import create_method
from igl_dt.utils.parameters import IGNORE_INDEX, Size

IMAGES = 1_000_000
CLASSES = 21
SPLITTING_ROUNDS = 3
SPLITTING_SECONDS = 60
SPLITTING_MIB = 1024

LOADING_STEPS = 15
LOADING_ROUNDS = 5
LOADING_RATIO = 1.8

SUPPLIED = ("base", "idd_lite", "camvid")
SUPPLY_STEPS = 9
SUPPLY_WORKERS = 2
SUPPLY_RATIO = 1.0


def measure_splitting() -> Iterator[Figure]:
    """Split a million images, by a fraction and by lists of each format: in a minute and a GiB at most.

    The tables count as memory of the splitting, what this module imports does not: splitting needs no torch. The memory
    is the highest of all rounds.
    """
    imports = peak_memory()
    manifest, class_pixels = _make_tables()
    with tempfile.TemporaryDirectory() as folder:
        for name, parameters in _ways_to_split(Path(folder), manifest):
            seconds = []
            for _ in range(SPLITTING_ROUNDS):
                start = time.perf_counter()
                split_labels(manifest, class_pixels, parameters, seed=0)
                seconds.append(time.perf_counter() - start)
            yield median(f"{name}: seconds", seconds, SPLITTING_SECONDS)
    yield Figure("MiB", peak_memory() - imports, limit=SPLITTING_MIB)


def measure_loading() -> Iterator[Figure]:
    """Count the views that a thread makes a second, over the plain way's: 1.8 times as many.

    The plain way scales the whole image and then crops it. Both take the same draws of scale, crop and flip, and find
    decoded images in the cache.
    """
    torch.set_num_threads(1)
    ways: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "scaling the crop alone": nullcontext,
        "scaling whole images": partial(
            patch.multiple, loading, crop_image=crop_image_plainly, crop_mask=crop_mask_plainly
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        options = sizes() | {"train": 16, "val": 1, "test": 0}
        reader, splits = draw_images(folder, options, fraction=0.5, image_size=settings.IMAGE_SIZE)
        augmentation = AugmentationParameters(crop_size=settings.CROP_SIZE)
        batches = make_batches(TrainingBatches, None, reader, splits, augmentation, LOADING_STEPS)
        for round_ in range(LOADING_ROUNDS + 1):
            for step in range(LOADING_STEPS):
                for name, way in ways.items():
                    with way():
                        taken = _time(batches, step)
                    if round_ > 0:  # the first fills the cache
                        seconds[name].append(taken)
    for name, times in seconds.items():
        yield median(f"{name}: views per second", [2 * settings.BATCH_SIZE / taken for taken in times])
    fast, plain = seconds.values()
    ratios = [other / one for one, other in zip(fast, plain, strict=True)]
    yield median("times the plain way", ratios, LOADING_RATIO, at_least=True)


def measure_supply() -> Iterator[Figure]:
    """Time what two loader processes take to make a batch, over a step on it: 1 at most, so that no step waits.

    Of supervised training, CPS, IGL-DT and UniMatch as the environments base, idd_lite and camvid define them, on drawn
    images of their sizes that are in memory. The batches are made by one thread, which nothing disturbs.
    """
    configure_torch(settings.RUNTIME)
    for env in SUPPLIED:
        project = load_project(env)
        with tempfile.TemporaryDirectory() as folder:
            size = project.dataset.image_size
            reader, splits = draw_images(folder, {"train": 48, "val": 1, "test": 0}, 0.25, image_size=size)
            for name in ("supervised", "cps", "igl_dt", "unimatch"):
                training = project.teacher_pretraining if name == "cps" else project.student_learning
                pairs = _time_supply(name, training, project, reader, splits)
                ratios = [making / SUPPLY_WORKERS / step for making, step in pairs]
                yield median(f"{env}, {name}: a batch over a step", ratios, SUPPLY_RATIO)


def _time_supply(
    name: str, training: TrainingParameters, project: ProjectParameters, reader: ImageReader, splits: Splits
) -> list[tuple[float, float]]:
    """Give the seconds of making a batch and of a step on it, for some steps."""
    choice = training.method.model_copy(update={"name": name})
    parameters = training.model_copy(update={"method": choice})
    networks = project.teacher_pretraining.networks.items()
    teachers = {role: build_network(network, settings.CLASS_NAMES, role) for role, network in networks}
    method = create_method(parameters, settings.CLASS_NAMES, 0, teachers, "benchmark").train()
    batches, optimizers = prepare(method, parameters, reader, splits, SUPPLY_STEPS)
    pairs = []
    for step in range(SUPPLY_STEPS):
        start = time.perf_counter()
        batch = batches[step]
        pairs.append((time.perf_counter() - start, time_step(method, batch, optimizers, step)))
    return pairs[1:]  # the first warms up


def _time(batches: TrainingBatches, step: int) -> float:
    start = time.perf_counter()
    batches[step]
    return time.perf_counter() - start


def crop_image_plainly(image: np.ndarray, window: CropWindow, crop_size: Size) -> Image.Image:
    """Crop an image by scaling all of it."""
    return _crop_plainly(image, window, crop_size, Image.Resampling.BILINEAR, fill=(0, 0, 0))


def crop_mask_plainly(mask: np.ndarray, window: CropWindow, crop_size: Size) -> np.ndarray:
    """Crop a mask by scaling all of it."""
    return np.array(_crop_plainly(mask, window, crop_size, Image.Resampling.NEAREST, fill=IGNORE_INDEX))


def _crop_plainly(
    array: np.ndarray,
    window: CropWindow,
    crop_size: Size,
    resampling: Image.Resampling,
    fill: int | tuple[int, int, int],
) -> Image.Image:
    """Scale the whole image, then crop, pad and flip it, by the same window."""
    left, top, right, bottom = window.box
    width, height = window.size
    across, down = width / (right - left), height / (bottom - top)
    scaled = Image.fromarray(array).resize((round(array.shape[1] * across), round(array.shape[0] * down)), resampling)
    x, y = round(left * across), round(top * down)
    part = scaled.crop((x, y, x + width, y + height))
    if part.size != (crop_size[1], crop_size[0]):
        canvas = Image.new(part.mode, (crop_size[1], crop_size[0]), fill)
        canvas.paste(part, window.offset)
        part = canvas
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if window.flip else part


def _ways_to_split(folder: Path, manifest: pd.DataFrame) -> Iterator[tuple[str, SplittingParameters]]:
    """A fraction, and each format: every eighth training image is labelled, the others are listed as unlabelled."""
    yield "by a fraction", SplittingParameters(labeled_fraction=0.125)
    formats = {
        "ids": "{0}\n",
        "UniMatch": "JPEGImages/{0}.jpg SegmentationClass/{0}.png\n",
        "CPS": "/images/train/{0}.png\t/segmentation/train/{0}_gtFine.png\n",
    }
    labeled, unlabeled = folder / "labeled.txt", folder / "unlabeled.txt"
    for name, line in formats.items():
        with labeled.open("w") as some, unlabeled.open("w") as others:
            for index, id_ in enumerate(manifest.loc[manifest["split"] == "train", "id"]):
                (others if index % 8 else some).write(line.format(id_))
        lists = SplittingParameters(labeled_list=str(labeled), unlabeled_list=str(unlabeled))
        yield f"by lists, format {name}", lists


def _make_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make up a manifest, its last hundredth for validation, and pixels of about every tenth class in each image."""
    ids = [f"{index:012d}" for index in range(IMAGES)]
    val = IMAGES // 100
    manifest = pd.DataFrame(
        {
            "id": ids,
            "split": ["train"] * (IMAGES - val) + ["val"] * val,
            "image": [f"JPEGImages/{id_}.jpg" for id_ in ids],
            "mask": [f"SegmentationClass/{id_}.png" for id_ in ids],
            "width": 500,
            "height": 375,
            "sha256": [hashlib.sha256(id_.encode()).hexdigest() for id_ in ids],
        }
    )
    rng = np.random.default_rng(0)
    pixels = np.zeros((IMAGES, CLASSES), np.int64)
    for column in pixels.T:  # one by one, so as not to count memory that only the making takes
        occurs = rng.integers(0, 10, IMAGES, dtype=np.uint8) == 0
        column[occurs] = rng.integers(1, 100_000, occurs.sum())
    names = [f"class {index}" for index in range(CLASSES)]
    return manifest, pd.DataFrame(pixels, index=pd.Index(ids, name="id"), columns=names, copy=False)
