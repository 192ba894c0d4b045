"""Parameters of the data: data set, splitting, augmentation and download."""

from pathlib import PureWindowsPath
from typing import Annotated, Any

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, model_validator

from igl_dt.utils.parameters import Parameters, Probability, Range, Size, UserPath, Weight


class DatasetParameters(Parameters):
    """The data set, and the size at which its images are read."""

    source: str = "shapes"
    """Name of a class in ``igl_dt.data.datasets``, which knows the layout of the folder."""
    root: UserPath
    """Folder of the data set; absolute, or relative to the project."""
    image_size: Size | None = None
    """(height, width) at which all images and masks are read, in training and evaluation, whatever their aspect ratio.
    null: as on disk, unless ``short_side`` or ``long_side`` is given."""
    short_side: PositiveInt | None = None
    """Images and masks are resized so that their shorter side has this length; keeps the aspect ratio."""
    long_side: PositiveInt | None = None
    """Images and masks are resized so that their longer side has this length; keeps the aspect ratio."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the source; each source has a type for them."""

    @model_validator(mode="after")
    def _one_size(self) -> "DatasetParameters":
        given = [name for name in ("image_size", "short_side", "long_side") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"dataset.{' and dataset.'.join(given)} exclude each other: set one, and the others to null"
            )
        return self

    def sizes(self) -> dict[str, Any]:
        """Give ``image_size``, ``short_side`` and ``long_side`` as JSON-able values."""
        return self.model_dump(mode="json", include={"image_size", "short_side", "long_side"})


class SplittingParameters(Parameters):
    """Which training images are labelled: a fraction, or a list."""

    labeled_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the training images with a mask that keep it; drawn so that every class occurs if possible."""
    labeled_list: UserPath | None = None
    """Text file with one image per line: ids, or lines as published by UniMatch, U2PL and CPS; takes precedence over
    the fraction."""
    unlabeled_list: UserPath | None = None
    """Text file of the same kind; null: all training images that are not labelled."""
    seed: NonNegativeInt | None = None
    """Seed of the draw of labelled images, to vary it apart from all other randomness; null: the seed of the run."""

    @model_validator(mode="after")
    def _one_at_least(self) -> "SplittingParameters":
        if self.labeled_fraction is None and self.labeled_list is None:
            raise ValueError("give splitting.labeled_fraction or splitting.labeled_list")
        if self.unlabeled_list is not None and self.labeled_list is None:
            raise ValueError("splitting.unlabeled_list requires splitting.labeled_list")
        return self


class StrongAugmentation(Parameters):
    """Photometric augmentation of the strong view, on top of the weak one; defaults are UniMatch's [family]."""

    random_operations: Annotated[int, Field(ge=0)] = 0
    """Apply one to this many operations of ``igl_dt.data.random_operations`` instead of jitter, grayscale and blur
    [family: AugSeg]; 0: none of them."""
    brightness: Weight = 0.5
    contrast: Weight = 0.5
    saturation: Weight = 0.5
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.25
    jitter_probability: Probability = 0.8
    grayscale_probability: Probability = 0.2
    blur_sigma: Range[tuple[Weight, Weight]] = (0.1, 2.0)
    """Range of the Gaussian's standard deviation in pixels."""
    blur_probability: Probability = 0.5
    reference_crop: PositiveInt | None = None
    """Crop side for which ``blur_sigma`` is meant: it is scaled by the shorter side of the crop over this one [ours];
    null: not scaled. UniMatch's values were chosen for crops of 321 to 801 pixels."""


class AugmentationParameters(Parameters):
    """From images to training views: weak views are geometric, strong views photometric on top."""

    crop_size: Size
    """(height, width) of the training crops; smaller images are padded with 0, their masks with 255."""
    scale: Range[tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]] = (0.5, 2.0)
    """Range of the random scale before cropping."""
    flip_probability: Probability = 0.5
    class_crop_probability: Probability = 0.0
    """How often a labelled image is cropped around a pixel of one of its classes, each class as likely as another, so
    that crops show rare classes more often [family: nnU-Net does so with a third of its crops]."""
    strong: StrongAugmentation = StrongAugmentation()
    strong_unlabeled: bool = False
    """Whether unlabelled images have a strong view in addition to the weak one."""
    strong_labeled: bool = False
    """Whether labelled images are trained on in their strong view."""
    cutmix_probability: Probability = 0.5
    """How often a box of the previous image in the batch is pasted into an unlabelled image (CutMix)."""
    cutmix_boxes: Annotated[int, Field(gt=0)] = 1
    """Boxes per image that has any, each with its part of the area [family: 1 in UniMatch, 3 in CPS]."""
    cutmix_area: Range[tuple[Probability, Probability]] = (0.02, 0.4)
    """Range of the area of the box, relative to the crop."""
    cutmix_ratio: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Lower bound of the aspect ratio of the box; the upper bound is its inverse."""


def _below_a_folder(path: str) -> str:
    parts = PureWindowsPath(path)  # parses the separators and roots of all systems
    if not path or parts.drive or parts.root or ".." in parts.parts:
        raise ValueError(f"must be a relative path without '..', not {path!r}")
    return path


class ArchiveParameters(Parameters):
    """An archive (.zip, .tar, .tar.gz, …) of which one folder is unpacked."""

    file: Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$")]
    """File name in ``fetching.folder``."""
    url: Annotated[str, Field(pattern=r"^https?://[^/]+/.")] | None = None
    """Download address; null: the user has to download it from ``page``."""
    page: str | None = None
    """Web page on which the user gets it."""
    checksum: Annotated[str, Field(pattern="^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")] | None = None
    """``md5:`` or ``sha256:`` and the hex digits; required with ``url``."""
    member: Annotated[str, AfterValidator(_below_a_folder)]
    """Folder in the archive that is unpacked; ``.``: everything."""
    target: Annotated[str, AfterValidator(_below_a_folder)]
    """Folder that it becomes, relative to ``dataset.root``."""

    @model_validator(mode="after")
    def _one_way_to_get_it(self) -> "ArchiveParameters":
        if (self.url is None) == (self.page is None):
            raise ValueError(f"{self.file} needs either url, or page if only the user can get it")
        if self.url is not None and self.checksum is None:
            raise ValueError(f"{self.file} needs a checksum for its url")
        return self


class FetchingParameters(Parameters):
    """What the pipeline ``data_fetching`` downloads and unpacks."""

    folder: UserPath
    """Folder of the archives, downloaded or put there by the user."""
    archives: tuple[ArchiveParameters, ...] = ()
    """Unpacked in this order."""
