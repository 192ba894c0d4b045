"""Any folder of images and masks: ``dataset.options`` say where they are, and ``docs/own_data.md`` explains them.

``images``, ``masks`` and ``unlabeled`` are folders or patterns, relative to ``dataset.root``. In a pattern ``*`` and
``?`` stand for text within a name, ``**/`` for any folders, ``{id}`` for what names the image, and ``{split}`` for
the folder of a split. An image and a mask belong together where their ids are the same letter by letter:

- of a folder, the id is the path below it without its ending: ``images/a/7.jpg`` has the id ``a/7``;
- of a pattern with ``{id}``, it is what that stands for; where it is there more than once, joined by ``/``;
- of a pattern without, it is the file's name without its ending;
- before it comes ``train/``, ``val/`` or ``test/`` where splits are folders, and ``unlabeled/`` for those images.

A file counts once: as a mask if ``masks`` finds it, else as one of ``images``, else as one of ``unlabeled``. An image
of ``images`` without a mask is unlabelled; it must be a training image. Every mask must belong to an image. Hidden
files are passed over.
"""

import hashlib
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field, NonNegativeInt, model_validator

from igl_dt.data.datasets.listing import (
    IMAGE_SUFFIXES,
    DataError,
    Listing,
    MaskFormat,
    Sample,
    Split,
    fold,
    locate,
    name_problem,
    parse_options,
    read_class_names,
    read_ids,
    show,
)
from igl_dt.utils.parameters import IGNORE_INDEX, Parameters

logger = logging.getLogger(__name__)

IGNORED = "ignored"
"""What stands for no class, beside the classes' names."""
WILDCARDS = {"{id}": "(.+)", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}

Byte = Annotated[int, Field(ge=0, le=255)]


def _as_ids(value: Any) -> Any:
    return [value] if isinstance(value, int) else value


def _as_colors(value: Any) -> Any:
    is_one = isinstance(value, (list, tuple)) and all(isinstance(part, int) for part in value)
    return [value] if is_one else value


Ids = Annotated[tuple[Annotated[int, Field(ge=0, lt=2**16)], ...], BeforeValidator(_as_ids)]
"""One id, or several."""
Colors = Annotated[tuple[tuple[Byte, Byte, Byte], ...], BeforeValidator(_as_colors)]
"""One colour [red, green, blue], or several."""


class Folders(Parameters):
    """What ``{split}`` stands for."""

    train: str
    val: str
    test: str | None = None


class Lists(Parameters):
    """Text files with one id per line, relative to ``dataset.root``."""

    train: str | None = None
    """null: all images that are in no other list."""
    val: str
    test: str | None = None


class Fractions(Parameters):
    """Shares of the images with a mask that are put aside."""

    val: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(ge=0, lt=1)] = 0.0


