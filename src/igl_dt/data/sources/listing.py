"""What every source gives: a listing of pictures and the names of the classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
class Listing:
    """A source's pictures, and its class names in the order of their ids in the masks."""

    pictures: tuple[Picture, ...]
    class_names: tuple[str, ...]


class DataError(ValueError):
    """Something is wrong with the pictures, masks, lists or folders that were given."""


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read class names, one per line, in the order of their ids.

    Raises:
        DataError: the file is missing, or empty, or names a class twice.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: it must name the classes, one per line, in the order of their ids")
    names = tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
    if not names:
        raise DataError(f"{path} is empty: it must name the classes, one per line, in the order of their ids")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path} names a class twice: {', '.join(repeated)}")
    return names
