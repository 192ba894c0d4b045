"""Lists of images as they are published, and which image of the manifest each line means.

Four formats, told apart line by line:

- ``ids``: one id per line (U2PL and CPS for Pascal VOC);
- ``U2PL``: one path of an image per line (U2PL for Cityscapes);
- ``UniMatch``: the image's path, a space, and the mask's path;
- ``CPS``: the same with a tab (CPS for Cityscapes).

Blank lines, byte order marks, either end of line and what follows a ``#`` play no part.

A name means an image where, without the files' endings, one of the two ends with the other, folder by folder: the
name, and the image's id, image or mask. So ``JPEGImages/2007_000032.jpg``, ``VOC2012/JPEGImages/2007_000032.jpg``,
``2007_000032.jpg`` and ``2007_000032`` mean the same. Where a name is an image's own to the letter, it means that one.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from igl_dt.data.datasets import DataError
from igl_dt.data.datasets.listing import IMAGE_SUFFIXES, iterate_lines, show

ENDINGS = ("_leftImg8bit", "_gtFine", "_gtFine_labelIds", "_gtFine_labelTrainIds")
"""What Cityscapes appends to an image's name, according to what the file holds."""

_PAIR = re.compile(rf"(\S.*?(?:{'|'.join(map(re.escape, IMAGE_SUFFIXES))}))\s+(\S.*)", re.IGNORECASE)
_CPS = re.compile(r"/images/[^/.]+/([^/]+)\t/segmentation/[^/.]+/([^/]+)")
_COMMENT = re.compile(r"(?:^|\s+)#.*")
_LEADS_OUT = re.compile(r"[/\\]|[a-zA-Z]:[/\\]|(?:.*[/\\])?\.\.(?:[/\\]|$)")


class IdList(NamedTuple):
    """A list as it was read."""

    ids: list[str]
    """Of the images it means, in its order."""
    format: str
    """Of its lines; several are joined by ``+``."""
    file_sha256: str
    """Of the file, byte by byte."""


def read_list(path: Path, manifest: pd.DataFrame) -> IdList:
    """Read a list of training images.

    Raises:
        DataError: the file is missing, no text, or empty; or it names what leads out of the data set, what the
            data set does not have, what more than one image has, an image with another's mask, an image of val or
            test, or an image twice. All of this is in one error.
    """
    if not path.is_file():
        raise DataError(f"the list {path} is missing")
    ids, formats = _find_ids(path, manifest)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return IdList(ids, "+".join(sorted(formats)), digest)


def _read_names(path: Path, manifest: pd.DataFrame) -> Iterator[tuple[str, str | None, str]]:
    """Give each line's name of an image, that of its mask, and the line's format."""
    known: frozenset[str] | None = None
    for line in iterate_lines(path):
        if "#" in line:
            known = frozenset((*manifest["id"], *manifest["image"])) if known is None else known
            if line not in known:  # an image may be called so
                line = _COMMENT.sub("", line)
        if line:
            yield _read_line(line)


def _read_line(line: str) -> tuple[str, str | None, str]:
    if pair := _CPS.fullmatch(line):  # absolute to the eye, but its folders are those of CPS's own copy of Cityscapes
        return pair[1], pair[2], "CPS"
    if "\t" in line:
        image, mask = line.split("\t", maxsplit=1)
        return image.strip(), mask.strip(), "CPS"
    if pair := _PAIR.fullmatch(line):
        return pair[1], pair[2], "UniMatch"
    return line, None, "U2PL" if line.lower().endswith(IMAGE_SUFFIXES) else "ids"