class FolderOptions(Parameters):
    """What ``dataset.options`` may hold for the source ``folder``."""

    images: str
    """Folder or pattern."""
    masks: str
    """Folder or pattern."""
    unlabeled: str | None = None
    """Folder or pattern of images that have no mask."""

    class_names: tuple[str, ...] | None = None
    """In the order of their ids; null: one per line of ``classes.txt`` in ``dataset.root``."""
    ignore_id: NonNegativeInt = IGNORE_INDEX
    """Id in the mask files of pixels that count as nothing, where ``ids`` does not say otherwise."""
    ids: dict[str, Ids] | None = None
    """Id or ids in the mask files of each class, and of ``ignored``; null: 0 for the first class, and so on."""
    colors: dict[str, Colors] | None = None
    """Colour or colours in the mask files of each class, and of ``ignored``; null: they hold ids."""
    rest: str | None = None
    """Class, or ``ignored``, that ids and colours not named stand for; null: they are an error."""

    folders: Folders | None = None
    """Splits are folders. Exactly one of ``folders``, ``lists`` and ``fractions`` is needed."""
    lists: Lists | None = None
    """Splits are lists."""
    fractions: Fractions | None = None
    """Splits are drawn."""
    seed: NonNegativeInt = 0
    """Decides what is drawn."""
    group: str | None = None
    """Regular expression with one group, searched in the id: images for which it finds the same text, such as a
    patient or a video, are all on one side."""

    @model_validator(mode="after")
    def _splits_are_given_once(self) -> "FolderOptions":
        if sum(way is not None for way in (self.folders, self.lists, self.fractions)) != 1:
            raise ValueError(
                "give exactly one of folders, lists and fractions: they say which images are train and val"
            )
        if self.fractions is not None and self.fractions.val + self.fractions.test >= 1:
            raise ValueError(
                "fractions.val and fractions.test leave nothing to train on: they must add up to less than 1"
            )
        if self.group is not None:
            try:
                groups = re.compile(self.group).groups
            except re.error as error:
                raise ValueError(f"group is no regular expression: {error}") from error
            if groups != 1:
                raise ValueError(f"group must have one group in parentheses, such as (patient[0-9]+), not {groups}")
        return self

    @model_validator(mode="after")
    def _patterns_are_understood(self) -> "FolderOptions":
        for key, pattern in self._patterns().items():
            if not pattern or PurePosixPath(pattern).is_absolute() or ".." in PurePosixPath(pattern).parts:
                raise ValueError(f"{key} must be a folder or pattern in dataset.root, not {pattern!r}")
            if unknown := set(re.findall(r"\{.*?\}", pattern)) - {"{id}", "{split}"}:
                raise ValueError(f"{key} has {show(sorted(unknown))}: there are {{id}} and {{split}}")
            if "{split}" in pattern and (self.folders is None or key == "unlabeled"):
                raise ValueError(f"{key} has {{split}}, which only images and masks may have, and only beside folders")
            if "{split}" not in pattern and self.folders is not None and key != "unlabeled":
                raise ValueError(f"{key} must have {{split}}, for which folders say the names, and is {pattern!r}")
        return self

    @model_validator(mode="after")
    def _classes_are_told_apart(self) -> "FolderOptions":
        if self.class_names is None:
            tables = {"ids": self.ids, "colors": self.colors, "rest": self.rest}
            given = [key for key, table in tables.items() if table is not None]
            if given or self.ignore_id != IGNORE_INDEX:
                raise ValueError(f"class_names is missing: it is needed beside {show(given) or 'ignore_id'}")
            return self
        if problem := name_problem(self.class_names):
            raise ValueError(f"class_names {problem}")
        if IGNORED in self.class_names or any(not name.strip() for name in self.class_names):
            raise ValueError(f"class_names has a blank or {IGNORED!r}, which is no class")
        if problem := _count_problem(self.class_names):
            raise ValueError(f"class_names {problem}")
        if self.colors is not None and (self.ids is not None or self.ignore_id != IGNORE_INDEX):
            raise ValueError(f"colors are given beside ids or ignore_id: in colours, name {IGNORED!r} like a class")
        for key, table in (("ids", self.ids), ("colors", self.colors)):
            if table is not None:
                self._check_table(key, table, self.class_names)
        if self.rest is not None and self.rest not in (*self.class_names, IGNORED):
            raise ValueError(f"rest is {self.rest!r}: there are {', '.join((*self.class_names, IGNORED))}")
        if self.ids is None and self.ignore_id < len(self.class_names):
            taken = self.class_names[self.ignore_id]
            raise ValueError(f"ignore_id is {self.ignore_id}, the id of {taken!r}: give the classes other ones by ids")
        return self

    @staticmethod
    def _check_table(key: str, given: Mapping[str, tuple[Any, ...]], class_names: tuple[str, ...]) -> None:
        if unknown := sorted(set(given) - {*class_names, IGNORED}):
            known = ", ".join((*class_names, IGNORED))
            raise ValueError(f"{key} names {show(unknown)}, which class_names does not: there are {known}")
        if absent := [name for name in class_names if not given.get(name)]:
            raise ValueError(f"{key} does not name {show(absent)}: every class needs one")
        values = [value for values in given.values() for value in values]
        if twice := [str(value) for value, count in Counter(values).items() if count > 1]:
            raise ValueError(f"{key} has {show(twice)} more than once")

    def _patterns(self) -> dict[str, str]:
        patterns = {"images": self.images, "masks": self.masks}
        return patterns if self.unlabeled is None else patterns | {"unlabeled": self.unlabeled}


def _count_problem(class_names: Collection[str]) -> str | None:
    """Say what is wrong with how many classes there are, as the end of a sentence; None: nothing."""
    if 2 <= len(class_names) <= IGNORE_INDEX:
        return None
    return f"has {len(class_names)} classes: 2 to {IGNORE_INDEX} are possible; what is around the things is a class too"


def mask_format(options: Mapping[str, Any]) -> MaskFormat:
    """Say how masks are read with these options."""
    return _mask_format(parse_options("folder", FolderOptions, options))


