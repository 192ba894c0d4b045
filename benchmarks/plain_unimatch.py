"""UniMatch V1 and supervised training as research code usually has them, beside the engine, in one run.

The plain way: one loader for labelled images and two for unlabelled ones, zipped; every
image is opened, scaled as a whole and then cropped by Pillow; the loss is written out at every step, six values with
``.item()``; validation takes one image at a time; all in float32. The networks, their initial weights, crops, batch,
views and optimiser are the engine's. Both take turns: some steps and a validation of the one, then as many of the
other, in one process with two threads, which also reads the images.
"""

import random
import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ColorJitter

from benchmarks import settings
from benchmarks.figures import Figure, median
from benchmarks.trainings import make_batches, training_parameters
from igl_dt.data.loading import ImageReader, TrainingBatches
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import AugmentationParameters, DatasetParameters, SplittingParameters
from igl_dt.data.splits import Splits, split_labels
from igl_dt.evaluation.evaluator import evaluate
from igl_dt.methods.unimatch import decode_with_dropout
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.runtime.determinism import autocast
from igl_dt.runtime.parameters import EvaluationParameters
from igl_dt.training.optimizer import build_optimizer
from igl_dt.training.trainer import create_method, fit
from igl_dt.utils.parameters import IGNORE_INDEX

IMAGES, VALIDATED = 56, 8
STEPS, ROUNDS = 8, 7
THRESHOLD = 0.95
METHODS = ("unimatch", "supervised")
LIMIT = 1.5


class PlainImages(Dataset[Any]):
    """Images, and masks or two strong views, augmented by Pillow on whole images."""

    def __init__(self, images: list[Path], masks: list[Path] | None, length: int) -> None:
        self.images, self.masks, self.length = images, masks, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        image = Image.open(self.images[index % len(self.images)]).convert("RGB")
        if self.masks is not None:
            mask = Image.open(self.masks[index % len(self.masks)])
            image, mask = _scale_and_crop(image, mask)
            return _tensor(image), torch.from_numpy(np.array(mask)).long()
        image, padding = _scale_and_crop(image, Image.fromarray(np.zeros((image.height, image.width), np.uint8)))
        views = [_strong(image), _strong(image)]
        boxes = [_box(), _box()]
        return _tensor(image), *map(_tensor, views), torch.from_numpy(np.array(padding)).long(), *boxes


def _scale_and_crop(image: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image]:
    factor, (height, width) = random.uniform(0.5, 2.0), settings.CROP_SIZE
    size = (round(image.width * factor), round(image.height * factor))
    image, mask = image.resize(size, Image.Resampling.BILINEAR), mask.resize(size, Image.Resampling.NEAREST)
    right, bottom = max(width - size[0], 0), max(height - size[1], 0)
    image = ImageOps.expand(image, (0, 0, right, bottom), fill=0)
    mask = ImageOps.expand(mask, (0, 0, right, bottom), fill=IGNORE_INDEX)
    x, y = random.randint(0, image.width - width), random.randint(0, image.height - height)
    image, mask = (each.crop((x, y, x + width, y + height)) for each in (image, mask))
    if random.random() < 0.5:
        image, mask = (each.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for each in (image, mask))
    return image, mask


def _strong(image: Image.Image) -> Image.Image:
    if random.random() < 0.8:
        image = ColorJitter(0.5, 0.5, 0.5, 0.25)(image)
    if random.random() < 0.2:
        image = image.convert("L").convert("RGB")
    if random.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
    return image


