"""The manifest: the table that says which images there are, checked before anything is trained.

Columns: ``id``, ``split`` (train, val or test), ``image`` and ``mask`` (paths relative to the data set's root; no
mask: empty), ``width``, ``height`` (pixels on disk) and ``sha256`` (of the image file's bytes followed by the mask
file's). Everything downstream reads from this table and from nothing else.
"""

import difflib
import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from igl_dt.data.datasets import SOURCES, DataError, Sample, mask_format
from igl_dt.data.datasets.listing import fold, show
from igl_dt.data.parameters import DatasetParameters
from igl_dt.data.validation import check_files

logger = logging.getLogger(__name__)

COLUMNS = ("id", "split", "image", "mask", "width", "height", "sha256")
UNTOLD = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Characters that no table or list can hold: line breaks and their like, and bytes of a name that are no UTF-8."""


class Manifest(NamedTuple):
    """A data set that was checked."""

    samples: pd.DataFrame
    """The table described above, sorted by split and id."""
    class_pixels: pd.DataFrame
    """Pixels of each class (columns) in each image with a mask (index: its id)."""
    class_names: tuple[str, ...]


def read_manifest(parameters: DatasetParameters, memory: Path | None = None) -> Manifest:
    """List a data set, open every file of it, and check that images and masks belong together.

    Args:
        parameters: which data set.
        memory: file with what an earlier check found, so that only new and changed files are read; None: all are.
            Changes no result.

    Raises:
        DataError: unknown source; no training or validation images; an id that is there twice, or cannot be told from
            another or written to a table; a file that does not open, or lies outside the root; a mask of another size
            than its image, or with an id that is neither a class nor 255. All problems of the files are in one error.
    """
    if parameters.source not in SOURCES:
        nearest = difflib.get_close_matches(parameters.source, SOURCES, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise DataError(f"unknown dataset.source {parameters.source!r}: there are {', '.join(sorted(SOURCES))}{hint}")
    root = Path(parameters.root)
    listing = SOURCES[parameters.source](root, parameters.options)
    if listing.mask_format != mask_format(parameters):  # with which the masks will be read
        raise AssertionError(f"igl_dt.data.datasets.MASK_FORMATS does not know the masks of {parameters.source}")
    _check_ids(listing.samples)
    samples = sorted(listing.samples, key=lambda sample: (sample.split, sample.id))
    checks = check_files(root, listing.mask_format, len(listing.class_names), samples, memory)
    checked = list(zip(samples, checks, strict=True))
    rows = [(p.id, p.split, p.image, p.mask, check.width, check.height, check.sha256) for p, check in checked]
    pixels = {sample.id: check.class_pixels for sample, check in checked if check.class_pixels is not None}
    if empty := [id_ for id_, counts in pixels.items() if not any(counts)]:
        logger.warning("%d images have masks in which every pixel is ignored: %s", len(empty), show(empty))
    return Manifest(
        pd.DataFrame(rows, columns=list(COLUMNS)),
        pd.DataFrame.from_dict(pixels, orient="index", columns=list(listing.class_names)).rename_axis("id"),
        listing.class_names,
    )


def _check_ids(samples: Sequence[Sample]) -> None:
    known: dict[str, Sample] = {}
    files: dict[str, str] = {}
    problems = defaultdict(list)
    for sample in samples:
        names = (sample.id, sample.image, sample.mask or "")
        if untold := next(filter(UNTOLD.search, names), None):
            problems["names have a character that no table or list can hold (rename the files)"].append(repr(untold))
        if sample.id != sample.id.strip():
            problems["ids begin or end with a blank, which lists cannot (rename the files)"].append(repr(sample.id))
        other = known.setdefault(fold(sample.id), sample)
        if other.id != sample.id:
            problems[
                "ids differ only by case, or in how accents are coded, and some file systems take them for the same "
                "(rename one)"
            ].append(f"{other.id!r} and {sample.id!r}")
        elif other is not sample:
            problems["ids are there twice (ids must be unique)"].append(
                f"{sample.id!r} in {other.split} and again in {sample.split}"
            )
        if (first := files.setdefault(sample.image, sample.id)) != sample.id:
            problems["files are listed twice (one file, one id)"].append(
                f"{sample.image} as {first!r} and again as {sample.id!r}"
            )
    if problems:
        raise DataError("\n".join(f"{len(bad)} {what}: {show(bad)}" for what, bad in problems.items()))
    for needed in ("train", "val"):
        if needed not in {sample.split for sample in samples}:
            raise DataError(f"the data set has no {needed} images")
