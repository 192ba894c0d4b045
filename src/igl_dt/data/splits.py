"""Labelled and unlabelled images, by a fraction or by lists; the same on every machine for the same seed."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from igl_dt.data.datasets import DataError
from igl_dt.data.datasets.base import show
from igl_dt.data.image_io import reading_size
from igl_dt.data.lists import IdList, hash_ids, read_list, recognize
from igl_dt.data.parameters import AugmentationParameters, DatasetParameters, SplittingParameters
from igl_dt.utils.parameters import IGNORE_INDEX

logger = logging.getLogger(__name__)


class Splits(NamedTuple):
    """Rows of the manifest, by use; each sorted by id."""

    labeled: pd.DataFrame
    unlabeled: pd.DataFrame
    """Without masks, so that no training can see the ground truth."""
    val: pd.DataFrame
    test: pd.DataFrame
    summary: dict[str, Any]
    """Counts, pixels per class, classes without labels, and the sha256 and origin of each list."""


def split_labels(
    manifest: pd.DataFrame, class_pixels: pd.DataFrame, parameters: SplittingParameters, seed: int
) -> Splits:
    """Split the training images into labelled and unlabelled ones.

    Args:
        manifest: the table of ``igl_dt.data.manifest``.
        class_pixels: pixels of each class in each image with a mask.
        parameters: a fraction, or lists.
        seed: of the run; decides which images a fraction draws, unless ``parameters.seed`` is given.

    Classes that occur in no labelled image, and labelled images without a labelled pixel, are logged as warnings.

    Raises:
        DataError: the fraction gives no image; a list cannot be read or matched (see ``igl_dt.data.lists``), or has a
            labelled image without a mask; the lists overlap; or the labelled images, or those of val or test, have no
            labelled pixel.
    """
    seed = seed if parameters.seed is None else parameters.seed
    lists: dict[str, IdList] = {}
    if parameters.labeled_list is not None:
        lists["labeled"] = read_list(Path(parameters.labeled_list), manifest)
    if parameters.unlabeled_list is not None:
        lists["unlabeled"] = read_list(Path(parameters.unlabeled_list), manifest)
    train = manifest[manifest["split"] == "train"].sort_values("id")
    if "labeled" in lists:
        is_labeled = train["id"].isin(lists["labeled"].ids)
    else:
        assert parameters.labeled_fraction is not None
        drawn = _draw(train.loc[train["mask"].notna(), "id"], class_pixels, parameters.labeled_fraction, seed)
        is_labeled = train["id"].isin(drawn)
    if without := train.loc[is_labeled & train["mask"].isna(), "id"].tolist():
        raise DataError(f"{len(without)} labelled images have no mask: {show(without)}")
    is_unlabeled = train["id"].isin(lists["unlabeled"].ids) if "unlabeled" in lists else ~is_labeled
    if both := train.loc[is_labeled & is_unlabeled, "id"].tolist():
        raise DataError(
            f"{len(both)} ids are in both {parameters.labeled_list} and {parameters.unlabeled_list}: {show(both)}"
        )

    parts = {
        "labeled": train[is_labeled],
        "unlabeled": train[is_unlabeled].assign(mask=None),
        "val": manifest[manifest["split"] == "val"].sort_values("id"),
        "test": manifest[manifest["split"] == "test"].sort_values("id"),
    }
    parts = {name: part.reset_index(drop=True) for name, part in parts.items()}
    summary = _summarize(parts, class_pixels, lists)
    _check_pixels(parts, class_pixels)
    if unseen := summary["classes_without_labels"]:
        logger.warning(
            "%d of %d classes occur in no labelled image, so they cannot be learned: %s",
            len(unseen),
            len(class_pixels.columns),
            ", ".join(unseen),
        )
    return Splits(**parts, summary=summary)


def _check_pixels(parts: Mapping[str, pd.DataFrame], class_pixels: pd.DataFrame) -> None:
    has_pixels = class_pixels.any(axis=1)
    for name, kind in (("labeled", "labelled"), ("val", "val"), ("test", "test")):
        ids = parts[name]["id"].tolist()
        empty = [id_ for id_, has in zip(ids, has_pixels.loc[ids], strict=True) if not has]
        if ids and len(empty) == len(ids):
            raise DataError(
                f"no labelled pixel: in the masks of all {len(ids)} {kind} images, every pixel is ignored "
                f"({IGNORE_INDEX}); check the masks of {show(ids)}"
            )
        if empty:
            logger.warning("%d %s images have no labelled pixel: %s", len(empty), kind, show(empty))


def choose_pseudo_label_probe(manifest: pd.DataFrame, unlabeled: pd.DataFrame, count: int) -> pd.DataFrame:
    """Choose unlabelled images on which pseudo-labels are evaluated, the same for all seeds.

    Args:
        manifest: the table of ``igl_dt.data.manifest``.
        unlabeled: rows of it.
        count: maximum number of images.

    Returns:
        Rows of the manifest, sorted by id, with their masks: the hidden ground truth, which no training may see.
        Images without a mask on disk are only chosen if no unlabelled image has one.
    """
    rows = manifest[manifest["id"].isin(unlabeled["id"])]
    known = rows[rows["mask"].notna()]
    rows = rows if known.empty else known
    chosen = sorted(rows["id"], key=lambda id_: hashlib.sha256(id_.encode()).digest())[:count]
    return rows[rows["id"].isin(chosen)].sort_values("id").reset_index(drop=True)


def check_trainable(
    labeled: pd.DataFrame,
    unlabeled: pd.DataFrame | None,
    dataset: DatasetParameters,
    augmentation: AugmentationParameters,
    stage: str,
) -> None:
    """Check that a training is possible on these images.

    Args:
        labeled: rows of the manifest.
        unlabeled: rows of the manifest; None if the training needs none.
        dataset: decides the size at which images are read.
        augmentation: of the training.
        stage: key of the training's parameters, for messages.

    Raises:
        DataError: there are no labelled or unlabelled images, or the crop exceeds the largest scaled image.
    """
    if labeled.empty:
        raise DataError(f"{stage}: there are no labelled images")
    if unlabeled is not None and unlabeled.empty:
        raise DataError(
            f"{stage}: there are no unlabelled images: set splitting.labeled_fraction below 1, or shorten "
            "splitting.labeled_list"
        )
    sizes = {
        reading_size(*size, dataset) for size in zip(labeled["width"].tolist(), labeled["height"].tolist(), strict=True)
    }
    height, width = max(size[0] for size in sizes), max(size[1] for size in sizes)
    largest = augmentation.scale[1]
    crop_height, crop_width = augmentation.crop_size
    if crop_height > height * largest or crop_width > width * largest:
        raise DataError(
            f"{stage}.augmentation.crop_size is {crop_height}×{crop_width} (height×width), but the labelled images "
            f"are at most {height}×{width}, scaled by at most {largest}: "
            f"give at most {int(height * largest)}×{int(width * largest)}"
        )


def _draw(ids: pd.Series, class_pixels: pd.DataFrame, fraction: float, seed: int) -> list[str]:
    """Draw ids in the order of their hash, beginning with those that add the most unseen classes (greedy cover)."""
    count = round(fraction * len(ids))
    if count == 0:
        least = f"at least {1 / len(ids):.2g} is needed" if len(ids) else "masks are needed in train"
        raise DataError(
            f"splitting.labeled_fraction {fraction} of {len(ids)} training images with a mask gives no labelled "
            f"image: {least}"
        )
    order = sorted(ids, key=lambda id_: hashlib.sha256(f"{seed}/{id_}".encode()).digest())
    occurs = (class_pixels > 0).loc[order].to_numpy()
    missing = occurs.any(axis=0)
    chosen: list[int] = []
    while missing.any() and len(chosen) < count:
        best = int(np.argmax(occurs[:, missing].sum(axis=1)))
        chosen.append(best)
        missing &= ~occurs[best]
    taken = set(chosen)
    rest = (index for index in range(len(order)) if index not in taken)
    chosen += [index for _, index in zip(range(count - len(chosen)), rest, strict=False)]
    return [order[index] for index in chosen]


def _summarize(
    parts: Mapping[str, pd.DataFrame], class_pixels: pd.DataFrame, lists: Mapping[str, IdList]
) -> dict[str, Any]:
    pixels = {name: _count_pixels(parts[name]["id"], class_pixels) for name in ("labeled", "val", "test")}
    return {
        "images": {name: len(part) for name, part in parts.items()},
        "pixels_per_class": pixels,
        "classes_without_labels": [name for name, count in pixels["labeled"].items() if count == 0],
        "sha256": {name: hash_ids(part["id"]) for name, part in parts.items()},
        "lists": {name: _identify(part["id"], lists.get(name)) for name, part in parts.items()},
    }


def _count_pixels(ids: pd.Series, class_pixels: pd.DataFrame) -> dict[str, int]:
    counted = class_pixels.index.isin(ids)  # column by column, as a second table of a million images takes much memory
    return {str(name): int(column.to_numpy()[counted].sum()) for name, column in class_pixels.items()}


def _identify(ids: pd.Series, given: IdList | None) -> dict[str, Any]:
    published, others = recognize(ids)
    return {
        "format": given.format if given else None,
        "file_sha256": given.file_sha256 if given else None,
        "published": published,
        "not_comparable_with": others,
    }
