"""Nodes of ``data_splitting``."""

from pathlib import Path
from typing import Any

import pandas as pd

from igl_dt.data import manifest, splits
from igl_dt.parameters import DatasetParameters, SplittingParameters


def read_manifest(
    dataset: DatasetParameters, checked_files: str | None
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """List the data set's pictures, and check every file of it."""
    memory = None if checked_files is None else Path(checked_files)
    pictures, class_pixels, class_names = manifest.read_manifest(dataset, memory)
    return pictures, class_pixels.reset_index(), list(class_names)


def split_labels(
    pictures: pd.DataFrame, class_pixels: pd.DataFrame, splitting: SplittingParameters, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Say which training pictures keep their masks."""
    return splits.split_labels(pictures, class_pixels.set_index("id"), splitting, seed)
