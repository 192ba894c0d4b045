"""The check of all files, with a cache of its results, so that later runs only read new and changed files."""

import hashlib
import json
import logging
import math
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import yaml

from igl_dt.data import image_io, similarity
from igl_dt.data.datasets import base
from igl_dt.data.datasets.base import DataError, MaskFormat, Sample, locate, show
from igl_dt.data.image_io import decode_image, decode_mask, pillow_warnings, read_bytes
from igl_dt.data.similarity import difference_hash
from igl_dt.utils.files import atomic_write, digest
from igl_dt.utils.parameters import IGNORE_INDEX
from igl_dt.utils.progress import Progress

logger = logging.getLogger(__name__)

AT_ONCE = 1024
"""Images submitted to the thread pool at a time: a million would take a gigabyte."""


class Checked(NamedTuple):
    """What is known of an image with valid files."""

    width: int
    height: int
    sha256: str
    """Of the bytes of the image file followed by those of the mask file."""
    class_pixels: tuple[int, ...] | None
    """Pixels of each class; None without a mask."""
    look: int
    """The image's difference hash."""


class Problem(NamedTuple):
    """What is wrong with one file."""

    file: str
    what: str

    @property
    def kind(self) -> str:
        """What problems of different files have in common: the text without numbers and details."""
        return re.sub(r"[\d\W]+", " ", re.split(r"[:,(]", self.what)[0])


class Invalid(NamedTuple):
    """An image whose files cannot be used."""

    problems: list[Problem]
    values: frozenset[int] = frozenset()
    """Values of the mask's pixels, where it could be read."""


def check_files(
    root: Path, masks: MaskFormat, class_names: Sequence[str], samples: Sequence[Sample], cache: Path | None = None
) -> list[Checked]:
    """Open all files of some images, and check that images and masks belong together.

    Args:
        root: folder of the data set.
        masks: how masks are read.
        class_names: names of the N classes, by id.
        samples: the images.
        cache: file with the results of earlier checks. Files are not read again if their path, size and times are
            unchanged; the cache is updated. It is ignored if it is damaged or was written by other code, or for
            another folder or mask format. None: all files are read.

    Returns:
        What is known of each image, in the same order.

    Raises:
        DataError: a file cannot be read, or lies outside the root; a mask's size differs from its image's, or it has an
            id that is neither a class nor 255; or of two classes, only 0 and 255 occur. All problems are in one error,
            grouped by kind, with the ``ids`` that the masks seem to need.

    What Pillow warns of is logged: a line per kind of warning, with the first few files.
    """
    num_classes = len(class_names)
    identity = _identify(root, masks, num_classes)
    known = {} if cache is None else _read_cache(cache, identity)
    stamps = [None if cache is None else _stamp(root, sample) for sample in samples]
    results = [None if stamp is None else known.get(stamp) for stamp in stamps]
    unread = [index for index, result in enumerate(results) if result is None]
    invalid: list[Invalid] = []
    warned: list[Problem] = []
    check = partial(_check, root, masks, num_classes)
    try:
        with pillow_warnings(lambda file, text: warned.append(Problem(f"{file}:", text))):
            for index, result in zip(unread, _in_parallel(check, [samples[index] for index in unread]), strict=True):
                if isinstance(result, Checked):
                    results[index] = result
                else:
                    invalid.append(result)
    finally:  # also after an interruption: what was checked need not be read again
        keep = {stamp: result for stamp, result in zip(stamps, results, strict=True) if stamp and result}
        if cache is not None and keep != known:
            _write_cache(cache, identity, keep)
    if unread and len(unread) < len(samples):
        logger.info("%d of %d images were checked in an earlier run", len(samples) - len(unread), len(samples))
    valid = [result for result in results if result is not None]
    values = {value for result in valid for value in _values(result)}.union(*(bad.values for bad in invalid))
    hint = suggest_ids(values, class_names) if masks == MaskFormat() else None
    if invalid:
        raise DataError(
            f"{len(invalid)} of {len(samples)} images in {root} cannot be used; repair or remove them:\n"
            + _describe([problem for bad in invalid for problem in bad.problems])
            + (f"\n{hint}" if hint else "")
        )
    if num_classes == 2 and values == {0, IGNORE_INDEX} and masks.colors is None:
        raise DataError(
            f"the masks in {root} hold nothing but {class_names[0]!r} and ignored pixels, so that {class_names[1]!r} "
            f"never occurs:\n{hint or 'check which ids are of which class, and which are ignored'}"
        )
    for alike in _by_kind(sorted(warned)):
        logger.warning("Pillow warns of files that are used all the same (%d): %s", len(alike), show(alike))
    return valid


def _values(checked: Checked) -> Iterator[int]:
    """Yield the values of the pixels of a mask without conversion."""
    if checked.class_pixels is not None:
        yield from (class_id for class_id, count in enumerate(checked.class_pixels) if count)
        if sum(checked.class_pixels) < checked.width * checked.height:
            yield IGNORE_INDEX


