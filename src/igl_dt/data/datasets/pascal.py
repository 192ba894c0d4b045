"""Pascal VOC 2012 as its archive unpacks (``VOCdevkit/VOC2012``), optionally with the masks of SBD.

    JPEGImages/<id>.jpg
    SegmentationClass/<id>.png       the official masks: palette indices are the ids, 255 is void
    SegmentationClassAug/<id>.png    SBD's masks (Hariharan et al. 2011), for images without an official one
    ImageSets/Segmentation/{train,trainaug,val}.txt    one id per line

The official test images have no public masks: the field evaluates on ``val``, and there is no ``test`` here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from igl_dt.data.datasets.base import DataError, Listing, Sample, SegmentationDataset, Split, read_lines, show
from igl_dt.utils.parameters import Parameters

CLASS_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Class names in the order of their ids in the masks."""


class PascalOptions(Parameters):
    """``dataset.options`` of the source ``pascal``."""

    training_list: Literal["train", "trainaug"] = "train"
    """``train``: the official 1464 images; ``trainaug``: the 10 582 that include those with a mask of SBD."""


class PascalVoc(SegmentationDataset[PascalOptions]):
    """Pascal VOC 2012; the root is the folder ``VOC2012`` or its parent."""

    name = "pascal"
    options_type = PascalOptions

    def list_samples(self) -> Listing:
        self._check_root(
            "JPEGImages, SegmentationClass and ImageSets/Segmentation, or a folder VOC2012 with these; "
            "the pipeline data_fetching downloads it"
        )
        train = self._list_split("train", self.options.training_list)
        return Listing((*train, *self._list_split("val", "val")), CLASS_NAMES)

    def _list_split(self, split: Split, name: str) -> Iterator[Sample]:
        folder = self.root / "VOC2012" if (self.root / "VOC2012").is_dir() else self.root
        listed, image_folder = folder / "ImageSets" / "Segmentation" / f"{name}.txt", folder / "JPEGImages"
        with_sbd = name == "trainaug"
        remedy = "; it comes with SBD's masks, dataset.options.training_list=train needs neither" if with_sbd else ""
        if not listed.is_file():
            raise DataError(f"{listed} is missing: it must name the {split} images, one id per line{remedy}")
        ids = read_lines(listed)
        if not ids:
            raise DataError(f"{listed} is empty: it must name the {split} images, one id per line")
        images = _file_names(image_folder)
        if absent := [id_ for id_ in ids if f"{id_}.jpg" not in images]:
            raise DataError(
                f"{listed} names {len(absent)} images that are not in {image_folder} as .jpg: {show(absent)}"
            )

        # Official masks take precedence: SBD's are coarser and have no void borders.
        mask_folders = [folder / "SegmentationClass", *([folder / "SegmentationClassAug"] if with_sbd else [])]
        masks = {mask: mask_folder for mask_folder in reversed(mask_folders) for mask in _file_names(mask_folder)}
        if absent := [id_ for id_ in ids if f"{id_}.png" not in masks]:
            where, named = " or ".join(map(str, mask_folders)), show(absent)
            raise DataError(f"{listed} names {len(absent)} images without a mask (.png) in {where}: {named}{remedy}")
        for id_ in ids:
            image, mask = image_folder / f"{id_}.jpg", masks[f"{id_}.png"] / f"{id_}.png"
            yield Sample(id_, split, image.relative_to(self.root).as_posix(), mask.relative_to(self.root).as_posix())


def _file_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
