"""From a manifest to tensors: one image at its reading size, and the batch of one training step."""

import math
import os
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from igl_dt.data.datasets import DataError, mask_format
from igl_dt.data.datasets.base import locate
from igl_dt.data.image_io import read_image, read_mask, reading_size
from igl_dt.data.parameters import AugmentationParameters, DatasetParameters
from igl_dt.data.random_operations import random_operations
from igl_dt.data.splits import check_trainable
from igl_dt.data.transforms import (
    CropWindow,
    crop_image,
    crop_mask,
    draw_class_pixel,
    draw_cutmix_box,
    draw_window,
    padding_mask,
    strong_view,
)
from igl_dt.utils.seeding import generator
from igl_dt.utils.signals import obey_only


def by_size(rows: pd.DataFrame) -> pd.DataFrame:
    """Put those of one size one after the other: the order of ``ImageReader.pairs``."""
    return rows.sort_values(["height", "width", "id"])


class ImageReader:
    """Reads the images and masks of a manifest at their reading size, and keeps them while memory allows.

    Args:
        dataset: folder, sizes and format of masks.
        cache_mib: MiB for decoded images; 0: none are kept.

    Its methods take paths relative to the folder, and raise DataError where a file cannot be read, or lies outside.
    """

    def __init__(self, dataset: DatasetParameters, cache_mib: int = 0) -> None:
        self.root = Path(dataset.root)
        self.dataset = dataset
        self._mask_format = mask_format(dataset)
        self._cache: dict[str, np.ndarray] = {}
        self._room = cache_mib * 2**20

    def image(self, path: str) -> np.ndarray:
        """Read an image: H×W×3 uint8."""
        return self._read(path, is_mask=False)

    def mask(self, path: str) -> np.ndarray:
        """Read a mask: H×W uint8 class ids."""
        return self._read(path, is_mask=True)

    def _read(self, path: str, is_mask: bool) -> np.ndarray:
        if path in self._cache:
            return self._cache[path]
        file = locate(self.root, path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, named with the file when it was checked
            array = read_mask(file, self._mask_format) if is_mask else read_image(file)
        height, width = reading_size(array.shape[1], array.shape[0], self.dataset)
        if array.shape[:2] != (height, width):
            resampling = Image.Resampling.NEAREST if is_mask else Image.Resampling.BILINEAR
            array = np.array(Image.fromarray(array).resize((width, height), resampling))
        if array.nbytes <= self._room:
            self._room -= array.nbytes
            self._cache[path] = array
        return array

    def pairs(self, rows: pd.DataFrame) -> Iterator[tuple[Tensor, Tensor]]:
        """Read whole images with masks, those of one size one after the other.

        Yields:
            3×H×W uint8 image and H×W uint8 mask.
        """
        for row in by_size(rows).itertuples():
            yield _to_tensor(self.image(str(row.image))), torch.from_numpy(self.mask(str(row.mask)))

    def class_pixels(self, rows: pd.DataFrame, num_classes: int) -> np.ndarray:
        """Count the pixels of each class in each mask: masks×classes int64."""
        return np.stack([np.bincount(self.mask(path).ravel(), minlength=256)[:num_classes] for path in rows["mask"]])

    def known_pairs(self, rows: pd.DataFrame) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Read whole images in the order of the rows: 3×H×W uint8 and H×W uint8, None where a row has no mask."""
        for image, mask in zip(rows["image"], rows["mask"], strict=True):
            yield _to_tensor(self.image(image)), None if pd.isna(mask) else torch.from_numpy(self.mask(mask))


class Batch(NamedTuple):
    """What one training step sees; images are uint8, B×3×H×W."""

    images: Tensor
    """Labelled images, as the student sees them."""
    masks: Tensor
    """Their masks: B×H×W uint8 class ids, 255 where there is nothing to learn."""
    weak: Tensor | None = None
    """Unlabelled images in their weak view; None where a method uses labelled images alone."""
    strong: tuple[Tensor, ...] = ()
    """Strong views of the same crops, each B×3×H×W; without photometric augmentation, the weak view itself."""
    padding: Tensor | None = None
    """B×H×W bool: pixels of the unlabelled crops that no image covers."""
    cutmix: tuple[Tensor, ...] = ()
    """Per strong view, B×H×W bool: the box that each unlabelled image gets from its neighbour; empty without CutMix."""
    images_weak: Tensor | None = None
    """The labelled images in their weak view, where ``images`` are strong views; else None."""

    def to(self, device: torch.device) -> "Batch":
        """Move all tensors."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def parts(self, count: int) -> Iterator["Batch"]:
        """Cut the batch into equal parts, for gradient accumulation."""
        size = len(self.images) // count
        for start in range(0, size * count, size):
            yield self._map(itemgetter(slice(start, start + size)))

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        def changed(value: Any) -> Any:
            if isinstance(value, tuple | list):  # data loaders make lists of tuples
                return tuple(map(change, value))
            return None if value is None else change(value)

        return Batch(*map(changed, self))


class TrainingBatches(Dataset[Batch]):
    """The batch of each step, as a function of the seed, the stream and the step.

    Args:
        reader: reads the images.
        labeled: rows of the manifest.
        unlabeled: rows of the manifest; None for training on labelled images alone.
        augmentation: how crops are drawn and augmented.
        steps: of the training.
        batch_size: labelled images per step; as many unlabelled ones come on top.
        seed: of the run.
        stream: name of the random stream; trainings of one stream see the same crops in the same order.
        strong_views: per unlabelled image, at least 1.

    Raises:
        DataError: there are no labelled or unlabelled images, or the crop is larger than any image ever becomes.
    """

    def __init__(
        self,
        reader: ImageReader,
        labeled: pd.DataFrame,
        unlabeled: pd.DataFrame | None,
        augmentation: AugmentationParameters,
        *,
        steps: int,
        batch_size: int,
        seed: int,
        stream: str,
        strong_views: int = 1,
    ) -> None:
        self.reader, self.augmentation, self.seed, self.stream = reader, augmentation, seed, stream
        self.steps, self.batch_size, self.strong_views = steps, batch_size, strong_views
        self.slots: Sequence[int] = range(batch_size)
        """Places in the batch that are read: others than all where several processes share a step."""
        self.labeled = list(zip(labeled["image"], labeled["mask"], strict=True))
        self.unlabeled = None if unlabeled is None else list(unlabeled["image"])
        check_trainable(labeled, unlabeled, reader.dataset, augmentation, stream)

    def __len__(self) -> int:
        return self.steps

    @property
    def images_per_step(self) -> int:
        """Labelled and unlabelled images of a step."""
        return self.batch_size * (1 if self.unlabeled is None else 2)

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which every unlabelled image was seen, or every labelled one where those alone are."""
        return math.ceil(len(self.unlabeled or self.labeled) / self.batch_size)

    def __getitem__(self, step: int) -> Batch:
        labeled = self._labeled_part(step)
        return labeled if self.unlabeled is None else labeled._replace(**self._unlabeled_part(step, self.unlabeled))

    def _labeled_part(self, step: int) -> Batch:
        is_strong = self.augmentation.strong_labeled
        weak, images, masks = [], [], []
        for slot, index in self._draw(step, "labeled", len(self.labeled)):
            image_path, mask_path = self.labeled[index]
            mask = self.reader.mask(mask_path)
            view, window, rng = self._crop(image_path, "labeled", step, slot, self._class_pixel(mask, step, slot))
            weak.append(_to_tensor(np.array(view)))
            if is_strong:
                images.append(self._strong(view, rng))
            masks.append(torch.from_numpy(crop_mask(mask, window, self.augmentation.crop_size)))
        seen, hidden = (torch.stack(images), torch.stack(weak)) if is_strong else (torch.stack(weak), None)
        return Batch(seen, torch.stack(masks), images_weak=hidden)

    def _unlabeled_part(self, step: int, paths: Sequence[str]) -> dict[str, Any]:
        weak, padding = [], []
        strong: list[list[Tensor]] = [[] for _ in range(self.strong_views)]
        boxes: list[list[Tensor]] = [[] for _ in range(self.strong_views)]
        for slot, index in self._draw(step, "unlabeled", len(paths)):
            view, window, rng = self._crop(paths[index], "unlabeled", step, slot)
            weak.append(_to_tensor(np.array(view)))
            padding.append(torch.from_numpy(padding_mask(window, self.augmentation.crop_size)))
            for number in range(self.strong_views):
                if number:  # each further view has a stream of its own, so that their count changes no other draw
                    rng = generator(self.seed, self.stream, "unlabeled", step, slot, "view", number)
                boxes[number].append(torch.from_numpy(draw_cutmix_box(self.augmentation, rng)))
                if self.augmentation.strong_unlabeled:
                    strong[number].append(self._strong(view, rng))
        stacked = torch.stack(weak)
        return {
            "weak": stacked,
            "strong": tuple(torch.stack(views) if views else stacked for views in strong),
            "padding": torch.stack(padding),
            "cutmix": tuple(map(torch.stack, boxes)) if self.augmentation.cutmix_probability > 0 else (),
        }

    def _class_pixel(self, mask: np.ndarray, step: int, slot: int) -> tuple[int, int] | None:
        """Draw the pixel that a labelled crop must contain, if any: by a generator of its own, for the others' sake."""
        if self.augmentation.class_crop_probability == 0:
            return None
        rng = generator(self.seed, self.stream, "class crop", step, slot)
        return draw_class_pixel(mask, rng) if rng.random() < self.augmentation.class_crop_probability else None

    def _crop(
        self, path: str, part: str, step: int, slot: int, pixel: tuple[int, int] | None = None
    ) -> tuple[Image.Image, CropWindow, np.random.Generator]:
        """Give the weak view of a slot's image, its window, and the generator for further draws."""
        rng = generator(self.seed, self.stream, part, step, slot)
        image = self.reader.image(path)
        window = draw_window(image.shape[1], image.shape[0], self.augmentation, rng, pixel)
        return crop_image(image, window, self.augmentation.crop_size), window, rng

    def _strong(self, view: Image.Image, rng: np.random.Generator) -> Tensor:
        strong = self.augmentation.strong
        if strong.random_operations:
            return _to_tensor(np.array(random_operations(view, strong.random_operations, rng)))
        return _to_tensor(np.array(strong_view(view, strong, rng)))

    def _draw(self, step: int, name: str, count: int) -> Iterator[tuple[int, int]]:
        """Give the step's slots and the images in them: each image once per epoch, in an order new each epoch."""
        for slot in self.slots:
            epoch, position = divmod(step * self.batch_size + slot, count)
            yield slot, int(_permutation(self.seed, self.stream, name, epoch, count)[position])

    def read(self, start: int, workers: int, pin_memory: bool) -> Generator[Batch, None, None]:
        """Read the batches from step ``start`` on, by so many processes beside this one (0: by this one).

        Raises:
            DataError: an image or mask cannot be read.
        """
        loader = DataLoader(
            _WithErrors(self),
            batch_size=None,
            sampler=range(start, len(self)),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=pin_memory,
            worker_init_fn=_obey_the_training,
        )
        for batch in loader:
            if isinstance(batch, DataError):
                raise batch
            yield batch


class _WithErrors(Dataset[Batch | DataError]):
    """Gives errors in place of batches: torch would put a worker's traceback into the message of one that is raised."""

    def __init__(self, batches: TrainingBatches) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, step: int) -> Batch | DataError:
        try:
            return self._batches[step]
        except DataError as error:
            return error


@lru_cache(maxsize=4)
def _permutation(seed: int, stream: str, name: str, epoch: int, count: int) -> np.ndarray:
    return generator(seed, stream, name, "order", epoch).permutation(count)


def _obey_the_training(_: int) -> None:
    obey_only(os.getppid())


def _to_tensor(image: np.ndarray) -> Tensor:
    """Turn H×W×3 into 3×H×W."""
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()