def suggest_ids(values: Collection[int], class_names: Sequence[str]) -> str | None:
    """Suggest ``dataset.options.ids`` for masks whose values are not class ids.

    Args:
        values: all values of the pixels of all masks.
        class_names: names of the N classes, by id.

    Returns:
        A sentence with the line to add, if the values are 1 to N, multiples of one number, or exactly N; else None.
    """
    num_classes = len(class_names)
    if not set(values) - {*range(num_classes), IGNORE_INDEX} and set(values) != {0, IGNORE_INDEX}:
        return None
    for known in (sorted(set(values) - {IGNORE_INDEX}), sorted(values)):
        step = math.gcd(*known)
        if known and known[0] == 1 and known[-1] == num_classes:
            ids = list(range(1, num_classes + 1))
        elif step > 1 and known[-1] == step * (num_classes - 1):
            ids = list(range(0, step * num_classes, step))
        elif len(known) == num_classes:
            ids = known
        else:
            continue
        if ids == list(range(num_classes)):
            continue
        table = dict(zip(class_names, ids, strict=True))
        line = yaml.safe_dump(table, default_flow_style=True, sort_keys=False, width=math.inf, allow_unicode=True)
        hint = (
            f"the masks hold the values {show(map(str, sorted(values)))}: if these are the classes as follows, add to "
            f"dataset.options of the source folder:\n  ids: {line.strip()}"
        )
        if all(re.fullmatch(r"\w+", name) for name in table):  # what --params can hold as a key
            words = ",".join(f"dataset.options.ids.{name}={id_}" for name, id_ in table.items())
            hint += f"\nor to --params:\n  {words}"
        return hint
    return None


def _in_parallel(
    check: Callable[[Sample], Checked | Invalid], samples: Sequence[Sample]
) -> Iterator[Checked | Invalid]:
    if not samples:
        return
    # Threads: what takes long (disk, decoders, hashes) releases Python's global lock.
    with ThreadPoolExecutor() as pool, closing(Progress("checking images", 0, len(samples), 1, "image")) as shown:
        for start in range(0, len(samples), AT_ONCE):
            for number, result in enumerate(pool.map(check, samples[start : start + AT_ONCE]), start=start + 1):
                shown.update(number, {})
                yield result


def _check(root: Path, masks: MaskFormat, num_classes: int, sample: Sample) -> Checked | Invalid:
    """Check the files of one image."""
    problems: list[Problem] = []
    values: frozenset[int] = frozenset()
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
        values = frozenset(value for value, count in enumerate(pixels) if count)
        if wrong := [id_ for id_ in range(num_classes, 256) if pixels[id_] and id_ != IGNORE_INDEX]:
            known = f"0 to {num_classes - 1}, or {IGNORE_INDEX} for ignored pixels"
            problems.append(Problem(f"{root / str(sample.mask)}", f"has the ids {wrong}: they must be {known}"))
        class_pixels = tuple(pixels[:num_classes])
    if problems or image is None:
        return Invalid(problems, values)
    return Checked(image.shape[1], image.shape[0], sha256.hexdigest(), class_pixels, difference_hash(image))


def _describe(problems: Sequence[Problem]) -> str:
    """Name the first few files of each kind of problem, and count the rest."""
    return "\n".join(show(lines, "\n") for lines in _by_kind(problems))


def _by_kind(problems: Sequence[Problem]) -> list[list[str]]:
    """Describe each problem once, those of one kind together."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for problem in dict.fromkeys(problems):
        kinds[problem.kind].append(f"{problem.file} {problem.what}")
    return list(kinds.values())


def _stamp(root: Path, sample: Sample) -> str | None:
    """Return paths, sizes and times of the files of an image; None if one cannot be accessed."""
    stamp: list[str | int | None] = []
    try:
        for path in (sample.image, sample.mask):
            stamp.append(path)
            if path is not None:
                status = locate(root, path).stat()
                # Programs can reset mtime, but not ctime.
                stamp += [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    except (DataError, OSError):
        return None
    return json.dumps(stamp)


def _identify(root: Path, masks: MaskFormat, num_classes: int) -> str:
    """Hash what the result of a check depends on, apart from the files."""
    code = [
        digest(Path(str(module.__file__)).read_bytes())
        for module in (image_io, base, similarity, sys.modules[__name__])
    ]
    return digest(json.dumps([code, PIL.__version__, str(root.resolve()), asdict(masks), num_classes]).encode())


def _read_cache(cache: Path, identity: str) -> dict[str, Checked]:
    """Read the results of earlier checks; none if they are no longer valid."""
    try:
        head, _, body = cache.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        logger.warning("%s cannot be read, so all files are read again: %s", cache, error.strerror)
        return {}
    if head != f"{identity} {digest(body)}".encode():
        is_other = head.endswith(digest(body).encode())
        why = "was written by other code, or for other masks or another folder" if is_other else "is damaged"
        logger.log(logging.INFO if is_other else logging.WARNING, "%s %s: all files are read again", cache, why)
        return {}
    return {
        stamp: Checked(width, height, sha256, None if pixels is None else tuple(pixels), look)
        for stamp, (width, height, sha256, pixels, look) in json.loads(body).items()
    }


def _write_cache(cache: Path, identity: str, checks: Mapping[str, Checked]) -> None:
    body = json.dumps(checks).encode()
    try:
        atomic_write(cache, f"{identity} {digest(body)}\n".encode() + body)
    except OSError as error:
        logger.warning("%s cannot be written, so the next run reads all files again: %s", cache, error.strerror)
