"""Which images, which of them are labelled, and how they are augmented."""

from pathlib import PureWindowsPath
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from igl_dt.utils.parameters import Parameters, Probability, Range, Size, Weight


class DatasetParameters(Parameters):
    """Which images, and at what size they are read."""

    source: str = "shapes"
    """Name of a source in ``igl_dt.data.datasets``: what knows the layout of the folder."""
    root: str
    """Folder of the data set; relative to the project's folder, or absolute."""
    image_size: Size | None = None
    """Read every image and mask at this (height, width), in training and evaluation; null: as it is on disk."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What only this source knows; each source has a typed object for it."""


class SplittingParameters(Parameters):
    """Which training images count as labelled: a fraction, or a list."""

    labeled_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the training images with a mask that keep it; drawn so that every class occurs where possible."""
    labeled_list: str | None = None
    """Text file with one image per line: ids, or the lines that UniMatch, U2PL and CPS publish; takes the fraction's
    place where both are given."""
    unlabeled_list: str | None = None
    """Such a file; null: all training images that are not in the labelled list."""

    @model_validator(mode="after")
    def _one_at_least(self) -> "SplittingParameters":
        if self.labeled_fraction is None and self.labeled_list is None:
            raise ValueError("give splitting.labeled_fraction or splitting.labeled_list")
        if self.unlabeled_list is not None and self.labeled_list is None:
            raise ValueError("splitting.unlabeled_list needs splitting.labeled_list beside it")
        return self


class StrongAugmentation(Parameters):
    """Photometric augmentation of the strong view, on top of the weak one; defaults are UniMatch's [family]."""

    brightness: Weight = 0.5
    contrast: Weight = 0.5
    saturation: Weight = 0.5
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.25
    jitter_probability: Probability = 0.8
    grayscale_probability: Probability = 0.2
    blur_sigma: Range[tuple[Weight, Weight]] = (0.1, 2.0)
    """Range of the Gaussian's standard deviation in pixels."""
    blur_probability: Probability = 0.5


class AugmentationParameters(Parameters):
    """From an image to a view: weak is geometry, strong adds photometry."""

    crop_size: Size
    """(height, width) of the training crops; padded with 0, masks with 255, where the scaled image is smaller."""
    scale: Range[tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]] = (0.5, 2.0)
    """Range of the random scale before cropping."""
    flip_probability: Probability = 0.5
    strong: StrongAugmentation = StrongAugmentation()
    strong_unlabeled: bool = False
    """Whether unlabelled images come with a strong view beside the weak one."""
    strong_labeled: bool = False
    """Whether labelled images are taken in their strong view."""
    cutmix_probability: Probability = 0.5
    """How often an unlabelled image gets a box of its neighbour in the batch (CutMix)."""
    cutmix_area: Range[tuple[Probability, Probability]] = (0.02, 0.4)
    """Range of the box's share of the crop."""
    cutmix_ratio: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Boxes are between this and its inverse times as wide as high."""


def _below_a_folder(path: str) -> str:
    parts = PureWindowsPath(path)  # knows the separators and roots of all systems
    if not path or parts.drive or parts.root or ".." in parts.parts:
        raise ValueError(f"must be a path below a folder, not {path!r}")
    return path


class ArchiveParameters(Parameters):
    """An archive (.zip, .tar, .tar.gz and the like) of which one folder is unpacked."""

    file: Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$")]
    """Its name in ``fetching.folder``."""
    url: Annotated[str, Field(pattern=r"^https?://[^/]+/.")] | None = None
    """Where it is downloaded from; null: only the user can get it, from ``page``."""
    page: str | None = None
    """Page on which the user gets it."""
    checksum: Annotated[str, Field(pattern="^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")] | None = None
    """``md5:`` or ``sha256:`` and its digits; needed beside ``url``."""
    member: Annotated[str, AfterValidator(_below_a_folder)]
    """The folder in the archive that is unpacked; what is beside it is not. ``.``: all."""
    target: Annotated[str, AfterValidator(_below_a_folder)]
    """The folder that it becomes, relative to ``dataset.root``."""

    @model_validator(mode="after")
    def _one_way_to_get_it(self) -> "ArchiveParameters":
        if (self.url is None) == (self.page is None):
            raise ValueError(f"{self.file} needs url, or page where only the user can get it; not both")
        if self.url is not None and self.checksum is None:
            raise ValueError(f"{self.file} needs a checksum beside its url")
        return self


class FetchingParameters(Parameters):
    """What ``data_fetching`` gets."""

    folder: str
    """Folder of the archives as they were downloaded, or put there by the user."""
    archives: tuple[ArchiveParameters, ...] = ()
    """Unpacked in this order."""
