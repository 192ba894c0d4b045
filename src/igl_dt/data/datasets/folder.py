"""Any folder of images and masks, described by ``dataset.options``; the user's guide is ``docs/own_data.md``.

``images``, ``masks`` and ``unlabeled`` are folders or patterns, relative to ``dataset.root``. In a pattern, ``*`` and
``?`` match within a name, ``**/`` matches any folders, ``{id}`` matches the id, and ``{split}`` is replaced by the
folder of a split. An image and a mask form a pair if their ids are identical:

- for a folder, the id is the path below it without suffix: ``images/a/7.jpg`` has the id ``a/7``;
- for a pattern with ``{id}``, it is the text matched by ``{id}``; several matches are joined by ``/``;
- for a pattern without ``{id}``, it is the file name without suffix;
- where splits are folders, ids are prefixed with ``train/``, ``val/`` or ``test/``; ids of ``unlabeled`` are prefixed
  with ``unlabeled/``.

Each file is used once: as a mask if ``masks`` matches it, else by ``images``, else by ``unlabeled``. An image without a
mask is unlabelled and must be a training image; a mask without an image is an error. Hidden files are skipped.
"""

import hashlib
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field, NonNegativeInt, model_validator

from igl_dt.data.datasets.base import (
    IMAGE_SUFFIXES,
    DataError,
    Listing,
    MaskFormat,
    Sample,
    SegmentationDataset,
    Split,
    count_problem,
    fold,
    locate,
    name_problem,
    read_class_names,
    read_ids,
    show,
    walk_images,
)
from igl_dt.utils.parameters import IGNORE_INDEX, Parameters, did_you_mean

logger = logging.getLogger(__name__)

IGNORED = "ignored"
"""Key for ignored pixels, beside the class names."""
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
    """The folder names that ``{split}`` stands for."""

    train: str
    val: str
    test: str | None = None


class Lists(Parameters):
    """Text files with one id per line, relative to ``dataset.root``."""

    train: str | None = None
    """null: all images that are not in another list."""
    val: str
    test: str | None = None


class Fractions(Parameters):
    """Shares of the images with a mask that are held out."""

    val: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(ge=0, lt=1)] = 0.0


