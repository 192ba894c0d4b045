"""Cityscapes as its archives unpack.

    leftImg8bit/{train,val}/<city>/<id>_leftImg8bit.png
    gtFine/{train,val}/<city>/<id>_gtFine_labelIds.png         the archive's own, with 34 ids
    gtFine/{train,val}/<city>/<id>_gtFine_labelTrainIds.png    the 19 classes that count, made by cityscapesScripts

An id is such as ``aachen_000000_000019``. The official test masks are not public: the field measures on ``val``, and
there is no ``test`` here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from igl_dt.data.datasets.listing import DataError, Listing, MaskFormat, Sample, Split, parse_options, show
from igl_dt.utils.parameters import IGNORE_INDEX, Parameters

LABEL_IDS = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
"""Ids in the files ``labelIds`` of the classes that count, in the order of their ids in the files ``labelTrainIds``."""

IMAGE_SUFFIX = "_leftImg8bit.png"


class CityscapesOptions(Parameters):
    """What ``dataset.options`` may hold for the source ``cityscapes``."""

    masks: Literal["labelIds", "labelTrainIds"] = "labelIds"
    """Which of the files in ``gtFine`` are read; both give the same classes."""


def list_samples(root: Path, options: Mapping[str, Any]) -> Listing:
    """List Cityscapes.

    Raises:
        DataError: the root is missing, a split has no images, or an image no mask; or a wrong option.
    """
    masks = parse_options("cityscapes", CityscapesOptions, options).masks
    if not root.is_dir():
        raise DataError(
            f"dataset.root {str(root)!r} is not a folder: it must hold leftImg8bit and gtFine; the pipeline "
            "data_fetching unpacks them"
        )
    samples = (*_list_split(root, "train", masks), *_list_split(root, "val", masks))
    return Listing(samples, tuple(LABEL_IDS), mask_format(options))


def mask_format(options: Mapping[str, Any]) -> MaskFormat:
    """Say how masks are read with these options."""
    if parse_options("cityscapes", CityscapesOptions, options).masks == "labelTrainIds":
        return MaskFormat()
    ids = tuple((label_id, class_id) for class_id, label_id in enumerate(LABEL_IDS.values()))
    return MaskFormat(ids=ids, rest=IGNORE_INDEX)


def _list_split(root: Path, split: Split, masks: str) -> list[Sample]:
    images = sorted((root / "leftImg8bit" / split).glob(f"*/*{IMAGE_SUFFIX}"))
    if not images:
        raise DataError(
            f"no images in {root / 'leftImg8bit' / split}: expected a folder per city with files *{IMAGE_SUFFIX}; "
            "dataset.root is the folder that holds leftImg8bit and gtFine"
        )
    samples = []
    for image in images:
        id_, city = image.name.removesuffix(IMAGE_SUFFIX), image.parent.name
        mask = f"gtFine/{split}/{city}/{id_}_gtFine_{masks}.png"
        samples.append(Sample(id_, split, image.relative_to(root).as_posix(), mask))
    if absent := [str(sample.mask) for sample in samples if not (root / str(sample.mask)).is_file()]:
        other = "labelTrainIds" if masks == "labelIds" else "labelIds"
        raise DataError(
            f"{len(absent)} of {len(samples)} {split} images have no mask in {root}: {show(absent)}; "
            f"dataset.options.masks={other} reads the files *_gtFine_{other}.png instead"
        )
    return samples
