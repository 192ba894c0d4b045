"""Lists of images in the published formats, matched to the images of the manifest.

Four formats, recognised line by line:

- ``ids``: one id per line (U2PL and CPS for Pascal VOC);
- ``U2PL``: one path of an image per line (U2PL for Cityscapes);
- ``UniMatch``: the image's path, a space, and the mask's path;
- ``CPS``: the same with a tab (CPS for Cityscapes).

Blank lines, byte order marks, the kind of line break and everything after a ``#`` are ignored.

A name matches an image if, without suffixes, the name or one of the image's own names (its id, image path or mask
path) is a trailing part of the other, folder by folder. So ``JPEGImages/2007_000032.jpg``,
``VOC2012/JPEGImages/2007_000032.jpg``, ``2007_000032.jpg`` and ``2007_000032`` match the same image. An exact match
takes precedence.
"""

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from igl_dt.data.datasets import DataError
from igl_dt.data.datasets.base import IMAGE_SUFFIXES, iterate_lines, show

ENDINGS = ("_leftImg8bit", "_gtFine", "_gtFine_labelIds", "_gtFine_labelTrainIds")
"""What Cityscapes appends to the id in file names."""

_PAIR = re.compile(rf"(\S.*?(?:{'|'.join(map(re.escape, IMAGE_SUFFIXES))}))\s+(\S.*)", re.IGNORECASE)
_CPS = re.compile(r"/images/[^/.]+/([^/]+)\t/segmentation/[^/.]+/([^/]+)")
_COMMENT = re.compile(r"(?:^|\s+)#.*")
_LEADS_OUT = re.compile(r"[/\\]|[a-zA-Z]:[/\\]|(?:.*[/\\])?\.\.(?:[/\\]|$)")


class IdList(NamedTuple):
    """A list that was read."""

    ids: list[str]
    """Ids of the listed images, in the order of the list."""
    format: str
    """Format of the lines; several are joined by ``+``."""
    file_sha256: str
    """sha256 of the file."""


def read_list(path: Path, manifest: pd.DataFrame) -> IdList:
    """Read a list of training images.

    Raises:
        DataError: the file is missing, not text, or empty; or a line leads out of the data set, matches no image or
            several, pairs an image with the mask of another, names an image of val or test, or one named before. All
            problems are in one error.
    """
    if not path.is_file():
        raise DataError(f"the list {path} is missing")
    ids, formats = _find_ids(path, manifest)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return IdList(ids, "+".join(sorted(formats)), digest)


def _read_names(path: Path, manifest: pd.DataFrame) -> Iterator[tuple[str, str | None, str]]:
    """Yield for each line the name of the image, that of the mask, and the format."""
    known: frozenset[str] | None = None
    for line in iterate_lines(path):
        if "#" in line:
            known = frozenset((*manifest["id"], *manifest["image"])) if known is None else known
            if line not in known:  # a name may contain a #
                line = _COMMENT.sub("", line)
        if line:
            yield _read_line(line)


def _read_line(line: str) -> tuple[str, str | None, str]:
    if pair := _CPS.fullmatch(line):  # looks absolute, but is relative to the copy of Cityscapes that CPS uses
        return pair[1], pair[2], "CPS"
    if "\t" in line:
        image, mask = line.split("\t", maxsplit=1)
        return image.strip(), mask.strip(), "CPS"
    if pair := _PAIR.fullmatch(line):
        return pair[1], pair[2], "UniMatch"
    return line, None, "U2PL" if line.lower().endswith(IMAGE_SUFFIXES) else "ids"


def _find_ids(path: Path, manifest: pd.DataFrame) -> tuple[list[str], set[str]]:
    """Return the ids that a list names, and the formats of its lines."""
    all_ids, splits = manifest["id"].tolist(), manifest["split"].tolist()
    columns = [all_ids, manifest["image"].tolist(), manifest["mask"].tolist()]
    matches = _Matches((image for image, *_ in _read_names(path, manifest)), columns)
    problems = defaultdict(list)
    ids: dict[str, None] = {}
    formats = set()
    for image, mask, kind in _read_names(path, manifest):  # read again, as a million pairs of paths take much memory
        formats.add(kind)
        if _LEADS_OUT.match(image) or (mask is not None and _LEADS_OUT.match(mask)):
            problems["paths out of dataset.root (absolute, or with '..')"].append(f"{image} {mask or ''}".strip())
            continue
        rows = matches.rows(image)
        if not rows:
            problems["ids that are not training images"].append(image)
            continue
        if len(rows) > 1:
            problems["images ambiguously"].append(f"{image} ({show((all_ids[row] for row in rows), ' or ')})")
            continue
        row = rows[0]
        id_ = all_ids[row]
        if mask is not None and not any(_matches(mask, column[row]) for column in columns):
            problems["images with the mask of another"].append(f"{image} with {mask}")
        elif splits[row] != "train":
            problems["ids of val or test images"].append(f"{id_} ({splits[row]})")
        elif id_ in ids:
            problems["ids more than once"].append(id_)
        ids[id_] = None
    if problems:
        raise DataError("\n".join(f"{path} names {len(bad)} {what}: {show(bad)}" for what, bad in problems.items()))
    if not ids:
        raise DataError(f"the list {path} is empty")
    return list(ids), formats


