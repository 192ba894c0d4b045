"""Where pictures come from: one file per layout, each with one function ``list_pictures(root, options)``."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from igl_dt.data.sources import camvid, cityscapes, pascal, shapes
from igl_dt.data.sources.listing import DataError, Listing, Picture

SOURCES: dict[str, Callable[[Path, Mapping[str, Any]], Listing]] = {
    "camvid": camvid.list_pictures,
    "cityscapes": cityscapes.list_pictures,
    "pascal": pascal.list_pictures,
    "shapes": shapes.list_pictures,
}
SELF_MADE = frozenset({"shapes"})
"""Sources that draw their pictures themselves, into ``dataset.root``."""

__all__ = ["SELF_MADE", "SOURCES", "DataError", "Listing", "Picture"]