def _find_ids(path: Path, manifest: pd.DataFrame) -> tuple[list[str], set[str]]:
    """Give the ids of what a list names, and the formats of its lines; or say all that is wrong with it."""
    all_ids, splits = manifest["id"].tolist(), manifest["split"].tolist()
    columns = [all_ids, manifest["image"].tolist(), manifest["mask"].tolist()]
    matches = _Matches((image for image, *_ in _read_names(path, manifest)), columns)
    problems = defaultdict(list)
    ids: dict[str, None] = {}
    formats = set()
    for image, mask, kind in _read_names(path, manifest):  # once more: there is no room for a million pairs of paths
        formats.add(kind)
        if _LEADS_OUT.match(image) or (mask is not None and _LEADS_OUT.match(mask)):
            problems["paths out of dataset.root (absolute, or with '..')"].append(f"{image} {mask or ''}".strip())
            continue
        rows = matches.rows(image)
        if not rows:
            problems["ids that are no training images"].append(image)
            continue
        if len(rows) > 1:
            problems["images by a name of several"].append(f"{image} ({show((all_ids[row] for row in rows), ' or ')})")
            continue
        row = rows[0]
        id_ = all_ids[row]
        if mask is not None and not any(_means(mask, column[row]) for column in columns):
            problems["images with a mask that is not theirs"].append(f"{image} with {mask}")
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
    """The rows of the manifest that names in a list mean.

    The list is indexed and the manifest walked over: a short list needs no index of a million images.

    Args:
        listed: the names.
        columns: what images are called in the manifest.
    """

    def __init__(self, listed: Iterable[str], columns: Sequence[Sequence[Any]]) -> None:
        self._row: dict[str, int | None] = dict.fromkeys(listed)
        self._several: dict[str, list[int]] = {}
        # Each form is looser than the one before, and only for names that were not found: a name to the letter wins.
        forms: tuple[Callable[[str], str], ...] = (str, _bare, _last)
        for form in forms:
            self._look_for([name for name, row in self._row.items() if row is None], form, columns)

    def rows(self, name: str) -> list[int]:
        """Give the rows that a name can mean: one, where all is well."""
        row = self._row[name]
        return self._several.get(name, [] if row is None else [row])

    def _look_for(self, names: Sequence[str], form: Callable[[str], str], columns: Sequence[Sequence[Any]]) -> None:
        wanted: dict[str, str] = {}
        more: dict[str, list[str]] = defaultdict(list)  # apart, as a million lists of one name each take much memory
        for name in names:
            if wanted.setdefault(key := form(name), name) != name:
                more[key].append(name)
        for column in columns if wanted else ():
            for row, own in enumerate(column):
                if isinstance(own, str) and (key := form(own)) in wanted:  # an image may have no mask
                    for name in (wanted[key], *more.get(key, ())):
                        if _means(name, own):
                            self._add(name, row)

    def _add(self, name: str, row: int) -> None:
        first = self._row[name]
        if first is None:
            self._row[name] = row
        elif first != row and row not in self._several.setdefault(name, [first]):
            self._several[name].append(row)


def _means(name: str, own: object) -> bool:
    """Whether a name in a list can mean what is called ``own`` in the manifest."""
    if not isinstance(own, str):
        return False
    if name == own:
        return True
    name, own = _bare(name), _bare(own)
    return name == own or name.endswith(f"/{own}") or own.endswith(f"/{name}")


def _bare(name: str) -> str:
    """Take the file's endings away."""
    stem, dot, suffix = name.rpartition(".")
    if stem and f"{dot}{suffix}".lower() in IMAGE_SUFFIXES:
        name = stem
    for ending in ENDINGS:
        name = name.removesuffix(ending)
    return name


def _last(name: str) -> str:
    """Take the folders away too."""
    return _bare(name).rpartition("/")[2]


class Partition(NamedTuple):
    """One part of a data set, as published."""

    name: str
    share: str
    """What it goes by: partitions of one share are easily taken for one another."""