class _Matches:
    """The rows of the manifest that names in a list match.

    The list is indexed and the manifest scanned, so that a short list needs no index of a million images.

    Args:
        listed: the names.
        columns: names of the images in the manifest: ids, image paths, mask paths.
    """

    def __init__(self, listed: Iterable[str], columns: Sequence[Sequence[Any]]) -> None:
        self._row: dict[str, int | None] = dict.fromkeys(listed)
        self._several: dict[str, list[int]] = {}
        # Each form is looser than the one before, and only tried for names without a match: exact matches win.
        forms: tuple[Callable[[str], str], ...] = (str, _bare, _last)
        for form in forms:
            self._look_for([name for name, row in self._row.items() if row is None], form, columns)

    def rows(self, name: str) -> list[int]:
        """Return the rows that a name matches; exactly one for a valid list."""
        row = self._row[name]
        return self._several.get(name, [] if row is None else [row])

    def _look_for(self, names: Sequence[str], form: Callable[[str], str], columns: Sequence[Sequence[Any]]) -> None:
        wanted: dict[str, str] = {}
        more: dict[str, list[str]] = defaultdict(list)  # separate, as a million lists of one name each take much memory
        for name in names:
            if wanted.setdefault(key := form(name), name) != name:
                more[key].append(name)
        for column in columns if wanted else ():
            for row, own in enumerate(column):
                if isinstance(own, str) and (key := form(own)) in wanted:  # an image may have no mask
                    for name in (wanted[key], *more.get(key, ())):
                        if _matches(name, own):
                            self._add(name, row)

    def _add(self, name: str, row: int) -> None:
        first = self._row[name]
        if first is None:
            self._row[name] = row
        elif first != row and row not in self._several.setdefault(name, [first]):
            self._several[name].append(row)


def _matches(name: str, own: object) -> bool:
    """Whether a name in a list matches the name ``own`` in the manifest."""
    if not isinstance(own, str):
        return False
    if name == own:
        return True
    name, own = _bare(name), _bare(own)
    return name == own or name.endswith(f"/{own}") or own.endswith(f"/{name}")


def _bare(name: str) -> str:
    """Remove suffixes."""
    stem, dot, suffix = name.rpartition(".")
    if stem and f"{dot}{suffix}".lower() in IMAGE_SUFFIXES:
        name = stem
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return name


def _last(name: str) -> str:
    """Remove suffixes and folders."""
    return _bare(name).rpartition("/")[2]


class Partition(NamedTuple):
    """A published part of a data set."""

    name: str
    share: str
    """Data set, use and fraction; different partitions of one share are easily confused."""


@cache
def published_partitions() -> dict[str, Partition]:
    """Return the published partitions by the sha256 of their sorted names, without folders and suffixes.

    The hash does not depend on the format of the list.
    """
    content = files("igl_dt.data").joinpath("published_partitions.csv").read_text("utf-8")
    return {row["sha256"]: Partition(row["name"], row["share"]) for row in csv.DictReader(content.splitlines())}


def recognize(ids: Iterable[str]) -> tuple[str | None, list[str]]:
    """Find the published partition that consists of these images.

    Returns:
        Its name (None: it is not a known one), and the names of other partitions of the same share, whose results are
        not comparable.
    """
    partitions = published_partitions()
    found = partitions.get(hash_ids(sorted(_last(id_) for id_ in ids)))
    if found is None:
        return None, []
    return found.name, [other.name for other in partitions.values() if other.share == found.share and other != found]


def hash_ids(ids: Iterable[str]) -> str:
    """Return the sha256 of ids, one per line."""
    return hashlib.sha256("".join(f"{id_}\n" for id_ in ids).encode()).hexdigest()