def _box() -> Tensor:
    box, (rows, columns) = torch.zeros(settings.CROP_SIZE), settings.CROP_SIZE
    if random.random() < 0.5:
        return box
    while True:
        area, ratio = random.uniform(0.02, 0.4) * rows * columns, random.uniform(0.3, 1 / 0.3)
        width, height = int((area / ratio) ** 0.5), int((area * ratio) ** 0.5)
        x, y = random.randrange(columns), random.randrange(rows)
        if x + width <= columns and y + height <= rows:
            box[y : y + height, x : x + width] = 1
            return box


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def plain_unimatch(
    network: SegmentationNetwork, labeled: Dataset[Any], first: Dataset[Any], second: Dataset[Any]
) -> Iterator[None]:
    """Train, step by step."""
    optimizer = build_optimizer(network, settings.OPTIMIZER)
    totals = [0.0] * 6
    for (images, masks), unlabeled, mixed in zip(*map(_loader, (labeled, first, second)), strict=True):
        weak, strong_1, strong_2, ignored, box_1, box_2 = unlabeled
        weak_mix, strong_1_mix, strong_2_mix, ignored_mix, _, _ = mixed
        with torch.no_grad():
            network.eval()
            confidence_mix, labels_mix = network(weak_mix).logits.softmax(dim=1).max(dim=1)
        for strong, other, box in ((strong_1, strong_1_mix, box_1), (strong_2, strong_2_mix, box_2)):
            pasted = box.unsqueeze(1).expand(strong.shape) == 1
            strong[pasted] = other[pasted]
        network.train()
        clean, perturbed = decode_with_dropout(network, torch.cat([images, weak]), 0.5)
        predicted, predicted_weak = clean.chunk(2)
        predicted_perturbed = perturbed[len(images) :]
        predicted_strong = network(torch.cat([strong_1, strong_2])).logits.chunk(2)
        confidence, labels = predicted_weak.detach().softmax(dim=1).max(dim=1)
        loss_x = F.cross_entropy(predicted, masks, ignore_index=IGNORE_INDEX)
        losses = []
        for logits, box in zip(predicted_strong, (box_1, box_2), strict=True):
            target, sure, ignore = labels.clone(), confidence.clone(), ignored.clone()
            target[box == 1], sure[box == 1], ignore[box == 1] = (
                labels_mix[box == 1], confidence_mix[box == 1], ignored_mix[box == 1],
            )  # fmt: skip
            losses.append(_confident_loss(logits, target, sure, ignore))
        loss_fp = _confident_loss(predicted_perturbed, labels, confidence, ignored)
        loss = (loss_x + losses[0] * 0.25 + losses[1] * 0.25 + loss_fp * 0.5) / 2.0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        share = ((confidence >= THRESHOLD) & (ignored != IGNORE_INDEX)).sum().item() / (ignored != IGNORE_INDEX).sum()
        values = (loss.item(), loss_x.item(), losses[0].item(), losses[1].item(), loss_fp.item(), share.item())
        totals = [total + value for total, value in zip(totals, values, strict=True)]
        yield


def _confident_loss(logits: Tensor, target: Tensor, confidence: Tensor, ignore: Tensor) -> Tensor:
    loss = F.cross_entropy(logits, target, reduction="none")
    loss = loss * ((confidence >= THRESHOLD) & (ignore != IGNORE_INDEX))
    return loss.sum() / (ignore != IGNORE_INDEX).sum()


def plain_supervised(network: SegmentationNetwork, labeled: Dataset[Any]) -> Iterator[None]:
    """Train, step by step."""
    optimizer = build_optimizer(network, settings.OPTIMIZER)
    total = 0.0
    network.train()
    for images, masks in _loader(labeled):
        loss = F.cross_entropy(network(images).logits, masks, ignore_index=IGNORE_INDEX)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        yield


def _loader(dataset: Dataset[Any]) -> DataLoader[Any]:
    return DataLoader(dataset, batch_size=settings.BATCH_SIZE, shuffle=True, num_workers=0, drop_last=True)


def plain_validation(network: nn.Module, images: list[Path], masks: list[Path]) -> float:
    """Give the mIoU, image by image."""
    classes = len(settings.CLASS_NAMES)
    intersection, union = np.zeros(classes), np.zeros(classes)
    network.eval()
    with torch.no_grad():
        for path, mask_path in zip(images, masks, strict=True):
            image = _tensor(Image.open(path).convert("RGB"))[None]
            predicted = network(image).logits.argmax(dim=1)[0].numpy()
            truth = np.array(Image.open(mask_path))
            valid = truth != IGNORE_INDEX
            both = np.histogram(predicted[valid & (predicted == truth)], classes, (0, classes))[0]
            intersection += both
            union += np.histogram(predicted[valid], classes, (0, classes))[0]
            union += np.histogram(truth[valid], classes, (0, classes))[0] - both
    network.train()
    return float(np.mean(intersection / np.maximum(union, 1)))