class FolderOptions(Parameters):
    """``dataset.options`` of the source ``folder``."""

    images: str
    """Folder or pattern."""
    masks: str
    """Folder or pattern."""
    unlabeled: str | None = None
    """Folder or pattern of images without masks."""

    class_names: tuple[str, ...] | None = None
    """In the order of their ids; null: those of ``ids`` or ``colors``, in their order, or else one per line of
    ``classes.txt`` in ``dataset.root``."""
    ignore_id: NonNegativeInt = IGNORE_INDEX
    """Id of ignored pixels in the mask files, unless ``ids`` assigns it to a class."""
    ids: dict[str, Ids] | None = None
    """Id or ids of each class, and of ``ignored``, in the mask files; null: 0 for the first class, and so on."""
    colors: dict[str, Colors] | None = None
    """Colour or colours of each class, and of ``ignored``, in the mask files; null: they hold ids."""
    rest: str | None = None
    """Class, or ``ignored``, of all other ids or colours; null: those are an error."""

    folders: Folders | None = None
    """Splits are folders. Exactly one of ``folders``, ``lists`` and ``fractions`` is required."""
    lists: Lists | None = None
    """Splits are lists."""
    fractions: Fractions | None = None
    """Splits are drawn at random."""
    seed: NonNegativeInt = 0
    """Seed of ``fractions``; independent of the seed of the run."""
    group: str | None = None
    """Regular expression with one group, searched in the id: images with the same text in it, such as a patient or a
    video, are kept in one split."""

    @model_validator(mode="before")
    @classmethod
    def _tables_name_the_classes(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("class_names") is None:
            for table in (values.get("ids"), values.get("colors")):
                if isinstance(table, dict):
                    return values | {"class_names": [name for name in table if name != IGNORED]}
        return values

    @model_validator(mode="after")
    def _splits_are_given_once(self) -> "FolderOptions":
        if sum(way is not None for way in (self.folders, self.lists, self.fractions)) != 1:
            raise ValueError("give exactly one of folders, lists and fractions, which decides what is train and val")
        if self.fractions is not None and self.fractions.val + self.fractions.test >= 1:
            raise ValueError(
                "fractions.val and fractions.test leave nothing to train on: they must add up to less than 1"
            )
        if self.group is not None:
            try:
                groups = re.compile(self.group).groups
            except re.error as error:
                raise ValueError(f"group is not a regular expression: {error}") from error
            if groups != 1:
                raise ValueError(f"group must have one group in parentheses, such as (patient[0-9]+), not {groups}")
        return self

    @model_validator(mode="after")
    def _patterns_are_understood(self) -> "FolderOptions":
        for key, pattern in self._patterns().items():
            if not pattern or PurePosixPath(pattern).is_absolute() or ".." in PurePosixPath(pattern).parts:
                raise ValueError(f"{key} must be a folder or pattern in dataset.root, not {pattern!r}")
            if unknown := set(re.findall(r"\{.*?\}", pattern)) - {"{id}", "{split}"}:
                raise ValueError(f"{key} has {show(sorted(unknown))}: only {{id}} and {{split}} are known")
            if "{split}" in pattern and (self.folders is None or key == "unlabeled"):
                raise ValueError(f"{key} has {{split}}, which is only for images and masks, and only with folders")
            if "{split}" not in pattern and self.folders is not None and key != "unlabeled":
                raise ValueError(f"{key} must contain {{split}}, as folders is given; it is {pattern!r}")
        return self

    @model_validator(mode="after")
    def _classes_are_told_apart(self) -> "FolderOptions":
        if self.class_names is None:
            if self.rest is not None or self.ignore_id != IGNORE_INDEX:
                raise ValueError(f"class_names is missing: {'ignore_id' if self.rest is None else 'rest'} needs it")
            return self
        if problem := name_problem(self.class_names):
            raise ValueError(f"class_names {problem}")
        if IGNORED in self.class_names or any(not name.strip() for name in self.class_names):
            raise ValueError(f"class_names contains an empty name or {IGNORED!r}, which is not a class")
        if problem := count_problem(self.class_names):
            raise ValueError(f"class_names {problem}")
        if self.colors is not None and (self.ids is not None or self.ignore_id != IGNORE_INDEX):
            raise ValueError(f"colors excludes ids and ignore_id: list colours of ignored pixels under {IGNORED!r}")
        for key, table in (("ids", self.ids), ("colors", self.colors)):
            if table is not None:
                self._check_table(key, table, self.class_names)
        if self.rest is not None and self.rest not in (*self.class_names, IGNORED):
            raise ValueError(f"rest is {self.rest!r}{did_you_mean(self.rest, (*self.class_names, IGNORED))}")
        listed = [id_ for ids in (self.ids or {}).values() for id_ in ids]
        undecided = self.colors is None and "ignore_id" not in self.model_fields_set and IGNORE_INDEX not in listed
        if undecided and self.rest in self.class_names:
            raise ValueError(
                f"rest is {self.rest!r}, but it does not say whether {IGNORE_INDEX} is of this class or ignored: give "
                f"ignore_id={IGNORE_INDEX}, or list {IGNORE_INDEX} under ids"
            )
        if self.ids is None and self.ignore_id < len(self.class_names):
            taken = self.class_names[self.ignore_id]
            raise ValueError(f"ignore_id is {self.ignore_id}, the id of {taken!r}: assign other ids by ids")
        return self

    @staticmethod
    def _check_table(key: str, given: Mapping[str, tuple[Any, ...]], class_names: tuple[str, ...]) -> None:
        known = (*class_names, IGNORED)
        if unknown := sorted(set(given) - set(known)):
            raise ValueError(f"{key} has the unknown class {unknown[0]!r}{did_you_mean(unknown[0], known)}")
        if absent := [name for name in class_names if not given.get(name)]:
            raise ValueError(f"{key} has no entry for {show(absent)}: every class needs one")
        values = [value for values in given.values() for value in values]
        if twice := [str(value) for value, count in Counter(values).items() if count > 1]:
            raise ValueError(f"{key} has {show(twice)} more than once")

    def _patterns(self) -> dict[str, str]:
        patterns = {"images": self.images, "masks": self.masks}
        return patterns if self.unlabeled is None else patterns | {"unlabeled": self.unlabeled}


Files = dict[str, tuple[str, str | None]]
"""Paths of images and their masks, by id."""


class Folder(SegmentationDataset[FolderOptions]):
    """A folder described by its options."""

    name = "folder"
    options_type = FolderOptions

    def list_samples(self) -> Listing:
        self._check_root("what dataset.options name")
        root, options = self.root, self.options
        class_names = options.class_names
        if class_names is None:
            class_names = read_class_names(locate(root, "classes.txt"))
        files, splits = _find_labeled(root, options)
        if options.unlabeled is not None:
            counted = {path for pair in files.values() for path in pair}
            for id_, path in _find(root, options.unlabeled, "unlabeled", without=counted).items():
                files[f"unlabeled/{id_}"], splits[f"unlabeled/{id_}"] = (path, None), "train"
        if options.group is not None:
            splits = _keep_groups_apart(files, splits, options.group)
        samples = (Sample(id_, split, *files[id_]) for id_, split in sorted(splits.items()))
        return Listing(tuple(samples), class_names)

    def mask_format(self) -> MaskFormat:
        names, colors, ids = self.options.class_names, self.options.colors, self.options.ids
        if names is None:
            return MaskFormat()
        number = {name: class_id for class_id, name in enumerate(names)} | {IGNORED: IGNORE_INDEX}
        rest = None if self.options.rest is None else number[self.options.rest]
        if colors is not None:
            return MaskFormat(
                colors=tuple((color, number[name]) for name, several in colors.items() for color in several), rest=rest
            )
        if ids is None and self.options.ignore_id == IGNORE_INDEX and rest is None:
            return MaskFormat()
        given = ids or {name: (number[name],) for name in names}
        table = {self.options.ignore_id: IGNORE_INDEX}
        table |= {id_: number[name] for name, several in given.items() for id_ in several}
        return MaskFormat(ids=tuple(table.items()), rest=rest)


def _find_labeled(root: Path, options: FolderOptions) -> tuple[Files, dict[str, Split]]:
    """Find the files of ``images`` and ``masks``, and the split of each id."""
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
        nearest = f"there is an image {alike!r}" if alike else f"images have ids such as {min(images)!r}"
        raise DataError(
            f"{len(alone)} masks in {root} have no image: {show(masks[id_] for id_ in alone)}; the id of the first is "
            f"{alone[0]!r}, and {nearest}: rename or remove them, or write {{id}} for the common part of the names, as "
            "in masks/{id}_label.png"
        )
    return {id_: (path, masks.get(id_)) for id_, path in images.items()}


def _read_lists(root: Path, lists: Lists, files: Files) -> dict[str, Split]:
    splits: dict[str, Split] = {} if lists.train is not None else dict.fromkeys(files, "train")
    listed: dict[str, Split] = {}
    duplicates = []
    for split in get_args(Split):
        name = getattr(lists, split)
        for id_ in [] if name is None else read_ids(root / name, files, "images of dataset.options.images"):
            if listed.setdefault(id_, split) != split:
                duplicates.append(f"{id_} (of {listed[id_]} and {split})")
    if duplicates:
        raise DataError(f"{len(duplicates)} ids are in two of dataset.options.lists: {show(duplicates)}")
    return splits | listed


def _draw(files: Files, fractions: Fractions, seed: int, group: str | None) -> dict[str, Split]:
    """Hold out groups in the order of their hash until there are enough images; all others are training images."""
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
                f"dataset.options.fractions of {count} {what} give no {split} image: label more images, or choose "
                "other fractions"
            )
    return splits


