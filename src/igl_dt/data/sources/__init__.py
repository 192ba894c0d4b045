"""Where pictures come from: one file per layout, each with one function ``list_pictures(root, options)``."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from igl_dt.data.sources import camvid, shapes
from igl_dt.data.sources.listing import DataError, Listing, Picture

SOURCES: dict[str, Callable[[Path, Mapping[str, Any]], Listing]] = {
    "camvid": camvid.list_pictures,
    "shapes": shapes.list_pictures,
}

__all__ = ["SOURCES", "DataError", "Listing", "Picture"]
