"""Labelled and unlabelled pictures: by a fraction, or by lists; the same on every machine for the same seed."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from igl_dt.data.sources import DataError
from igl_dt.data.sources.listing import read_ids, show
from igl_dt.parameters import AugmentationParameters, Size, SplittingParameters


class Splits(NamedTuple):
    """Rows of the manifest, by use; each sorted by id."""

    labeled: pd.DataFrame
    unlabeled: pd.DataFrame
    """Without masks, so that nothing that trains on it can see the truth."""
    val: pd.DataFrame
    test: pd.DataFrame
    summary: dict[str, Any]
    """Counts, pixels per class, classes without a label, and the sha256 of each list's ids."""


def split_labels(
    manifest: pd.DataFrame, class_pixels: pd.DataFrame, parameters: SplittingParameters, seed: int
) -> Splits:
    """Say which training pictures keep their masks.

    Args:
        manifest: the table of ``igl_dt.data.manifest``.
        class_pixels: pixels of each class in each picture with a mask.
        parameters: a fraction, or lists.
        seed: decides which pictures a fraction takes.

    Raises:
        DataError: the fraction gives no picture; a list names an unknown id, or one without a mask, or one twice; the
            lists overlap.
    """
    train = manifest[manifest["split"] == "train"].sort_values("id")
    if parameters.labeled_list is not None:
        labeled_ids = read_ids(Path(parameters.labeled_list), set(train["id"]), "training pictures")
    else:
        assert parameters.labeled_fraction is not None
        labeled_ids = _draw(train.loc[train["mask"].notna(), "id"], class_pixels, parameters.labeled_fraction, seed)
    if without := train.loc[train["id"].isin(labeled_ids) & train["mask"].isna(), "id"].tolist():
        raise DataError(f"{len(without)} labelled pictures have no mask: {show(without)}")
    if parameters.unlabeled_list is not None:
        unlabeled_ids = read_ids(Path(parameters.unlabeled_list), set(train["id"]), "training pictures")
        if both := sorted(set(labeled_ids) & set(unlabeled_ids)):
            raise DataError(
                f"{len(both)} ids are in both {parameters.labeled_list} and {parameters.unlabeled_list}: {show(both)}"
            )
    else:
        unlabeled_ids = train.loc[~train["id"].isin(labeled_ids), "id"].tolist()

    parts = {
        "labeled": train[train["id"].isin(labeled_ids)],
        "unlabeled": train[train["id"].isin(unlabeled_ids)].assign(mask=None),
        "val": manifest[manifest["split"] == "val"].sort_values("id"),
        "test": manifest[manifest["split"] == "test"].sort_values("id"),
    }
    parts = {name: part.reset_index(drop=True) for name, part in parts.items()}
    return Splits(**parts, summary=_summarize(parts, class_pixels))


def check_trainable(
    labeled: pd.DataFrame,
    unlabeled: pd.DataFrame | None,
    image_size: Size | None,
    augmentation: AugmentationParameters,
    stage: str,
) -> None:
    """Check that a stage can be trained on these pictures.

    Args:
        labeled: rows of the manifest.
        unlabeled: rows of the manifest; None where the stage needs none.
        image_size: (height, width) at which pictures are read; None: as they are on disk.
        augmentation: of the stage.
        stage: its name, for messages.

    Raises:
        DataError: there are no labelled or unlabelled pictures, or the crop is larger than any picture ever becomes.
    """
    if labeled.empty:
        raise DataError(f"{stage}: there are no labelled pictures")
    if unlabeled is not None and unlabeled.empty:
        raise DataError(f"{stage}: there are no unlabelled pictures; label fewer: splitting.labeled_fraction below 1")
    height, width = image_size or (int(labeled["height"].max()), int(labeled["width"].max()))
    largest = augmentation.scale[1]
    crop_height, crop_width = augmentation.crop_size
    if crop_height > height * largest or crop_width > width * largest:
        raise DataError(
            f"{stage}.augmentation.crop_size is {crop_height}×{crop_width} (height×width), but the labelled pictures "
            f"are at most {height}×{width}, scaled by at most {largest}: "
            f"give at most {int(height * largest)}×{int(width * largest)}"
        )


def _draw(ids: pd.Series, class_pixels: pd.DataFrame, fraction: float, seed: int) -> list[str]:
    """Draw ids in the order of their hash; first those that bring the most classes not yet seen (greedy cover)."""
    count = round(fraction * len(ids))
    if count == 0:
        needed = f"at least {1 / len(ids):.2g}" if len(ids) else "training pictures with masks"
        raise DataError(
            f"splitting.labeled_fraction {fraction} of {len(ids)} training pictures with a mask gives no labelled "
            f"picture: it takes {needed}"
        )
    order = sorted(ids, key=lambda id_: hashlib.sha256(f"{seed}/{id_}".encode()).digest())
    occurs = class_pixels.loc[order].to_numpy() > 0
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


def _summarize(parts: dict[str, pd.DataFrame], class_pixels: pd.DataFrame) -> dict[str, Any]:
    pixels = {
        name: class_pixels.reindex(parts[name]["id"]).sum().astype(int).to_dict() for name in ("labeled", "val", "test")
    }
    return {
        "pictures": {name: len(part) for name, part in parts.items()},
        "pixels_per_class": pixels,
        "classes_without_labels": [name for name, count in pixels["labeled"].items() if count == 0],
        "sha256": {name: _hash_ids(part["id"].tolist()) for name, part in parts.items()},
    }


def _hash_ids(ids: Sequence[str]) -> str:
    return hashlib.sha256("".join(f"{id_}\n" for id_ in ids).encode()).hexdigest()
