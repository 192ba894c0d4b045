"""Folders laid out like CamVid: ``{train,val,test}/{images,masks}`` and ``classes.txt``.

A file ``train.txt`` (``val.txt``, ``test.txt``) in the root lists the ids of that split, one per line; without it, all
images of the folder belong to the split. ``test`` is optional. A training image without a mask is unlabelled.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from igl_dt.data.datasets.base import (
    IMAGE_SUFFIXES,
    DataError,
    Listing,
    NoOptions,
    Sample,
    SegmentationDataset,
    Split,
    read_class_names,
    read_ids,
    show,
)


class CamVid(SegmentationDataset[NoOptions]):
    """A folder laid out like CamVid."""

    name = "camvid"

    def list_samples(self) -> Listing:
        self._check_root("train/images, train/masks, val/images, val/masks and classes.txt")
        samples: list[Sample] = []
        for split in get_args(Split):
            if split != "test" or (self.root / split).exists():
                samples += self._list_split(split)
        return Listing(tuple(samples), read_class_names(self.root / "classes.txt"))

    def _list_split(self, split: Split) -> Iterator[Sample]:
        folder = self.root / split / "images"
        images, masks = _files_by_id(folder), _files_by_id(self.root / split / "masks")
        if not images:
            raise DataError(f"no images in {folder}: expected files ending in {', '.join(IMAGE_SUFFIXES)}")
        listed = self.root / f"{split}.txt"
        for id_ in read_ids(listed, images, f"images in {folder}") if listed.is_file() else sorted(images):
            image, mask = images[id_].relative_to(self.root), masks.get(id_)
            yield Sample(id_, split, image.as_posix(), mask.relative_to(self.root).as_posix() if mask else None)


def _files_by_id(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    duplicates = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in IMAGE_SUFFIXES and files.setdefault(path.stem, path) != path:
            duplicates.append(f"{files[path.stem].name} and {path.name}")
    if duplicates:
        raise DataError(f"{len(duplicates)} ids have two files in {folder}: {show(duplicates)}; remove one of them")
    return files
