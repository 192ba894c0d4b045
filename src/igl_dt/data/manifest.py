"""The manifest: the table of all images, checked before anything is trained.

Columns: ``id``, ``split`` (train, val or test), ``image`` and ``mask`` (paths relative to the data set's root; empty
without a mask), ``width``, ``height`` (pixels on disk) and ``sha256`` (of the bytes of the image file followed by those
of the mask file). Everything downstream reads this table and nothing else.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from igl_dt.data.datasets import DataError, Sample, open_dataset
from igl_dt.data.datasets.base import UNSAFE, fold, show
from igl_dt.data.parameters import DatasetParameters
from igl_dt.data.similarity import find_lookalikes
from igl_dt.data.validation import Checked, check_files
from igl_dt.utils.parameters import Size

logger = logging.getLogger(__name__)

COLUMNS = ("id", "split", "image", "mask", "width", "height", "sha256")
DISTORTION = 0.1
"""Change of the aspect ratio above which there is a warning."""


class Manifest(NamedTuple):
    """A checked data set."""

    samples: pd.DataFrame
    """The table described above, sorted by split and id."""
    class_pixels: pd.DataFrame
    """Pixels of each class (columns) in each image with a mask (index: its id)."""
    class_names: tuple[str, ...]


def read_manifest(parameters: DatasetParameters, cache: Path | None = None) -> Manifest:
    """List a data set, open every file, and check that images and masks belong together.

    Args:
        parameters: which data set.
        cache: file with the results of earlier checks, so that only new and changed files are read; None: all files
            are read. Does not change the result.

    Raises:
        DataError: unknown source or option; no training or validation images; a val or test image without a mask; an
            id that is not unique, or cannot be written to a table; a file that cannot be read, or lies outside the
            root; a mask whose size differs from its image's, or with an id that is neither a class nor 255. All
            problems of the files are in one error.
    """
    dataset = open_dataset(parameters)
    listing = dataset.list_samples()
    _check_samples(listing.samples)
    samples = sorted(listing.samples, key=lambda sample: (sample.split, sample.id))
    checks = check_files(dataset.root, dataset.mask_format(), listing.class_names, samples, cache)
    checked = list(zip(samples, checks, strict=True))
    rows = [(p.id, p.split, p.image, p.mask, check.width, check.height, check.sha256) for p, check in checked]
    pixels = {sample.id: check.class_pixels for sample, check in checked if check.class_pixels is not None}
    _warn_of_distortion(parameters.image_size, checked)
    _warn_of_lookalikes(checked)
    return Manifest(
        pd.DataFrame(rows, columns=list(COLUMNS)),
        pd.DataFrame.from_dict(pixels, orient="index", columns=list(listing.class_names)).rename_axis("id"),
        listing.class_names,
    )


def _warn_of_distortion(image_size: Size | None, checked: Sequence[tuple[Sample, Checked]]) -> None:
    if image_size is None:
        return
    target = image_size[1] / image_size[0]
    stretches = {sample.id: target / (check.width / check.height) for sample, check in checked}
    distorted = {id_: max(stretch, 1 / stretch) - 1 for id_, stretch in stretches.items()}
    if strong := [id_ for id_, share in distorted.items() if share > DISTORTION]:
        logger.warning(
            "dataset.image_size %d×%d (height×width) changes the aspect ratio of %d of %d images by more than %.0f %% "
            "(at most %.0f %%): %s; dataset.short_side or dataset.long_side in its place keep it",
            *image_size,
            len(strong),
            len(checked),
            100 * DISTORTION,
            100 * max(distorted.values()),
            show(strong),
        )


def _warn_of_lookalikes(checked: Sequence[tuple[Sample, Checked]]) -> None:
    train = [(sample, check.look) for sample, check in checked if sample.split == "train"]
    evaluated = [(sample, check.look) for sample, check in checked if sample.split != "train"]
    pairs, compared = find_lookalikes([look for _, look in train], [look for _, look in evaluated])
    if pairs:
        position, nearest = pairs[0]
        logger.warning(
            "%d of %d val and test images that were compared look like a training image, such as %s and %s: if they "
            "are frames of one video or images of one subject, scores are too high; keep these in one split, by "
            "dataset.options.group of the source folder or by lists",
            len(pairs),
            compared,
            evaluated[position][0].image,
            train[nearest][0].image,
        )


def _check_samples(samples: Sequence[Sample]) -> None:
    known: dict[str, Sample] = {}
    files: dict[str, str] = {}
    problems = defaultdict(list)
    for sample in samples:
        names = (sample.id, sample.image, sample.mask or "")
        if unsafe := next(filter(UNSAFE.search, names), None):
            problems["names have a character that tables and lists cannot hold (rename the files)"].append(repr(unsafe))
        if sample.id != sample.id.strip():
            problems["ids begin or end with a space, which lists cannot hold (rename the files)"].append(
                repr(sample.id)
            )
        other = known.setdefault(fold(sample.id), sample)
        if other.id != sample.id:
            problems[
                "ids differ only in case or in the encoding of accents, so that some file systems confuse them "
                "(rename one)"
            ].append(f"{other.id!r} and {sample.id!r}")
        elif other is not sample:
            problems["ids occur twice (ids must be unique)"].append(
                f"{sample.id!r} in {other.split} and again in {sample.split}"
            )
        if (first := files.setdefault(sample.image, sample.id)) != sample.id:
            problems["files are listed twice (one file, one id)"].append(
                f"{sample.image} as {first!r} and again as {sample.id!r}"
            )
    if problems:
        raise DataError("\n".join(f"{len(bad)} {what}: {show(bad)}" for what, bad in problems.items()))
    if absent := [f"{s.id} ({s.split})" for s in samples if s.split != "train" and s.mask is None]:
        raise DataError(f"{len(absent)} val or test images have no mask, which evaluation needs: {show(absent)}")
    for needed in ("train", "val"):
        if needed not in {sample.split for sample in samples}:
            raise DataError(f"the data set has no {needed} images")
