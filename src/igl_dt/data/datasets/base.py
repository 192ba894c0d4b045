"""What all data sets have in common: the base class, what it returns, and the reading of lists and class names."""

import os
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import ValidationError

from igl_dt.utils.parameters import IGNORE_INDEX, Parameters, explain

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".pgm", ".ppm")
"""Suffixes of image files; case does not matter."""
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Characters that tables and lists cannot hold: control characters, and bytes of a file name that are not UTF-8."""
SHOWN = 5
"""Offenders named in an error; the rest are counted."""

Split = Literal["train", "val", "test"]


class DataError(ValueError):
    """Something is wrong with the given images, masks, lists or folders."""


@dataclass(frozen=True)
class Sample:
    """One image of a data set; paths are POSIX paths relative to the data set's root."""

    id: str
    split: Split
    image: str
    mask: str | None
    """None: the image has no mask and can only be used unlabelled."""


@dataclass(frozen=True)
class MaskFormat:
    """How the pixels of mask files encode classes; by default, they hold class ids."""

    ids: tuple[tuple[int, int], ...] | None = None
    """Pairs of an id in the files and a class id; None: they are the same."""
    rest: int | None = None
    """Class id of all other ids or colours; None: those are an error."""
    colors: tuple[tuple[tuple[int, int, int], int], ...] | None = None
    """Pairs of an RGB colour in the files and a class id; None: the files hold ids."""


@dataclass(frozen=True)
class Listing:
    """The images of a data set, and its class names in the order of their ids."""

    samples: tuple[Sample, ...]
    class_names: tuple[str, ...]


class NoOptions(Parameters):
    """The options of a data set that has none."""


Options = TypeVar("Options", bound=Parameters)


class SegmentationDataset(ABC, Generic[Options]):
    """A data set's layout on disk. A subclass in a module of this package is all that a new data set needs.

    Args:
        root: folder of the data set.
        options: ``dataset.options``.

    Raises:
        DataError: an option is unknown or invalid.
    """

    name: ClassVar[str]
    """Value of ``dataset.source`` that selects it."""
    options_type: ClassVar[type[Parameters]] = NoOptions
    """Type of ``options``."""
    draws_itself: ClassVar[bool] = False
    """Whether ``list_samples`` generates the images in ``root``, so that they are an output and not an input."""

    def __init__(self, root: Path, options: Mapping[str, Any]) -> None:
        self.root = root
        self.options: Options = self._parse(options)

    def _parse(self, options: Mapping[str, Any]) -> Any:
        try:
            return self.options_type.model_validate(dict(options))
        except ValidationError as error:
            problems = "; ".join(explain(error, self.options_type))
            raise DataError(f"dataset.options of the source {self.name}: {problems}") from error

    @abstractmethod
    def list_samples(self) -> Listing:
        """List images, masks and class names without opening any image.

        Raises:
            DataError: files or folders are missing, or do not fit together.
        """

    def mask_format(self) -> MaskFormat:
        """Return how masks encode classes, without reading any file."""
        return MaskFormat()

    def _check_root(self, contents: str) -> None:
        if not self.root.is_dir():
            raise DataError(f"dataset.root {str(self.root)!r} is not a folder: it must hold {contents}")


def locate(root: Path, path: str) -> Path:
    """Return the file or folder at a path relative to the data set's root.

    Raises:
        DataError: the path leads out of the root, by itself or by a link.
    """
    file = root / path
    real = os.path.realpath(file)
    if Path(path).is_absolute() or ".." in Path(path).parts or not Path(real).is_relative_to(os.path.realpath(root)):
        raise DataError(
            f"{file} leads out of dataset.root, {root} (to {real}): copy it into that folder, "
            "or choose a dataset.root that contains both"
        )
    return file


def walk_images(
    folder: Path,
    enter: Callable[[Path], Path] = lambda path: path,
    skipped: Callable[[DataError], object] | None = None,
    above: tuple[str, ...] = (),
) -> Iterator[Path]:
    """Yield the images in a folder and its subfolders, in order, without hidden ones; links are followed.

    Args:
        folder: where to begin.
        enter: refuses a subfolder by an error, or gives its path.
        skipped: takes the error of a folder that cannot be listed, or is a link to one that contains it. None: it is
            raised.
        above: folders that contain this one.

    Raises:
        DataError: see ``skipped``.
    """
    try:
        entries = _list_folder(folder, above)
    except DataError as error:
        if skipped is None:
            raise
        skipped(error)
        return
    for path, is_folder in entries:
        if is_folder:
            yield from walk_images(enter(path), enter, skipped, (*above, os.path.realpath(folder)))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield path


