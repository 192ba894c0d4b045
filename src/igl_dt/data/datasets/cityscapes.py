"""Cityscapes as its archives unpack.

    leftImg8bit/{train,val}/<city>/<id>_leftImg8bit.png
    gtFine/{train,val}/<city>/<id>_gtFine_labelIds.png         in the archive, with 34 ids
    gtFine/{train,val}/<city>/<id>_gtFine_labelTrainIds.png    the 19 evaluated classes, made by cityscapesScripts

An id looks like ``aachen_000000_000019``. The official test masks are not public: the field evaluates on ``val``, and
there is no ``test`` here.
"""

from typing import Literal

from igl_dt.data.datasets.base import DataError, Listing, MaskFormat, Sample, SegmentationDataset, Split, show
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
"""Ids of the 19 evaluated classes in the files ``labelIds``, in the order of their ids in ``labelTrainIds``."""

IMAGE_SUFFIX = "_leftImg8bit.png"


class CityscapesOptions(Parameters):
    """``dataset.options`` of the source ``cityscapes``."""

    masks: Literal["labelIds", "labelTrainIds"] = "labelIds"
    """Which files in ``gtFine`` are read; both give the same classes."""


class Cityscapes(SegmentationDataset[CityscapesOptions]):
    """Cityscapes with its 19 evaluated classes."""

    name = "cityscapes"
    options_type = CityscapesOptions

    def list_samples(self) -> Listing:
        self._check_root("leftImg8bit and gtFine; the pipeline data_fetching unpacks them")
        return Listing((*self._list_split("train"), *self._list_split("val")), tuple(LABEL_IDS))

    def mask_format(self) -> MaskFormat:
        if self.options.masks == "labelTrainIds":
            return MaskFormat()
        ids = tuple((label_id, class_id) for class_id, label_id in enumerate(LABEL_IDS.values()))
        return MaskFormat(ids=ids, rest=IGNORE_INDEX)

    def _list_split(self, split: Split) -> list[Sample]:
        folder, masks = self.root / "leftImg8bit" / split, self.options.masks
        images = sorted(folder.glob(f"*/*{IMAGE_SUFFIX}"))
        if not images:
            raise DataError(
                f"no images in {folder}: expected a folder per city with files *{IMAGE_SUFFIX}; "
                "dataset.root is the folder that holds leftImg8bit and gtFine"
            )
        samples = []
        for image in images:
            id_, city = image.name.removesuffix(IMAGE_SUFFIX), image.parent.name
            mask = f"gtFine/{split}/{city}/{id_}_gtFine_{masks}.png"
            samples.append(Sample(id_, split, image.relative_to(self.root).as_posix(), mask))
        if absent := [str(sample.mask) for sample in samples if not (self.root / str(sample.mask)).is_file()]:
            other = "labelTrainIds" if masks == "labelIds" else "labelIds"
            raise DataError(
                f"{len(absent)} of {len(samples)} {split} images have no mask in {self.root}: {show(absent)}; "
                f"dataset.options.masks={other} reads the files *_gtFine_{other}.png instead"
            )
        return samples
