"""Nodes of ``data_splitting``."""

from pathlib import Path
from typing import Any

import pandas as pd

from igl_dt.data import manifest, splits
from igl_dt.data.parameters import DatasetParameters, SplittingParameters


def read_manifest(
    dataset: DatasetParameters, checked_files: str | None
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """List the data set's images, and check every file of it."""
    memory = None if checked_files is None else Path(checked_files)
    images, class_pixels, class_names = manifest.read_manifest(dataset, memory)
    return images, class_pixels.reset_index(), list(class_names)


def split_labels(
    images: pd.DataFrame, class_pixels: pd.DataFrame, splitting: SplittingParameters, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Say which training images keep their masks."""
    return splits.split_labels(images, class_pixels.set_index("id"), splitting, seed)
