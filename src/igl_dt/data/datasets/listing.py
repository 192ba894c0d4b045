"""What every source gives: a listing of images, the names of the classes, and how masks say them."""

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from igl_dt.utils.parameters import Parameters, explain

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm")
"""Endings of files that count as images, in small or capital letters."""
SHOWN = 5
"""Offenders named in an error; the rest are counted."""

Options = TypeVar("Options", bound=Parameters)
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Sample:
    """One image as its source lists it; paths are POSIX paths relative to the data set's root."""

    id: str
    split: Split
    image: str
    mask: str | None
    """None: the image has no mask and can only be used unlabelled."""


@dataclass(frozen=True)
class MaskFormat:
    """How the masks' files say which class a pixel is; as it stands, by the class's id itself."""

    ids: tuple[tuple[int, int], ...] | None = None
    """Pairs of an id in the files and the class's id; None: they are the same."""
    rest: int | None = None
    """What all ids or colours not named become; None: they are an error."""
    colors: tuple[tuple[tuple[int, int, int], int], ...] | None = None
    """Pairs of a colour in the files and the class's id; None: the files hold ids."""


@dataclass(frozen=True)
class Listing:
    """A source's images, and its class names in the order of their ids in the masks."""

    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]
    mask_format: MaskFormat = MaskFormat()


class DataError(ValueError):
    """Something is wrong with the images, masks, lists or folders that were given."""


def parse_options(source: str, kind: type[Options], options: Mapping[str, Any]) -> Options:
    """Turn ``dataset.options`` into the source's own object.

    Raises:
        DataError: an unknown or wrong option.
    """
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        problems = "; ".join(explain(error, kind))
        raise DataError(f"dataset.options of the source {source}: {problems}") from error


def locate(root: Path, path: str) -> Path:
    """Give the file or folder at a path relative to the data set's root.

    Raises:
        DataError: the path leads out of the root, by itself or by a link.
    """
    file = root / path
    real = os.path.realpath(file)
    if Path(path).is_absolute() or ".." in Path(path).parts or not Path(real).is_relative_to(os.path.realpath(root)):
        raise DataError(
            f"{file} leads out of dataset.root, {root} (to {real}): copy it into that folder, "
            "or take a dataset.root that holds both"
        )
    return file


def read_lines(path: Path) -> list[str]:
    """Read a text file's lines without the blank ones, and without the blanks around them.

    Raises:
        DataError: the file is missing, may not be read, or is no UTF-8 text.
    """
    return list(iterate_lines(path))


def iterate_lines(path: Path) -> Iterator[str]:
    """The same, one by one, for lists that are too long to be held twice."""
    try:
        with path.open(encoding="utf-8-sig") as file:  # some editors begin a file with a byte order mark
            yield from (stripped for line in file if (stripped := line.strip()))
    except FileNotFoundError as error:
        raise DataError(f"the list {path} is missing") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8: {error}; save it as such") from error


def read_ids(path: Path, known: Collection[str], what: str) -> list[str]:
    """Read a list of ids, one per line.

    Args:
        path: text file.
        known: the ids that there are.
        what: what they are ids of, for messages.

    Raises:
        DataError: the list is missing or empty, or names an id twice, or an unknown one.
    """
    ids = read_lines(path)
    if not ids:
        raise DataError(f"the list {path} is empty")
    if repeated := sorted(id_ for id_, count in Counter(ids).items() if count > 1):
        raise DataError(f"{path} names {len(repeated)} ids more than once: {show(repeated)}")
    if unknown := sorted(set(ids) - set(known)):
        raise DataError(
            f"{path} names {len(unknown)} ids that are no {what}: {show(unknown)}{_hint(unknown[0], known)}"
        )
    return ids


def _hint(wrong: str, known: Iterable[str]) -> str:
    """Say which id may be meant: most lists that do not fit hold names of files, or other letters' case."""
    nearest = {fold(id_): id_ for id_ in known}
    for guess in (wrong, wrong.rpartition(".")[0], PurePosixPath(wrong).stem):
        if fold(guess) in nearest:
            return f"; did you mean {nearest[fold(guess)]!r}? Ids are taken letter by letter, without folder and ending"
    return ""


def fold(id_: str) -> str:
    """Make those ids equal that some file systems take for one: they differ by case, or in how accents are coded."""
    return unicodedata.normalize("NFC", id_).casefold()


def show(items: Iterable[str], separator: str = ", ") -> str:
    """Join the first few of many, and say how many more there are."""
    items = list(items)
    more = f"{separator}… and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return separator.join(items[:SHOWN]) + more


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read class names, one per line, in the order of their ids.

    Raises:
        DataError: the file is missing, or empty, or names a class twice, or one like a column of the tables, ``id``.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: it must name the classes, one per line, in the order of their ids")
    names = tuple(read_lines(path))
    if not names:
        raise DataError(f"{path} is empty: it must name the classes, one per line, in the order of their ids")
    if problem := name_problem(names):
        raise DataError(f"{path} {problem}")
    return names


def name_problem(names: Collection[str]) -> str | None:
    """Say what is wrong with class names, as the end of a sentence; None: nothing."""
    if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
        return f"names a class twice: {', '.join(repeated)}"
    if taken := [name for name in ("id", "truth") if name in names]:
        return f"names a class {taken[0]!r}, which is the name of a column in the tables; choose another name"
    return None