def compare(name: str, precision: str) -> tuple[list[float], list[float]]:
    """Time both ways in turns; gives the engine's images per second, and the ratios to those of the plain way.

    Args:
        name: ``unimatch`` or ``supervised``.
        precision: of the engine: ``float32`` or ``bfloat16``.
    """
    runtime = settings.RUNTIME.model_copy(update={"precision": precision})
    with tempfile.TemporaryDirectory() as folder, patch("igl_dt.training.cost.COUNTED_STEPS", 1):
        reader, splits = _images(Path(folder))
        steps, augmentation = STEPS * ROUNDS, AugmentationParameters(crop_size=settings.CROP_SIZE, scale=(0.5, 2.0))
        parameters = training_parameters(name, ("student",), steps, augmentation)
        method = create_method(parameters, settings.CLASS_NAMES, 0)
        batches = make_batches(TrainingBatches, method, reader, splits, method.augmentation(augmentation), steps)
        network = deepcopy(method.networks["student"])
        plain_steps = _plain_steps(name, network, reader, splits)
        val_images, val_masks = _files(reader, splits.val)
        ours: list[float] = []
        plain: list[float] = []
        since = time.perf_counter()

        def validate(trained: SegmentationNetwork) -> float:
            nonlocal since
            with autocast(torch.device("cpu"), runtime):
                evaluate(trained, reader.pairs(splits.val), EvaluationParameters(), len(settings.CLASS_NAMES))
            ours.append(time.perf_counter() - since)
            start = time.perf_counter()
            for _ in range(STEPS):
                next(plain_steps)
            plain_validation(network, val_images, val_masks)
            plain.append(time.perf_counter() - start)
            since = time.perf_counter()
            return 0.0

        optimizers = {"student": settings.OPTIMIZER}
        fit(method, batches, optimizers, runtime, validate, name="benchmark", validate_every=STEPS)
    pairs = list(zip(plain, ours, strict=True))[1:]  # the first warms up
    images = STEPS * batches.images_per_step
    return [images / taken for _, taken in pairs], [other / taken for other, taken in pairs]


def _plain_steps(name: str, network: SegmentationNetwork, reader: ImageReader, splits: Splits) -> Iterator[None]:
    images, masks = _files(reader, splits.labeled)
    length = STEPS * ROUNDS * settings.BATCH_SIZE
    labeled = PlainImages(images, masks, length)
    if name == "supervised":
        return plain_supervised(network, labeled)
    unlabeled = [reader.root / path for path in splits.unlabeled["image"]]
    return plain_unimatch(network, labeled, PlainImages(unlabeled, None, length), PlainImages(unlabeled, None, length))


def _files(reader: ImageReader, rows: Any) -> tuple[list[Path], list[Path]]:
    return [reader.root / path for path in rows["image"]], [reader.root / path for path in rows["mask"]]


def _images(folder: Path) -> tuple[ImageReader, Splits]:
    """Draw scenes, and make JPEGs and PNGs of a usual size of them."""
    drawn = {"train": IMAGES, "val": 1, "test": 0, "min_side": 128}
    read_manifest(DatasetParameters(source="shapes", root=f"{folder}/drawn", options=drawn))
    for kind, suffix, how in (
        ("images", ".jpg", Image.Resampling.BILINEAR),
        ("masks", ".png", Image.Resampling.NEAREST),
    ):
        target = folder / "files" / kind
        target.mkdir(parents=True)
        for path in sorted((folder / "drawn/train" / kind).iterdir()):
            with Image.open(path) as scene:
                scene.resize(settings.IMAGE_SIZE[::-1], how).save(target / f"{path.stem}{suffix}")
    (folder / "files/classes.txt").write_text("\n".join(settings.CLASS_NAMES), "utf-8")
    options = {"images": "images", "masks": "masks", "fractions": {"val": VALIDATED / IMAGES}}
    dataset = DatasetParameters(source="folder", root=f"{folder}/files", options=options)
    found = read_manifest(dataset)
    splits = split_labels(found.samples, found.class_pixels, SplittingParameters(labeled_fraction=0.25), seed=0)
    return ImageReader(dataset, cache_mib=256), splits


def measure_plain() -> Iterator[Figure]:
    """Compare; gives the ratio of each method and precision, and of each method's faster precision, at least 1.5."""
    for name in METHODS:
        faster: Figure | None = None
        for precision in ("float32", "bfloat16"):
            rates, ratios = compare(name, precision)
            yield median(f"{name}, {precision}: images per second", rates)
            ratio = median(f"{name}, {precision}: times the plain way", ratios)
            yield ratio
            faster = ratio if faster is None or ratio.value > faster.value else faster
        assert faster is not None
        yield faster._replace(name=f"{name}, the faster precision: times the plain way", limit=LIMIT, at_least=True)
