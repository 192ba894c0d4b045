"""Pascal VOC is listed as its archive unpacks, with masks of SBD where wanted, or it is said what it lacks."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from igl_dt.data.datasets import DataError, Listing, Sample
from igl_dt.data.datasets.pascal import CLASS_NAMES, PascalVoc
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import DatasetParameters


def list_samples(root: Path, options: Mapping[str, object]) -> Listing:
    return PascalVoc(root, options).list_samples()


OFFICIAL = {"train": ("2007_000032", "2007_000039"), "val": ("2007_000033",)}
SBD = "2008_000002"
"""An image that has a mask by SBD alone."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """VOC2012 with three official images, and one more of SBD, which also has masks of its own for the others."""
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for split, ids in OFFICIAL.items():
        (folder / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(ids) + "\n")
    (folder / "ImageSets/Segmentation/trainaug.txt").write_text("\n".join((*OFFICIAL["train"], SBD)))
    for number, id_ in enumerate((*OFFICIAL["train"], *OFFICIAL["val"], SBD)):
        Image.new("RGB", (12, 8), (number, 90, 0)).save(folder / f"JPEGImages/{id_}.jpg")
        ids = np.full((8, 12), 0, np.uint8)
        ids[2:5], ids[5] = 15 + number, 255
        Image.fromarray(ids).save(folder / f"SegmentationClassAug/{id_}.png")
        if id_ != SBD:
            mask = Image.fromarray(ids).convert("P")
            mask.putpalette([(7 * byte) % 256 for byte in range(768)])
            mask.save(folder / f"SegmentationClass/{id_}.png")
    return folder


def test_lists_the_official_images_with_their_masks(folder: Path) -> None:
    listing = list_samples(folder, {})
    assert len(listing.class_names) == 21
    assert [(image.split, image.id) for image in listing.samples] == [
        ("train", "2007_000032"),
        ("train", "2007_000039"),
        ("val", "2007_000033"),
    ]
    assert listing.samples[0] == Sample(
        "2007_000032", "train", "JPEGImages/2007_000032.jpg", "SegmentationClass/2007_000032.png"
    )


def test_the_root_may_be_the_folder_above(folder: Path) -> None:
    above = list_samples(folder.parent, {}).samples
    assert [sample.id for sample in above] == [sample.id for sample in list_samples(folder, {}).samples]
    for sample in above:
        assert sample.image.startswith("VOC2012/JPEGImages/")
        assert (folder.parent / sample.image).is_file()
        assert (folder.parent / str(sample.mask)).is_file()


def test_sbd_adds_images_and_official_masks_stay(folder: Path) -> None:
    images = list_samples(folder, {"training_list": "trainaug"}).samples
    assert {image.id: image.mask for image in images} == {
        "2007_000032": "SegmentationClass/2007_000032.png",
        "2007_000039": "SegmentationClass/2007_000039.png",
        "2008_000002": "SegmentationClassAug/2008_000002.png",
        "2007_000033": "SegmentationClass/2007_000033.png",
    }


def test_all_masks_may_lie_in_one_folder(folder: Path) -> None:
    """As those who publish lists hand them out."""
    shutil.copy(folder / f"SegmentationClassAug/{SBD}.png", folder / "SegmentationClass")
    shutil.rmtree(folder / "SegmentationClassAug")
    assert len(list_samples(folder, {"training_list": "trainaug"}).samples) == 4


def test_ids_are_the_palettes_indices(folder: Path) -> None:
    options = {"training_list": "trainaug"}
    manifest = read_manifest(DatasetParameters(source="pascal", root=str(folder), options=options))
    assert manifest.class_names == CLASS_NAMES
    assert len(manifest.samples) == 4
    for number, id_ in enumerate((*OFFICIAL["train"], *OFFICIAL["val"], SBD)):
        seen = manifest.class_pixels.loc[id_]
        assert seen[seen > 0].to_dict() == {"background": 48, CLASS_NAMES[15 + number]: 36}


def spoil(folder: Path, how: str) -> None:
    lists = folder / "ImageSets/Segmentation"
    match how:
        case "no root":
            shutil.rmtree(folder.parent)
        case "no list":
            (lists / "val.txt").unlink()
        case "no list of SBD":
            (lists / "trainaug.txt").unlink()
        case "empty list":
            (lists / "trainaug.txt").write_text("\n")
        case "binary list":
            (lists / "val.txt").write_bytes(b"\xff\xfe\x00")
        case "no images":
            shutil.rmtree(folder / "JPEGImages")
        case "no image":
            (folder / "JPEGImages/2007_000039.jpg").unlink()
        case "no val mask":  # one by SBD is no substitute
            (folder / "SegmentationClass/2007_000033.png").unlink()
        case "no masks of SBD":
            shutil.rmtree(folder / "SegmentationClassAug")


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("no root", ["dataset.root", "{folder}", "VOCdevkit/VOC2012", "JPEGImages"]),
        ("no list", ["{folder}/ImageSets/Segmentation/val.txt is missing", "one id per line"]),
        ("no list of SBD", ["{folder}/ImageSets/Segmentation/trainaug.txt is missing", "training_list=train"]),
        ("empty list", ["{folder}/ImageSets/Segmentation/trainaug.txt is empty", "one id per line"]),
        ("binary list", ["{folder}/ImageSets/Segmentation/val.txt", "UTF-8"]),
        ("no images", ["trainaug.txt names 3 images", "{folder}/JPEGImages", ".jpg", "2008_000002"]),
        ("no image", ["trainaug.txt names 1 images", "{folder}/JPEGImages", "2007_000039"]),
        ("no val mask", ["val.txt names 1 images without a mask", "{folder}/SegmentationClass:", "2007_000033"]),
        ("no masks of SBD", ["2008_000002", "{folder}/SegmentationClassAug", "dataset.options.training_list=train"]),
    ],
)
def test_says_what_is_wrong_and_where(folder: Path, how: str, named: list[str]) -> None:
    spoil(folder, how)
    with pytest.raises(DataError) as raised:
        list_samples(folder, {"training_list": "trainaug"})
    for part in named:
        assert part.format(folder=folder) in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"training_list": "trainval"}, "training_list: Input should be 'train' or 'trainaug', not 'trainval'"),
        ({"list": "train"}, r"list: unknown; there are training_list"),
    ],
)
def test_says_which_options_there_are(folder: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=rf"dataset\.options of the source pascal: {message}"):
        list_samples(folder, options)
