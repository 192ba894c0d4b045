"""Folders in the manner of CamVid are listed as they are, or it is said what they lack."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from igl_dt.data.datasets import DataError, Listing, Sample
from igl_dt.data.datasets.camvid import CamVid
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import DatasetParameters


def list_samples(root: Path, options: Mapping[str, object]) -> Listing:
    return CamVid(root, options).list_samples()


def ids(folder: Path, split: str) -> list[str]:
    return [image.id for image in list_samples(folder, {}).samples if image.split == split]


def test_lists_every_sample_with_its_mask(unspoilt: Path) -> None:
    listing = list_samples(unspoilt, {})
    assert listing.class_names == ("road", "tree", "pole")
    assert len(listing.samples) == 12
    assert listing.samples[3] == Sample("train3", "train", "train/images/train3.png", "train/masks/train3.png")
    for sample in listing.samples:
        assert (unspoilt / sample.image).is_file()
        assert (unspoilt / str(sample.mask)).is_file()


def test_a_training_image_without_mask_is_unlabeled(folder: Path) -> None:
    (folder / "train/masks/train3.png").unlink()
    assert [image.id for image in list_samples(folder, {}).samples if image.mask is None] == ["train3"]


def test_a_list_at_the_root_chooses_the_images(folder: Path) -> None:
    (folder / "train.txt").write_bytes(b"\xef\xbb\xbf train4\r\n\r\ntrain1 ")  # mark, blanks, no final newline
    assert ids(folder, "train") == ["train4", "train1"]
    assert ids(folder, "val") == ["val0", "val1"]


def test_test_images_may_be_missing_and_other_files_may_lie_about(folder: Path) -> None:
    shutil.rmtree(folder / "test")
    (folder / "train/images/Thumbs.db").touch()
    assert ids(folder, "test") == []
    assert len(ids(folder, "train")) == 8


def spoil(folder: Path, how: str) -> None:
    match how:
        case "no root":
            shutil.rmtree(folder)
        case "no images":
            shutil.rmtree(folder / "train/images")
            (folder / "train/images").mkdir()
        case "no val":
            shutil.rmtree(folder / "val")
        case "no val mask":
            (folder / "val/masks/val1.png").unlink()
        case "listed but not there":
            (folder / "train.txt").write_text("train1\ntrain99\n")
        case "binary list":
            (folder / "train.txt").write_bytes(b"\xff\xfe\x00")
        case "no classes":
            (folder / "classes.txt").unlink()
        case "empty classes":
            (folder / "classes.txt").write_text("\n \n")
        case "one class":
            (folder / "classes.txt").write_text("road\n")
        case "too many classes":
            (folder / "classes.txt").write_text("\n".join(map(str, range(256))))
        case "class twice":
            (folder / "classes.txt").write_text("road\ntree\nroad\n")
        case "class id":
            (folder / "classes.txt").write_text("road\nid\n")
        case "have two files in":
            (folder / "train/images/train1.jpg").touch()


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("no root", ["dataset.root", "{folder}", "train/images", "classes.txt"]),
        ("no images", ["{folder}/train/images", ".png"]),
        ("no val", ["{folder}/val/images"]),
        ("no val mask", ["1 val or test images have no mask", "val1 (val)"]),
        ("listed but not there", ["{folder}/train.txt", "train99", "{folder}/train/images"]),
        ("binary list", ["{folder}/train.txt", "UTF-8"]),
        ("no classes", ["{folder}/classes.txt", "missing", "one per line"]),
        ("empty classes", ["{folder}/classes.txt", "empty", "one per line"]),
        ("one class", ["{folder}/classes.txt has 1 classes: 2 to 255 are possible"]),
        ("too many classes", ["{folder}/classes.txt has 256 classes: 2 to 255 are possible"]),
        ("class twice", ["{folder}/classes.txt", "twice", "road"]),
        ("class id", ["{folder}/classes.txt", "'id'", "another name"]),
        ("have two files in", ["train1.jpg", "train1.png", "remove one"]),
    ],
)
def test_says_what_is_wrong_and_where(folder: Path, how: str, named: list[str]) -> None:
    spoil(folder, how)
    with pytest.raises(DataError) as raised:
        read_manifest(DatasetParameters(source="camvid", root=str(folder)))
    for part in named:
        assert part.format(folder=folder) in str(raised.value)


def test_takes_no_options(unspoilt: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.options of the source camvid: max_side: unknown; there are none"):
        list_samples(unspoilt, {"max_side": 3})