def _mask_format(options: FolderOptions) -> MaskFormat:
    if options.class_names is None:
        return MaskFormat()
    number = {name: class_id for class_id, name in enumerate(options.class_names)} | {IGNORED: IGNORE_INDEX}
    rest = None if options.rest is None else number[options.rest]
    if options.colors is not None:
        colors = ((color, number[name]) for name, colors in options.colors.items() for color in colors)
        return MaskFormat(colors=tuple(colors), rest=rest)
    if options.ids is None and options.ignore_id == IGNORE_INDEX and rest is None:
        return MaskFormat()  # a class's number is its id
    given = options.ids or {name: (number[name],) for name in options.class_names}
    ids = {options.ignore_id: IGNORE_INDEX} | {id_: number[name] for name, ids in given.items() for id_ in ids}
    return MaskFormat(ids=tuple(ids.items()), rest=rest)


Files = dict[str, tuple[str, str | None]]
"""Paths of images and their masks, by id."""


def list_samples(root: Path, options: Mapping[str, Any]) -> Listing:
    """List a folder as its options say.

    Raises:
        DataError: the root, a folder or a list is missing, empty or not to be read; two files have one id; a mask
            has no image; an image to measure with has no mask; a group is on two sides; or a wrong option.
    """
    parsed = parse_options("folder", FolderOptions, options)
    if not root.is_dir():
        raise DataError(f"dataset.root {str(root)!r} is not a folder: it must hold what dataset.options name")
    class_names = parsed.class_names
    if class_names is None:
        class_names = read_class_names(locate(root, "classes.txt"))
        if problem := _count_problem(class_names):
            raise DataError(f"{root / 'classes.txt'} {problem}")
    files, splits = _find_labeled(root, parsed)
    if parsed.unlabeled is not None:
        counted = {path for pair in files.values() for path in pair}
        for id_, path in _find(root, parsed.unlabeled, "unlabeled", without=counted).items():
            files[f"unlabeled/{id_}"], splits[f"unlabeled/{id_}"] = (path, None), "train"
    if absent := [f"{id_} ({split})" for id_, split in splits.items() if split != "train" and files[id_][1] is None]:
        raise DataError(
            f"{len(absent)} val or test images have no mask, which is needed to measure with: {show(absent)}"
        )
    if parsed.group is not None:
        splits = _keep_groups_apart(files, splits, parsed.group)
    samples = (Sample(id_, split, *files[id_]) for id_, split in sorted(splits.items()))
    return Listing(tuple(samples), class_names, _mask_format(parsed))


def _find_labeled(root: Path, options: FolderOptions) -> tuple[Files, dict[str, Split]]:
    """Find what ``images`` and ``masks`` name, and say which split it is in."""
    files: Files = {}
    splits: dict[str, Split] = {}
    if options.folders is not None:
        for split in get_args(Split):
            if (name := getattr(options.folders, split)) is not None:
                images, masks = (pattern.replace("{split}", name) for pattern in (options.images, options.masks))
                part = {f"{split}/{id_}": pair for id_, pair in _pair(root, images, masks).items()}
                files |= part
                splits |= dict.fromkeys(part, split)
        return files, splits
    files = _pair(root, options.images, options.masks)
    if options.lists is not None:
        return files, _read_lists(root, options.lists, files)
    assert options.fractions is not None
    return files, _draw(files, options.fractions, options.seed, options.group)


def _pair(root: Path, images_pattern: str, masks_pattern: str) -> Files:
    masks = _find(root, masks_pattern, "masks")
    images = _find(root, images_pattern, "images", without=set(masks.values()))
    if alone := sorted(set(masks) - set(images)):
        alike = {fold(id_): id_ for id_ in images}.get(fold(alone[0]))
        nearest = f"there is {alike!r}" if alike else f"images have ids such as {min(images)!r}"
        raise DataError(
            f"{len(alone)} masks in {root} belong to no image: {show(masks[id_] for id_ in alone)}; the id of the "
            f"first is {alone[0]!r}, and {nearest}: rename or remove them, or write {{id}} for what is alike, as in "
            "masks/{id}_label.png"
        )
    return {id_: (path, masks.get(id_)) for id_, path in images.items()}


def _read_lists(root: Path, lists: Lists, files: Files) -> dict[str, Split]:
    splits: dict[str, Split] = {} if lists.train is not None else dict.fromkeys(files, "train")
    listed: dict[str, Split] = {}
    twice = []
    for split in get_args(Split):
        name = getattr(lists, split)
        for id_ in [] if name is None else read_ids(root / name, files, "images of dataset.options.images"):
            if listed.setdefault(id_, split) != split:
                twice.append(f"{id_} (of {listed[id_]} and {split})")
    if twice:
        raise DataError(f"{len(twice)} ids are in two of dataset.options.lists: {show(twice)}")
    return splits | listed


