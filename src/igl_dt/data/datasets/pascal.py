"""Pascal VOC 2012 as its archive unpacks, ``VOCdevkit/VOC2012``, and SBD's masks beside it.

    JPEGImages/<id>.jpg
    SegmentationClass/<id>.png       the official masks: palette indices are the ids, 255 is void
    SegmentationClassAug/<id>.png    SBD's masks (Hariharan et al. 2011), for images that have no official one
    ImageSets/Segmentation/{train,trainaug,val}.txt    one id per line

The official test images have no public masks: the field measures on ``val``, and there is no ``test`` here.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from igl_dt.data.datasets.listing import DataError, Listing, Sample, Split, parse_options, read_lines, show
from igl_dt.utils.parameters import Parameters

CLASS_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Class names in the order of their ids in the masks."""


class PascalOptions(Parameters):
    """What ``dataset.options`` may hold for the source ``pascal``."""

    training_list: Literal["train", "trainaug"] = "train"
    """``train``: the official 1464 images; ``trainaug``: the 10 582 that also count those with a mask of SBD."""


def list_samples(root: Path, options: Mapping[str, Any]) -> Listing:
    """List Pascal VOC 2012.

    Args:
        root: the folder ``VOC2012``, or the one that it lies in.
        options: see ``PascalOptions``.

    Raises:
        DataError: the root or a list is missing, a listed image or mask is, or a list is empty; or a wrong option.
    """
    training_list = parse_options("pascal", PascalOptions, options).training_list
    folder = root / "VOC2012" if (root / "VOC2012").is_dir() else root
    if not folder.is_dir():
        raise DataError(
            f"dataset.root {str(root)!r} is not a folder: it must be VOCdevkit or VOCdevkit/VOC2012, "
            "with JPEGImages, SegmentationClass and ImageSets/Segmentation; the pipeline data_fetching downloads it"
        )
    train = _list_split(root, folder, "train", training_list)
    return Listing((*train, *_list_split(root, folder, "val", "val")), CLASS_NAMES)


def _list_split(root: Path, folder: Path, split: Split, name: str) -> Iterator[Sample]:
    listed, image_folder = folder / "ImageSets" / "Segmentation" / f"{name}.txt", folder / "JPEGImages"
    with_sbd = name == "trainaug"
    remedy = "; it comes with SBD's masks, dataset.options.training_list=train does without" if with_sbd else ""
    if not listed.is_file():
        raise DataError(f"{listed} is missing: it must name the {split} images, one id per line{remedy}")
    ids = read_lines(listed)
    if not ids:
        raise DataError(f"{listed} is empty: it must name the {split} images, one id per line")
    images = _names(image_folder)
    if absent := [id_ for id_ in ids if f"{id_}.jpg" not in images]:
        raise DataError(f"{listed} names {len(absent)} images that are not in {image_folder} as .jpg: {show(absent)}")

    # Official masks first: SBD drew all images anew, more coarsely and without void borders.
    mask_folders = [folder / "SegmentationClass", *([folder / "SegmentationClassAug"] if with_sbd else [])]
    masks = {mask: mask_folder for mask_folder in reversed(mask_folders) for mask in _names(mask_folder)}
    if absent := [id_ for id_ in ids if f"{id_}.png" not in masks]:
        where, named = " or ".join(map(str, mask_folders)), show(absent)
        raise DataError(f"{listed} names {len(absent)} images without a mask (.png) in {where}: {named}{remedy}")
    for id_ in ids:
        image, mask = image_folder / f"{id_}.jpg", masks[f"{id_}.png"] / f"{id_}.png"
        yield Sample(id_, split, image.relative_to(root).as_posix(), mask.relative_to(root).as_posix())


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
