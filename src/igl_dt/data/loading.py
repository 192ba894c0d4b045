"""From a manifest to tensors: one image at its reading size, and the batch of one training step."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from igl_dt.data.datasets import mask_format
from igl_dt.data.datasets.base import locate
from igl_dt.data.image_io import read_image, read_mask
from igl_dt.data.parameters import DatasetParameters
from igl_dt.data.splits import check_trainable
from igl_dt.data.transforms import (
    crop_image,
    crop_mask,
    draw_cutmix_box,
    draw_window,
    padding_mask,
    strong_view,
)
from igl_dt.training.parameters import StageParameters
from igl_dt.utils.seeding import generator


def by_size(rows: pd.DataFrame) -> pd.DataFrame:
    """Put those of one size one after the other: the order of ``ImageReader.pairs``."""
    return rows.sort_values(["height", "width", "id"])


class ImageReader:
    """Reads the images and masks of a manifest at their reading size, and keeps them while memory allows."""

    def __init__(self, dataset: DatasetParameters, cache_mib: int = 0) -> None:
        self.root = Path(dataset.root)
        self.image_size = dataset.image_size
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
        array = read_mask(file, self._mask_format) if is_mask else read_image(file)
        if self.image_size is not None and array.shape[:2] != self.image_size:
            height, width = self.image_size
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

    def known_pairs(self, rows: pd.DataFrame) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Read whole images like ``pairs``; None in the mask's place where a row has none."""
        for image, mask in zip(rows["image"], rows["mask"], strict=True):
            yield _to_tensor(self.image(image)), None if pd.isna(mask) else torch.from_numpy(self.mask(mask))


class Batch(NamedTuple):
    """What one training step sees; images are uint8, B×3×H×W."""

    images: Tensor
    """Labelled images."""
    masks: Tensor
    """Their masks: B×H×W uint8 class ids, 255 where there is nothing to learn."""
    weak: Tensor | None = None
    """Unlabelled images in their weak view; None where a method is trained on labels alone."""
    strong: Tensor | None = None
    """The same crops with photometric augmentation; None where the stage asks for none."""
    padding: Tensor | None = None
    """B×H×W bool: pixels of the unlabelled crops that no image covers."""
    cutmix: Tensor | None = None
    """B×H×W bool: the box that each unlabelled image gets from its neighbour; None where CutMix is off."""

    def to(self, device: torch.device) -> "Batch":
        """Move all tensors."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def parts(self, count: int) -> Iterator["Batch"]:
        """Cut the batch into equal parts, for gradient accumulation."""
        size = len(self.images) // count
        for start in range(0, size * count, size):
            yield self._map(itemgetter(slice(start, start + size)))

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        images, masks, *others = self
        return Batch(change(images), change(masks), *(None if tensor is None else change(tensor) for tensor in others))


class TrainingBatches(Dataset[Batch]):
    """The batch of each step, as a function of the seed, the stage and the step.

    Args:
        reader: reads the images.
        labeled: rows of the manifest.
        unlabeled: rows of the manifest; None for training on labels alone.
        parameters: batch size, augmentation and number of steps.
        seed: of the run.
        stage: its name; stages of one name see the same crops in the same order.

    Raises:
        DataError: there are no labelled or unlabelled images, or the crop is larger than any image ever becomes.
    """

    def __init__(
        self,
        reader: ImageReader,
        labeled: pd.DataFrame,
        unlabeled: pd.DataFrame | None,
        parameters: StageParameters,
        seed: int,
        stage: str,
    ) -> None:
        self.reader, self.parameters, self.seed, self.stage = reader, parameters, seed, stage
        self.labeled = list(zip(labeled["image"], labeled["mask"], strict=True))
        self.unlabeled = None if unlabeled is None else list(unlabeled["image"])
        check_trainable(labeled, unlabeled, reader.image_size, parameters.augmentation, stage)

    def __len__(self) -> int:
        return self.parameters.steps

    def __getitem__(self, step: int) -> Batch:
        augmentation = self.parameters.augmentation
        labeled = []
        for slot, index in self._draw(step, "labeled", len(self.labeled)):
            rng = generator(self.seed, self.stage, "labeled", step, slot)
            image_path, mask_path = self.labeled[index]
            image = self.reader.image(image_path)
            window = draw_window(image.shape[1], image.shape[0], augmentation, rng)
            view = crop_image(image, window, augmentation.crop_size)
            if augmentation.strong_labeled:
                view = strong_view(view, augmentation.strong, rng)
            mask = crop_mask(self.reader.mask(mask_path), window, augmentation.crop_size)
            labeled.append((_to_tensor(np.array(view)), torch.from_numpy(mask)))
        images, masks = (torch.stack(tensors) for tensors in zip(*labeled, strict=True))
        if self.unlabeled is None:
            return Batch(images, masks)

        weak, strong, padding, boxes = [], [], [], []
        for slot, index in self._draw(step, "unlabeled", len(self.unlabeled)):
            rng = generator(self.seed, self.stage, "unlabeled", step, slot)
            image = self.reader.image(self.unlabeled[index])
            window = draw_window(image.shape[1], image.shape[0], augmentation, rng)
            view = crop_image(image, window, augmentation.crop_size)
            weak.append(_to_tensor(np.array(view)))
            padding.append(torch.from_numpy(padding_mask(window, augmentation.crop_size)))
            boxes.append(torch.from_numpy(draw_cutmix_box(augmentation, rng)))
            if augmentation.strong_unlabeled:
                strong.append(_to_tensor(np.array(strong_view(view, augmentation.strong, rng))))
        return Batch(
            images,
            masks,
            torch.stack(weak),
            torch.stack(strong) if strong else None,
            torch.stack(padding),
            torch.stack(boxes) if augmentation.cutmix_probability > 0 else None,
        )

    def _draw(self, step: int, name: str, count: int) -> Iterator[tuple[int, int]]:
        """Give the step's slots and the images in them: each image once per epoch, in an order new each epoch."""
        for slot in range(self.parameters.batch_size):
            epoch, position = divmod(step * self.parameters.batch_size + slot, count)
            yield slot, int(_permutation(self.seed, self.stage, name, epoch, count)[position])

    def loader(self, start: int, workers: int, pin_memory: bool) -> DataLoader[Batch]:
        """Give the batches from step ``start`` on, read by so many processes beside this one (0: by this one)."""
        return DataLoader(
            self,
            batch_size=None,
            sampler=range(start, len(self)),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=pin_memory,
        )


@lru_cache(maxsize=4)
def _permutation(seed: int, stage: str, name: str, epoch: int, count: int) -> np.ndarray:
    return generator(seed, stage, name, "order", epoch).permutation(count)


def _to_tensor(image: np.ndarray) -> Tensor:
    """Turn H×W×3 into 3×H×W."""
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()
