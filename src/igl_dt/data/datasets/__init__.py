"""Where pictures come from: one file per layout, each with one function ``list_pictures(root, options)``.

A layout whose masks hold something else than class ids has a function ``mask_format(options)`` beside it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from igl_dt.data.datasets import camvid, cityscapes, folder, pascal, shapes
from igl_dt.data.datasets.listing import DataError, Listing, MaskFormat, Picture
from igl_dt.parameters import DatasetParameters

SOURCES: dict[str, Callable[[Path, Mapping[str, Any]], Listing]] = {
    "camvid": camvid.list_pictures,
    "cityscapes": cityscapes.list_pictures,
    "folder": folder.list_pictures,
    "pascal": pascal.list_pictures,
    "shapes": shapes.list_pictures,
}
MASK_FORMATS: dict[str, Callable[[Mapping[str, Any]], MaskFormat]] = {
    "cityscapes": cityscapes.mask_format,
    "folder": folder.mask_format,
}
SELF_MADE = frozenset({"shapes"})
"""Sources that draw their pictures themselves, into ``dataset.root``."""


def mask_format(dataset: DatasetParameters) -> MaskFormat:
    """Say how a data set's masks are read, without a look at its files."""
    of_source = MASK_FORMATS.get(dataset.source)
    return MaskFormat() if of_source is None else of_source(dataset.options)


__all__ = ["MASK_FORMATS", "SELF_MADE", "SOURCES", "DataError", "Listing", "MaskFormat", "Picture", "mask_format"]
