"""Where images come from: one file per layout, each with one function ``list_samples(root, options)``.

A layout whose masks hold something else than class ids has a function ``mask_format(options)`` beside it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from igl_dt.data.datasets import camvid, cityscapes, folder, pascal, shapes
from igl_dt.data.datasets.listing import DataError, Listing, MaskFormat, Sample
from igl_dt.data.parameters import DatasetParameters

SOURCES: dict[str, Callable[[Path, Mapping[str, Any]], Listing]] = {
    "camvid": camvid.list_samples,
    "cityscapes": cityscapes.list_samples,
    "folder": folder.list_samples,
    "pascal": pascal.list_samples,
    "shapes": shapes.list_samples,
}
MASK_FORMATS: dict[str, Callable[[Mapping[str, Any]], MaskFormat]] = {
    "cityscapes": cityscapes.mask_format,
    "folder": folder.mask_format,
}
SELF_MADE = frozenset({"shapes"})
"""Sources that draw their images themselves, into ``dataset.root``."""


def mask_format(dataset: DatasetParameters) -> MaskFormat:
    """Say how a data set's masks are read, without a look at its files."""
    of_source = MASK_FORMATS.get(dataset.source)
    return MaskFormat() if of_source is None else of_source(dataset.options)


__all__ = ["MASK_FORMATS", "SELF_MADE", "SOURCES", "DataError", "Listing", "MaskFormat", "Sample", "mask_format"]
