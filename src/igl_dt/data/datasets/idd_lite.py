"""IDD Lite, the small version of the India Driving Dataset (Varma et al., WACV 2019), as its archive unpacks.

    leftImg8bit/{train,val,test}/<sequence>/<frame>_image.jpg
    gtFine/{train,val}/<sequence>/<frame>_label.png    class ids; 255 is void

An id looks like ``train/0/024541``. The masks of ``test`` are not public: its images are unlabelled training images,
the field evaluates on ``val``, and there is no ``test`` here.
"""

from igl_dt.data.datasets.base import DataError, Listing, NoOptions, Sample, SegmentationDataset, Split

CLASS_NAMES = ("drivable", "non_drivable", "living_things", "vehicles", "roadside_objects", "far_objects", "sky")
"""Class names in the order of their ids in the masks."""

SUFFIX = "_image.jpg"


class IddLite(SegmentationDataset[NoOptions]):
    """IDD Lite with its 7 classes."""

    name = "idd_lite"

    def list_samples(self) -> Listing:
        self._check_root("leftImg8bit and gtFine")
        samples = [*self._list_folder("train", "train"), *self._list_folder("val", "val")]
        if (self.root / "leftImg8bit" / "test").is_dir():
            samples += self._list_folder("test", "train")
        return Listing(tuple(samples), CLASS_NAMES)

    def _list_folder(self, folder: str, split: Split) -> list[Sample]:
        images = sorted((self.root / "leftImg8bit" / folder).glob(f"*/*{SUFFIX}"))
        if not images:
            raise DataError(
                f"no images in {self.root / 'leftImg8bit' / folder}: expected a folder per sequence with files "
                f"*{SUFFIX}; dataset.root is the folder that holds leftImg8bit and gtFine"
            )
        samples = []
        for image in images:
            id_ = f"{folder}/{image.parent.name}/{image.name.removesuffix(SUFFIX)}"
            mask = f"gtFine/{id_}_label.png"
            has_mask = (self.root / mask).is_file()
            samples.append(Sample(id_, split, image.relative_to(self.root).as_posix(), mask if has_mask else None))
        return samples