def _draw(files: Files, fractions: Fractions, seed: int, group: str | None) -> dict[str, Split]:
    """Put groups aside in the order of their hash, until there are enough images; the others stay as they come."""
    members = defaultdict(list)
    for id_, (_, mask) in files.items():
        if mask is not None:
            members[_group(id_, group)].append(id_)
    count = sum(map(len, members.values()))
    wanted: dict[Split, int] = {"val": round(fractions.val * count), "test": round(fractions.test * count)}
    splits: dict[str, Split] = dict.fromkeys(files, "train")
    sizes = dict.fromkeys(get_args(Split), 0)
    for name in sorted(members, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest()):
        split: Split = next((split for split, size in wanted.items() if sizes[split] < size), "train")
        splits |= dict.fromkeys(members[name], split)
        sizes[split] += len(members[name])
    for split in get_args(Split):
        if sizes[split] == 0 and (split == "train" or getattr(fractions, split) > 0):
            what = f"images with masks{f', in {len(members)} groups,' if group else ''}"
            raise DataError(
                f"dataset.options.fractions of {count} {what} give none for {split}: label more images, or choose "
                "other fractions"
            )
    return splits


def _keep_groups_apart(files: Files, splits: dict[str, Split], group: str) -> dict[str, Split]:
    """See to it that no group is on two sides; unlabelled images of a group that is measured with are left out."""
    sides: dict[str, Split] = {}
    torn: dict[str, str] = {}
    for id_, split in splits.items():
        if files[id_][1] is not None and sides.setdefault(name := _group(id_, group), split) != split:
            torn.setdefault(name, f"{name!r} (in {sides[name]}, and in {split} as {id_!r})")
    if torn:
        raise DataError(
            f"{len(torn)} groups of dataset.options.group are on two sides, so that scores would be too good: "
            f"{show(torn.values())}; put all images of a group into one list or folder"
        )
    kept = {id_: split for id_, split in splits.items() if sides.get(_group(id_, group), split) == split}
    if len(kept) < len(splits):
        left_out = [id_ for id_ in splits if id_ not in kept]
        logger.info("%d unlabelled images are of groups measured with, and left out: %s", len(left_out), show(left_out))
    return kept


def _group(id_: str, group: str | None) -> str:
    if group is None:
        return id_
    found = re.search(group, id_)
    if found is None or not found[1]:
        raise DataError(f"dataset.options.group {group!r} finds nothing in the id {id_!r}: every image needs a group")
    return str(found[1])


def _find(root: Path, pattern: str, key: str, without: Collection[str | None] = ()) -> dict[str, str]:
    """Give the paths of images that a folder or pattern names, relative to the root, by id."""
    pattern = PurePosixPath(pattern).as_posix()
    wildcard = re.search(r"[*?]|\{id\}", pattern)
    fixed = pattern[: wildcard.start()].rpartition("/")[0] if wildcard else pattern
    folder = locate(root, fixed)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: dataset.options.{key} is {pattern!r}")
    tokens = re.split("(" + "|".join(map(re.escape, WILDCARDS)) + ")", pattern)
    matcher = re.compile("".join(WILDCARDS.get(token, re.escape(token)) for token in tokens), re.DOTALL)
    found: dict[str, str] = {}
    twice = []
    passed_over = 0
    for file in _walk(root, folder):
        path = file.relative_to(root).as_posix()
        match = matcher.fullmatch(path)
        if wildcard is not None and match is None:
            continue
        if path in without:
            passed_over += 1
            continue
        below = file.relative_to(folder).with_suffix("").as_posix()
        id_ = below if match is None else "/".join(match.groups()) or file.stem
        if found.setdefault(id_, path) != path:
            twice.append(f"{id_!r} ({found[id_]} and {path})")
    if twice:
        raise DataError(
            f"{len(twice)} times two files for one id of dataset.options.{key} in {root}: {show(twice)}; remove one of "
            "them, or write {id} for what tells them apart"
        )
    if not found:
        raise DataError(
            f"no images in {folder} for dataset.options.{key}, {pattern!r}: expected files ending in "
            f"{', '.join(IMAGE_SUFFIXES)}" + f"; {passed_over} such files are taken already" * bool(passed_over)
        )
    return found


def _walk(root: Path, folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Give the images in a folder and its subfolders, in order; links are followed within the root."""
    here = os.path.realpath(folder)
    if here in above:
        raise DataError(f"{folder} is a link to a folder that it lies in itself, {here}: remove it")
    try:
        entries = [(path, path.is_dir()) for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from error
    for path, is_folder in entries:
        if is_folder:
            yield from _walk(root, locate(root, path.relative_to(root).as_posix()), (*above, here))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield path
