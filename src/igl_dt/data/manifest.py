"""The manifest: the table that says which pictures there are, checked before anything is trained.

Columns: ``id``, ``split`` (train, val or test), ``image`` and ``mask`` (paths relative to the data set's root; no
mask: empty), ``width``, ``height`` (pixels on disk) and ``sha256`` (of the image file's bytes followed by the mask
file's). Everything downstream reads from this table and from nothing else.
"""

import difflib
import hashlib
import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from igl_dt.data.pictures import decode_image, decode_mask, read_bytes
from igl_dt.data.sources import SOURCES, DataError, MaskFormat, Picture, mask_format
from igl_dt.data.sources.listing import fold, locate, show
from igl_dt.parameters import IGNORE_INDEX, DatasetParameters

logger = logging.getLogger(__name__)

COLUMNS = ("id", "split", "image", "mask", "width", "height", "sha256")
UNTOLD = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Characters that no table or list can hold: line breaks and their like, and bytes of a name that are no UTF-8."""


class Manifest(NamedTuple):
    """A data set that was checked."""

    pictures: pd.DataFrame
    """The table described above, sorted by split and id."""
    class_pixels: pd.DataFrame
    """Pixels of each class (columns) in each picture with a mask (index: its id)."""
    class_names: tuple[str, ...]


def read_manifest(parameters: DatasetParameters) -> Manifest:
    """List a data set, open every file of it, and check that pictures and masks belong together.

    Raises:
        DataError: unknown source; no training or validation pictures; an id that is there twice, or cannot be told from
            another or written to a table; a file that does not open, or lies outside the root; a mask of another size
            than its picture, or with an id that is neither a class nor 255. All problems of the files are in one error.
    """
    if parameters.source not in SOURCES:
        nearest = difflib.get_close_matches(parameters.source, SOURCES, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise DataError(f"unknown dataset.source {parameters.source!r}: there are {', '.join(sorted(SOURCES))}{hint}")
    root = Path(parameters.root)
    listing = SOURCES[parameters.source](root, parameters.options)
    if listing.mask_format != mask_format(parameters):  # with which the masks will be read
        raise AssertionError(f"igl_dt.data.sources.MASK_FORMATS does not know the masks of {parameters.source}")
    _check_ids(listing.pictures)
    pictures = sorted(listing.pictures, key=lambda picture: (picture.split, picture.id))
    with ThreadPoolExecutor() as pool:
        check = partial(_check_files, root, listing.mask_format, len(listing.class_names))
        checks = list(pool.map(check, pictures))
    problems = [check for check in checks if isinstance(check, str)]
    if problems:
        raise DataError(
            f"{len(problems)} of {len(pictures)} pictures in {root} cannot be used; repair or remove them:\n"
            + show(problems, "\n")
        )
    checked = [(picture, check) for picture, check in zip(pictures, checks, strict=True) if not isinstance(check, str)]
    rows = [(p.id, p.split, p.image, p.mask, check.width, check.height, check.sha256) for p, check in checked]
    pixels = {picture.id: check.class_pixels for picture, check in checked if check.class_pixels is not None}
    if empty := [id_ for id_, counts in pixels.items() if not counts.any()]:
        logger.warning("%d pictures have masks in which every pixel is ignored: %s", len(empty), show(empty))
    return Manifest(
        pd.DataFrame(rows, columns=list(COLUMNS)),
        pd.DataFrame.from_dict(pixels, orient="index", columns=list(listing.class_names)).rename_axis("id"),
        listing.class_names,
    )


def _check_ids(pictures: Sequence[Picture]) -> None:
    known: dict[str, Picture] = {}
    files: dict[str, str] = {}
    for picture in pictures:
        for name in (picture.id, picture.image, picture.mask or ""):
            if UNTOLD.search(name):
                raise DataError(f"{name!r} has a character that no table or list can hold: rename the file")
        if picture.id != picture.id.strip():
            raise DataError(f"the id {picture.id!r} begins or ends with a blank, which lists cannot: rename the file")
        other = known.setdefault(fold(picture.id), picture)
        if other.id != picture.id:
            raise DataError(
                f"the ids {other.id!r} and {picture.id!r} differ only by case, or in how accents are coded: rename "
                "one, for some file systems take them for the same"
            )
        if other is not picture:
            raise DataError(
                f"the id {picture.id!r} is in {other.split} and again in {picture.split}: ids must be unique"
            )
        if (first := files.setdefault(picture.image, picture.id)) != picture.id:
            raise DataError(f"{picture.image} is listed as {first!r} and again as {picture.id!r}: one file, one id")
    for needed in ("train", "val"):
        if needed not in {picture.split for picture in pictures}:
            raise DataError(f"the data set has no {needed} pictures")


class _Checked(NamedTuple):
    width: int
    height: int
    sha256: str
    class_pixels: np.ndarray | None


def _check_files(root: Path, masks: MaskFormat, num_classes: int, picture: Picture) -> _Checked | str:
    """Give what the manifest says of the picture, or what is wrong with it."""
    class_pixels = None
    digest = hashlib.sha256()
    try:
        image_path = locate(root, picture.image)
        content = read_bytes(image_path)
        digest.update(content)
        image = decode_image(content, image_path)
        height, width = image.shape[:2]
        if picture.mask is not None:
            mask_path = locate(root, picture.mask)
            content = read_bytes(mask_path)
            digest.update(content)
            mask = decode_mask(content, mask_path, masks)
            if mask.shape != (height, width):
                return f"{mask_path} is {mask.shape[1]}×{mask.shape[0]} and its picture {width}×{height} (width×height)"
            pixels = np.bincount(mask.ravel(), minlength=256)
            wrong = [id_ for id_ in np.flatnonzero(pixels).tolist() if id_ >= num_classes and id_ != IGNORE_INDEX]
            if wrong:
                known = f"0 to {num_classes - 1}, or {IGNORE_INDEX} to be ignored"
                return f"{mask_path} has the ids {wrong}: they must be {known}"
            class_pixels = pixels[:num_classes]
    except DataError as error:
        return str(error)
    return _Checked(width, height, digest.hexdigest(), class_pixels)