def _list_folder(folder: Path, above: tuple[str, ...]) -> list[tuple[Path, bool]]:
    """Give what a folder has, in order and without what is hidden, and whether each is a folder."""
    if (here := os.path.realpath(folder)) in above:
        raise DataError(f"{folder} is a link to {here}, a folder that contains it: remove it")
    try:
        return [(path, path.is_dir()) for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from error


def read_lines(path: Path) -> list[str]:
    """Read the non-blank lines of a UTF-8 text file, stripped of surrounding whitespace.

    Raises:
        DataError: the file is missing, unreadable, or not UTF-8.
    """
    return list(iterate_lines(path))


def iterate_lines(path: Path) -> Iterator[str]:
    """Like ``read_lines``, line by line, for lists too long to be held twice."""
    try:
        with path.open(encoding="utf-8-sig") as file:  # some editors begin a file with a byte order mark
            yield from (stripped for line in file if (stripped := line.strip()))
    except FileNotFoundError as error:
        raise DataError(f"the list {path} is missing") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from error


def read_ids(path: Path, known: Collection[str], what: str) -> list[str]:
    """Read a list of ids, one per line.

    Args:
        path: text file.
        known: all valid ids.
        what: what they are ids of, for messages.

    Raises:
        DataError: the list is missing or empty, or contains an id twice or an unknown one.
    """
    ids = read_lines(path)
    if not ids:
        raise DataError(f"the list {path} is empty")
    if repeated := sorted(id_ for id_, count in Counter(ids).items() if count > 1):
        raise DataError(f"{path} names {len(repeated)} ids more than once: {show(repeated)}")
    if unknown := sorted(set(ids) - set(known)):
        raise DataError(
            f"{path} names {len(unknown)} ids that are not {what}: {show(unknown)}{_hint(unknown[0], known)}"
        )
    return ids


def _hint(wrong: str, known: Iterable[str]) -> str:
    """Name the id that is probably meant: most lists that do not match hold file names, or differ in case."""
    nearest = {fold(id_): id_ for id_ in known}
    for guess in (wrong, wrong.rpartition(".")[0], PurePosixPath(wrong).stem):
        if fold(guess) in nearest:
            return f"; did you mean {nearest[fold(guess)]!r}? Ids must match exactly, without folder and suffix"
    return ""


def fold(id_: str) -> str:
    """Normalise an id as some file systems do, to which names that differ in case or Unicode form are the same."""
    return unicodedata.normalize("NFC", id_).casefold()


def show(items: Iterable[str], separator: str = ", ") -> str:
    """Join the first few items, and count the rest."""
    items = list(items)
    more = f"{separator}… and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return separator.join(items[:SHOWN]) + more


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read class names, one per line, in the order of their ids.

    Raises:
        DataError: the file is missing or empty, has too few or too many names (see ``count_problem``), or a name twice
            or a reserved one (see ``name_problem``).
    """
    expected = "it must name the classes, one per line, in the order of their ids"
    if not path.is_file():
        raise DataError(f"{path} is missing: {expected}")
    names = tuple(read_lines(path))
    if not names:
        raise DataError(f"{path} is empty: {expected}")
    if problem := count_problem(names) or name_problem(names):
        raise DataError(f"{path} {problem}")
    return names


def count_problem(class_names: Collection[str]) -> str | None:
    """Describe what is wrong with the number of classes, as the predicate of a sentence; None if nothing is."""
    if 2 <= len(class_names) <= IGNORE_INDEX:
        return None
    return f"has {len(class_names)} classes: 2 to {IGNORE_INDEX} are possible, the background included"


def name_problem(names: Collection[str]) -> str | None:
    """Describe what is wrong with class names, as the predicate of a sentence; None if nothing is."""
    if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
        return f"names a class twice: {', '.join(repeated)}"
    if taken := [name for name in ("id", "truth") if name in names]:
        return f"names a class {taken[0]!r}, which is the name of a column in the tables; choose another name"
    return None
