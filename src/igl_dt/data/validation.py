"""The check of each image's files, and what it found, kept so that the next run need not read them all again."""

import hashlib
import json
import logging
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL

from igl_dt.data import image_io as reading
from igl_dt.data.datasets import base
from igl_dt.data.datasets.base import DataError, MaskFormat, Sample, locate, show
from igl_dt.data.image_io import decode_image, decode_mask, read_bytes
from igl_dt.utils.files import atomic_write, digest
from igl_dt.utils.parameters import IGNORE_INDEX
from igl_dt.utils.progress import Progress

logger = logging.getLogger(__name__)

AT_ONCE = 1024
"""Images handed to the threads at once: a million would take a gigabyte."""


class Checked(NamedTuple):
    """What an image's files are, where nothing is wrong with them."""

    width: int
    height: int
    sha256: str
    """Of the image file's bytes followed by the mask file's."""
    class_pixels: tuple[int, ...] | None
    """Pixels of each class; None where there is no mask."""


class Problem(NamedTuple):
    """What is wrong with one file."""

    file: str
    what: str

    @property
    def kind(self) -> str:
        """What problems of different files have in common: the text without its numbers and details."""
        return re.sub(r"[\d\W]+", " ", re.split(r"[:,(]", self.what)[0])


def check_files(
    root: Path, masks: MaskFormat, num_classes: int, samples: Sequence[Sample], memory: Path | None = None
) -> list[Checked]:
    """Open all files of some images, and check that images and masks belong together.

    Args:
        root: the data set's folder.
        masks: how masks are read.
        num_classes: class ids are below.
        samples: which.
        memory: file with what earlier checks found, for files whose path, size and times are as they were then; the
            others are read, and the file is written anew. It stands for nothing where it was written by other code, for
            other masks, or is damaged. None: all files are read.

    Returns:
        What each image is, in their order.

    Raises:
        DataError: a file does not open, or lies outside the root; a mask is of another size than its image, or has an
            id that is neither a class nor 255. All problems are in one error, sorted by kind.
    """
    identity = _identify(root, masks, num_classes)
    known = {} if memory is None else _recall(memory, identity)
    stamps = [None if memory is None else _stamp(root, sample) for sample in samples]
    results = [None if stamp is None else known.get(stamp) for stamp in stamps]
    unread = [index for index, result in enumerate(results) if result is None]
    problems: list[Problem] = []
    bad = 0
    try:
        check = partial(_check, root, masks, num_classes)
        for index, result in zip(unread, _in_parallel(check, [samples[index] for index in unread]), strict=True):
            if isinstance(result, Checked):
                results[index] = result
            else:
                problems += result
                bad += 1
    finally:  # also where bad files or the user put an end to it: the good ones need not be read again
        keep = {stamp: result for stamp, result in zip(stamps, results, strict=True) if stamp and result}
        if memory is not None and keep != known:
            _remember(memory, identity, keep)
    if unread and len(unread) < len(samples):
        logger.info("%d of %d images were checked in an earlier run", len(samples) - len(unread), len(samples))
    if problems:
        raise DataError(
            f"{bad} of {len(samples)} images in {root} cannot be used; repair or remove them:\n" + _tell(problems)
        )
    return [result for result in results if result is not None]


def _in_parallel(
    check: Callable[[Sample], "Checked | list[Problem]"], samples: Sequence[Sample]
) -> Iterator["Checked | list[Problem]"]:
    if not samples:
        return
    # Threads: what takes long (disk, decoders, hashes) does not hold Python's lock.
    with ThreadPoolExecutor() as pool, closing(Progress("checking images", 0, len(samples), 1, "image")) as shown:
        for start in range(0, len(samples), AT_ONCE):
            for number, result in enumerate(pool.map(check, samples[start : start + AT_ONCE]), start=start + 1):
                shown.update(number, {})
                yield result


def _check(root: Path, masks: MaskFormat, num_classes: int, sample: Sample) -> "Checked | list[Problem]":
    """Give what the image's files are, or what is wrong with them."""
    problems = []
    sha256 = hashlib.sha256()

    def read(path: str, decode: Callable[[bytes, Path], np.ndarray]) -> np.ndarray | None:
        file = root / path
        try:
            content = read_bytes(locate(root, path))
            sha256.update(content)
            return decode(content, file)
        except DataError as error:
            problems.append(Problem(str(file), str(error).removeprefix(f"{file} ")))
            return None

    class_pixels = None
    image = read(sample.image, decode_image)
    mask = None if sample.mask is None else read(sample.mask, partial(decode_mask, mask_format=masks))
    if image is not None and mask is not None and mask.shape != image.shape[:2]:
        sizes = f"is {mask.shape[1]}×{mask.shape[0]} and its image {image.shape[1]}×{image.shape[0]} (width×height)"
        problems.append(Problem(f"{root / str(sample.mask)}", sizes))
    if mask is not None:
        pixels = np.bincount(mask.ravel(), minlength=256).tolist()
        if wrong := [id_ for id_ in range(num_classes, 256) if pixels[id_] and id_ != IGNORE_INDEX]:
            known = f"0 to {num_classes - 1}, or {IGNORE_INDEX} to be ignored"
            problems.append(Problem(f"{root / str(sample.mask)}", f"has the ids {wrong}: they must be {known}"))
        class_pixels = tuple(pixels[:num_classes])
    if problems or image is None:
        return problems
    return Checked(image.shape[1], image.shape[0], sha256.hexdigest(), class_pixels)


def _tell(problems: Sequence[Problem]) -> str:
    """Name the first few files of each kind of problem, and how many more there are."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        kinds[problem.kind].append(f"{problem.file} {problem.what}")
    return "\n".join(show(lines, "\n") for lines in kinds.values())


def _stamp(root: Path, sample: Sample) -> str | None:
    """Say which files these are: paths, sizes and times; None where they cannot be looked at."""
    stamp: list[str | int | None] = []
    try:
        for path in (sample.image, sample.mask):
            stamp.append(path)
            if path is not None:
                status = locate(root, path).stat()
                # Programs can set the time of the last change back, but not that of the last renaming or change at all.
                stamp += [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    except (DataError, OSError):
        return None
    return json.dumps(stamp)


def _identify(root: Path, masks: MaskFormat, num_classes: int) -> str:
    """Identify what the result of a check depends on, beside the files."""
    code = [digest(Path(str(module.__file__)).read_bytes()) for module in (reading, base, sys.modules[__name__])]
    return digest(json.dumps([code, PIL.__version__, str(root.resolve()), asdict(masks), num_classes]).encode())


def _recall(memory: Path, identity: str) -> dict[str, Checked]:
    """Read what earlier checks found; nothing where that does not hold any more."""
    try:
        head, _, body = memory.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        logger.warning("%s cannot be read, so all files are: %s", memory, error.strerror)
        return {}
    if head != f"{identity} {digest(body)}".encode():
        is_other = head.endswith(digest(body).encode())
        why = "of other code, masks or another folder" if is_other else "damaged"
        logger.log(logging.INFO if is_other else logging.WARNING, "%s is %s: all files are read", memory, why)
        return {}
    return {
        stamp: Checked(width, height, sha256, None if pixels is None else tuple(pixels))
        for stamp, (width, height, sha256, pixels) in json.loads(body).items()
    }


def _remember(memory: Path, identity: str, checks: Mapping[str, Checked]) -> None:
    body = json.dumps(checks).encode()
    try:
        atomic_write(memory, f"{identity} {digest(body)}\n".encode() + body)
    except OSError as error:
        logger.warning("%s cannot be written, so the next run reads all files again: %s", memory, error.strerror)