PUBLISHED = {
    "325a965b6206ac6e9c4c86961d5f4d9f1aff9c361c42dc79719ca85de7e64cc6": Partition(
        "UniMatch pascal 1/16 (92 of the 1464)", "pascal labeled 1/16"
    ),
    "3b208061a59a42b4954b136dc46b00f263178ebf25ead1164eb3509ab6657ce1": Partition(
        "UniMatch pascal 1/8 (183 of the 1464)", "pascal labeled 1/8"
    ),
    "ea8aa0b2ceedf56b536241b16b57fadfd9c0c8301bd93f7c9b7ad6df2ffc4c26": Partition(
        "UniMatch pascal 1/4 (366 of the 1464)", "pascal labeled 1/4"
    ),
    "81c3256e4a7fc4c31b6b1e9084c44eec318b44c58c622283035d02f6b17c0137": Partition(
        "UniMatch pascal 1/2 (732 of the 1464)", "pascal labeled 1/2"
    ),
    "aa623bd2c8ce4443a8aaae51c524c0eb165e8e44caf6aa9e3ad33d7b75a3ef20": Partition(
        "UniMatch pascal 1/1 (all 1464)", "pascal labeled 1/1"
    ),
    "7dada8ccc5eb6309b4b81e172dfc24f0d83ea72078675083778ca10487182748": Partition(
        "CPS and UniMatch pascal 1/16 (662 of 10582, blended)", "pascal labeled 1/16"
    ),
    "df63f50a798512c3befb5364052733bd8bc169f609e034e9f55b5853798ead10": Partition(
        "UniMatch pascal 1/8 (1323 of 10582, blended)", "pascal labeled 1/8"
    ),
    "62c450787069b36d88ea7bb35895a808885720ae833bae8b9c81775731062ea1": Partition(
        "UniMatch pascal 1/4 (2646 of 10582, blended)", "pascal labeled 1/4"
    ),
    "0c6466b63b2f52069830afd605968347ec2696b15d25b91329d77d203023c1b1": Partition(
        "U2PL pascal 1/16 (662 of 10582, all from the 1464)", "pascal labeled 1/16"
    ),
    "23fd9afa1c61151cd65d394f1f574b0e7ddee098e27e0640a55779a322360e44": Partition(
        "UniMatch pascal 1/16 unlabeled (10490, beside 92)", "pascal unlabeled 1/16"
    ),
    "49b06340ca1534c3f15001ea9ce6d2815dd2ae1302390cfbdcfc0b004e17d960": Partition(
        "CPS pascal 1/16 unlabeled (9920)", "pascal unlabeled 1/16"
    ),
    "888a9b418a483ee26972583fb7859e604a1e1abe2a64a555bcfdfacc0094d09e": Partition(
        "U2PL pascal 1/16 unlabeled (9920)", "pascal unlabeled 1/16"
    ),
    "cdc1326d12f69ce5153aa5da04a4d8783e146868d42d19f82f44e74b97ac907d": Partition("pascal val (1449)", "pascal val"),
    "d356a23daa743733be4afc4b4e5ce286ff4ad35b00a442266ea721713c78b219": Partition(
        "UniMatch cityscapes 1/30 (100 of 2975)", "cityscapes labeled 1/30"
    ),
    "dc2a06a86232bc32e733a8ae33e60807e9b017bf9dd5ce03b106426f3c96c496": Partition(
        "CPS and UniMatch cityscapes 1/16 (186 of 2975)", "cityscapes labeled 1/16"
    ),
    "2755fe0b6533339404a82029602157051c7be06d9d775ce445f5e5c43767d3bc": Partition(
        "UniMatch cityscapes 1/8 (372 of 2975)", "cityscapes labeled 1/8"
    ),
    "605f06bce9cb841e11db460b00e05c6edfdbd3e66a390f3ade7ef00172af4694": Partition(
        "UniMatch cityscapes 1/4 (744 of 2975)", "cityscapes labeled 1/4"
    ),
    "f071d8e32b163da41105b296af66975544141343a3af44449f74dd30a16facc9": Partition(
        "UniMatch cityscapes 1/2 (1488 of 2975)", "cityscapes labeled 1/2"
    ),
    "c9b2d8a6a7290bcaf224c7cdec576682a677f7248a36dbfde498c55962a363fa": Partition(
        "U2PL cityscapes 1/16 (186 of 2975)", "cityscapes labeled 1/16"
    ),
    "aee794749c4a6455e497b50c2486e2645ef659edd5fe05e33f1c4698b2a3fb62": Partition(
        "CPS and UniMatch cityscapes 1/16 unlabeled (2789)", "cityscapes unlabeled 1/16"
    ),
    "de469ce7c7bf336f60834c6abff736161501ef38a448dab0585271b2a931759d": Partition(
        "U2PL cityscapes 1/16 unlabeled (2789)", "cityscapes unlabeled 1/16"
    ),
    "73099b252b778d6fa89467ad05a7068b8a6a0f931693f909e1acbf189a36fb52": Partition(
        "cityscapes val (500)", "cityscapes val"
    ),
}
"""Partitions by the sha256 of their sorted names, without folders and endings, so that the format plays no part."""


def recognize(ids: Iterable[str]) -> tuple[str | None, list[str]]:
    """Name the published partition that consists of these images.

    Returns:
        Its name, None where it is no known one; and those of the others that go by the same share but hold other
        images: a result on the one must not be compared with a result on the other.
    """
    found = PUBLISHED.get(hash_ids(sorted(_last(id_) for id_ in ids)))
    if found is None:
        return None, []
    return found.name, [other.name for other in PUBLISHED.values() if other.share == found.share and other != found]


def hash_ids(ids: Iterable[str]) -> str:
    """Give the sha256 of ids, one per line."""
    return hashlib.sha256("".join(f"{id_}\n" for id_ in ids).encode()).hexdigest()
