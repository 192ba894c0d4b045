"""The data sets: one file each, with a subclass of ``SegmentationDataset``, found by its ``name``."""

import sys
from pathlib import Path

from igl_dt.data.datasets.base import DataError, Listing, MaskFormat, Sample, SegmentationDataset
from igl_dt.data.parameters import DatasetParameters
from igl_dt.utils.parameters import Parameters, did_you_mean
from igl_dt.utils.registry import find_classes


def find_dataset(name: str) -> type[SegmentationDataset[Parameters]]:
    """Return the class of a data set.

    Args:
        name: as in ``dataset.source``.

    Raises:
        DataError: there is none of this name.
    """
    known = find_classes(sys.modules[__name__], SegmentationDataset)  # type: ignore[type-abstract]
    if name not in known:
        raise DataError(f"unknown dataset.source {name!r}{did_you_mean(name, known)}")
    return known[name]


def open_dataset(parameters: DatasetParameters) -> SegmentationDataset[Parameters]:
    """Return the data set that the parameters select; its files are not read.

    Raises:
        DataError: the source, or one of its options, is unknown or invalid.
    """
    return find_dataset(parameters.source)(Path(parameters.root), parameters.options)


def mask_format(parameters: DatasetParameters) -> MaskFormat:
    """Return how a data set's masks encode classes, without reading any file.

    Raises:
        DataError: the source, or one of its options, is unknown or invalid.
    """
    return open_dataset(parameters).mask_format()


__all__ = [
    "DataError",
    "Listing",
    "MaskFormat",
    "Sample",
    "SegmentationDataset",
    "find_dataset",
    "mask_format",
    "open_dataset",
]
