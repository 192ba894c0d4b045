"""Folders in the manner of CamVid: ``{train,val,test}/{images,masks}``, and ``classes.txt``.

A file ``train.txt`` (``val.txt``, ``test.txt``) at the root names the ids of that split, one per line; without it every
image of the folder counts. ``val`` is needed, ``test`` is not. A training image without a mask is unlabelled.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from igl_dt.data.datasets.listing import (
    IMAGE_SUFFIXES,
    DataError,
    Listing,
    Sample,
    Split,
    parse_options,
    read_class_names,
    read_ids,
    show,
)
from igl_dt.utils.parameters import Parameters


class CamVidOptions(Parameters):
    """This source has no options."""


def list_samples(root: Path, options: Mapping[str, Any]) -> Listing:
    """List a folder in the manner of CamVid.

    Raises:
        DataError: the root, a split's folder, a listed image or ``classes.txt`` is missing or empty; or an option.
    """
    parse_options("camvid", CamVidOptions, options)
    if not root.is_dir():
        raise DataError(
            f"dataset.root {str(root)!r} is not a folder: "
            "it must hold train/images, train/masks, val/images, val/masks and classes.txt"
        )
    samples: list[Sample] = []
    for split in get_args(Split):
        if split == "test" and not (root / split).exists():
            continue
        samples += _list_split(root, split)
    return Listing(tuple(samples), read_class_names(root / "classes.txt"))


def _list_split(root: Path, split: Split) -> Iterator[Sample]:
    image_folder, mask_folder = root / split / "images", root / split / "masks"
    images, masks = _files_by_id(image_folder), _files_by_id(mask_folder)
    if not images:
        raise DataError(f"no images in {image_folder}: expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    listed = root / f"{split}.txt"
    ids = read_ids(listed, images, f"images in {image_folder}") if listed.is_file() else sorted(images)
    if split != "train" and (absent := [id_ for id_ in ids if id_ not in masks]):
        raise DataError(
            f"{len(absent)} of {len(ids)} {split} images have no mask in {mask_folder}, which is needed to measure "
            f"with: {show(absent)}"
        )
    for id_ in ids:
        image, mask = images[id_].relative_to(root), masks.get(id_)
        yield Sample(id_, split, image.as_posix(), mask.relative_to(root).as_posix() if mask else None)


def _files_by_id(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    twice = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in IMAGE_SUFFIXES and files.setdefault(path.stem, path) != path:
            twice.append(f"{files[path.stem].name} and {path.name}")
    if twice:
        raise DataError(f"{len(twice)} times two files for one id in {folder}: {show(twice)}; remove one of them")
    return files
