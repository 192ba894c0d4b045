"""What every source gives: a listing of pictures and the names of the classes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from igl_dt.parameters import Parameters

Options = TypeVar("Options", bound=Parameters)
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Picture:
    """One picture as its source lists it; paths are POSIX paths relative to the data set's root."""

    id: str
    split: Split
    image: str
    mask: str | None
    """None: the picture has no mask and can only be used unlabelled."""


@dataclass(frozen=True)
class MaskFormat:
    """How the masks' files say which class a pixel is; as it stands, by the class's id itself."""

    ids: tuple[tuple[int, int], ...] | None = None
    """Pairs of an id in the files and the class's id; None: they are the same."""
    rest: int | None = None
    """What all ids not named become; None: they are an error."""
    colors: tuple[tuple[tuple[int, int, int], int], ...] | None = None
    """Pairs of a colour in the files and the class's id; None: the files hold ids."""


@dataclass(frozen=True)
class Listing:
    """A source's pictures, and its class names in the order of their ids in the masks."""

    pictures: tuple[Picture, ...]
    class_names: tuple[str, ...]
    mask_format: MaskFormat = MaskFormat()


class DataError(ValueError):
    """Something is wrong with the pictures, masks, lists or folders that were given."""


def parse_options(source: str, kind: type[Options], options: Mapping[str, Any]) -> Options:
    """Turn ``dataset.options`` into the source's own object.

    Raises:
        DataError: an unknown or wrong option.
    """
    try:
        return kind(**options)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'options'}: {e['msg']}" for e in error.errors())
        known = ", ".join(kind.model_fields) or "none"
        raise DataError(f"dataset.options of the source {source}: {problems}. It takes: {known}") from error


def read_lines(path: Path) -> list[str]:
    """Read a text file's lines without the blank ones, and without the blanks around them.

    Raises:
        DataError: the file is no UTF-8 text.
    """
    return list(iterate_lines(path))


def iterate_lines(path: Path) -> Iterator[str]:
    """The same, one by one, for lists that are too long to be held twice."""
    try:
        with path.open(encoding="utf-8-sig") as file:  # some editors begin a file with a byte order mark
            yield from (stripped for line in file if (stripped := line.strip()))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8: {error}; save it as such") from error


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
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path} names a class twice: {', '.join(repeated)}")
    if "id" in names:
        raise DataError(f"{path} names a class 'id', which is the name of a column in the tables; choose another name")
    return names