def _keep_groups_apart(files: Files, splits: dict[str, Split], group: str) -> dict[str, Split]:
    """Refuse groups in two splits, and leave out unlabelled images of groups that are used for evaluation."""
    sides: dict[str, Split] = {}
    torn: dict[str, str] = {}
    for id_, split in splits.items():
        if files[id_][1] is not None and sides.setdefault(name := _group(id_, group), split) != split:
            torn.setdefault(name, f"{name!r} (in {sides[name]}, and in {split} as {id_!r})")
    if torn:
        raise DataError(
            f"{len(torn)} groups of dataset.options.group are in two splits, so that scores would be too good: "
            f"{show(torn.values())}; put all images of a group into one list or folder"
        )
    kept = {id_: split for id_, split in splits.items() if sides.get(_group(id_, group), split) == split}
    if len(kept) < len(splits):
        left_out = [id_ for id_ in splits if id_ not in kept]
        logger.info(
            "%d unlabelled images are left out, as val or test has their group: %s", len(left_out), show(left_out)
        )
    return kept


def _group(id_: str, group: str | None) -> str:
    if group is None:
        return id_
    found = re.search(group, id_)
    if found is None or not found[1]:
        raise DataError(f"dataset.options.group {group!r} does not match the id {id_!r}: every image needs a group")
    return str(found[1])


def _find(root: Path, pattern: str, key: str, without: Collection[str | None] = ()) -> dict[str, str]:
    """Return the paths of the images that a folder or pattern matches, relative to the root, by id."""
    pattern = PurePosixPath(pattern).as_posix()
    wildcard = re.search(r"[*?]|\{id\}", pattern)
    fixed = pattern[: wildcard.start()].rpartition("/")[0] if wildcard else pattern
    folder = locate(root, fixed)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: dataset.options.{key} is {pattern!r}")
    tokens = re.split("(" + "|".join(map(re.escape, WILDCARDS)) + ")", pattern)
    matcher = re.compile("".join(WILDCARDS.get(token, re.escape(token)) for token in tokens), re.DOTALL | re.IGNORECASE)
    found: dict[str, str] = {}
    duplicates = []
    used = 0
    for file in walk_images(folder, lambda path: locate(root, path.relative_to(root).as_posix())):
        path = file.relative_to(root).as_posix()
        match = matcher.fullmatch(path)
        if wildcard is not None and match is None:
            continue
        if path in without:
            used += 1
            continue
        below = file.relative_to(folder).with_suffix("").as_posix()
        id_ = below if match is None else "/".join(match.groups()) or file.stem
        if found.setdefault(id_, path) != path:
            duplicates.append(f"{id_!r} ({found[id_]} and {path})")
    if duplicates:
        raise DataError(
            f"{len(duplicates)} ids of dataset.options.{key} have two files in {root}: {show(duplicates)}; remove one "
            "of them, or write {id} for the part of the path in which they differ"
        )
    if not found:
        raise DataError(
            f"no images in {folder} for dataset.options.{key}, {pattern!r}: expected files ending in "
            f"{', '.join(IMAGE_SUFFIXES)}" + f"; {used} such files are used already" * bool(used)
        )
    return found
