"""The manifest: the table that says which pictures there are, checked before anything is trained.

Columns: ``id``, ``split`` (train, val or test), ``image`` and ``mask`` (paths relative to the data set's root; no
mask: empty), ``width``, ``height`` (pixels on disk) and ``sha256`` (of the image file's bytes followed by the mask
file's). Everything downstream reads from this table and from nothing else.
"""

import difflib
import hashlib
import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from igl_dt.data.sources import SOURCES, DataError, Picture
from igl_dt.parameters import IGNORE_INDEX, DatasetParameters

COLUMNS = ("id", "split", "image", "mask", "width", "height", "sha256")
SHOWN = 5
"""Offenders named in an error; the rest are counted."""


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
        DataError: unknown source; no training or validation pictures; an id that is there twice; a file that does not
            open; a mask of another size than its picture, or with an id that is neither a class nor 255. All problems
            of the files are in one error.
    """
    if parameters.source not in SOURCES:
        nearest = difflib.get_close_matches(parameters.source, SOURCES, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise DataError(f"unknown dataset.source {parameters.source!r}: there are {', '.join(sorted(SOURCES))}{hint}")
    root = Path(parameters.root)
    listing = SOURCES[parameters.source](root, parameters.options)
    _check_ids(listing.pictures)
    pictures = sorted(listing.pictures, key=lambda picture: (picture.split, picture.id))
    with ThreadPoolExecutor() as pool:
        checks = list(pool.map(lambda picture: _check_files(root, picture, len(listing.class_names)), pictures))
    problems = [check for check in checks if isinstance(check, str)]
    if problems:
        raise DataError(
            f"{len(problems)} of {len(pictures)} pictures in {root} cannot be used; repair or remove them:\n"
            + show(problems, "\n")
        )
    checked = [(picture, check) for picture, check in zip(pictures, checks, strict=True) if not isinstance(check, str)]
    rows = [(p.id, p.split, p.image, p.mask, check.width, check.height, check.sha256) for p, check in checked]
    pixels = {picture.id: check.class_pixels for picture, check in checked if check.class_pixels is not None}
    return Manifest(
        pd.DataFrame(rows, columns=list(COLUMNS)),
        pd.DataFrame.from_dict(pixels, orient="index", columns=list(listing.class_names)).rename_axis("id"),
        listing.class_names,
    )


def _check_ids(pictures: Sequence[Picture]) -> None:
    splits: dict[str, str] = {}
    for picture in pictures:
        if picture.id in splits:
            first, second = splits[picture.id], picture.split
            raise DataError(f"the id {picture.id!r} is in {first} and again in {second}: ids must be unique")
        splits[picture.id] = picture.split
    for needed in ("train", "val"):
        if needed not in splits.values():
            raise DataError(f"the data set has no {needed} pictures")


class _Checked(NamedTuple):
    width: int
    height: int
    sha256: str
    class_pixels: np.ndarray | None


def _check_files(root: Path, picture: Picture, num_classes: int) -> _Checked | str:
    """Give what the manifest says of the picture, or what is wrong with it."""
    class_pixels = None
    digest = hashlib.sha256()
    try:
        image_path = root / picture.image
        content = _read(image_path)
        digest.update(content)
        image = _decode_image(content, image_path)
        height, width = image.shape[:2]
        if picture.mask is not None:
            mask_path = root / picture.mask
            content = _read(mask_path)
            digest.update(content)
            mask = _decode_mask(content, mask_path)
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


def read_image(path: Path) -> np.ndarray:
    """Read a picture as RGB.

    Returns:
        H×W×3 uint8.

    Raises:
        DataError: the file is missing, truncated, or no picture.
    """
    return _decode_image(_read(path), path)


def read_mask(path: Path) -> np.ndarray:
    """Read a mask as class ids; a palette's indices are the ids.

    Returns:
        H×W uint8.

    Raises:
        DataError: the file is missing, truncated, no picture, or a picture in colours instead of ids.
    """
    return _decode_mask(_read(path), path)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise DataError(f"{path} is missing")
    return path.read_bytes()


def _decode_image(content: bytes, path: Path) -> np.ndarray:
    return np.array(_decode(content, path).convert("RGB"))


def _decode_mask(content: bytes, path: Path) -> np.ndarray:
    mask = _decode(content, path)
    if mask.mode not in ("L", "P", "1"):
        wanted = "a grayscale or palette picture of class ids (mode L or P)"
        raise DataError(f"{path} has mode {mask.mode}: a mask must be {wanted}")
    return np.array(mask, dtype=np.uint8)


def _decode(content: bytes, path: Path) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except Exception as error:  # Pillow's decoders raise what they like on broken files
        raise DataError(f"{path} cannot be read as a picture: {error}") from error
    return image


def show(items: Iterable[str], separator: str = ", ") -> str:
    """Join the first few of many, and say how many more there are."""
    items = list(items)
    more = f"{separator}… and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return separator.join(items[:SHOWN]) + more
