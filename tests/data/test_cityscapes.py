"""Cityscapes is listed as its archives unpack, with either kind of mask, or it is said what it lacks."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from igl_dt.data.datasets import DataError, Listing, MaskFormat, Sample
from igl_dt.data.datasets.cityscapes import LABEL_IDS, Cityscapes
from igl_dt.data.loading import ImageReader
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import DatasetParameters


def list_samples(root: Path, options: Mapping[str, object]) -> Listing:
    return Cityscapes(root, options).list_samples()


IDS = {
    "train": ("aachen_000000_000019", "aachen_000001_000019", "zurich_000000_000019"),
    "val": ("lindau_000000_000019",),
    "test": ("berlin_000000_000019",),
}
TRAIN_IDS = {"masks": "labelTrainIds"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Few and small images, with all files that an image comes with."""
    folder = tmp_path / "cityscapes"
    for split, ids in IDS.items():
        for id_ in ids:
            city = id_.split("_")[0]
            for kind in ("leftImg8bit", "gtFine"):
                (folder / kind / split / city).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 8)).save(folder / f"leftImg8bit/{split}/{city}/{id_}_leftImg8bit.png")
            train_ids = np.full((8, 16), 255, np.uint8)
            train_ids[2:4], train_ids[4:] = 0, 18
            label_ids = np.full((8, 16), 3, np.uint8)  # out of the region of interest
            label_ids[2:4], label_ids[4:] = 7, 33
            prefix = f"gtFine/{split}/{city}/{id_}_gtFine"
            Image.fromarray(train_ids).save(folder / f"{prefix}_labelTrainIds.png")
            Image.fromarray(label_ids).save(folder / f"{prefix}_labelIds.png")
            Image.fromarray(label_ids).save(folder / f"{prefix}_instanceIds.png")
            (folder / f"{prefix}_polygons.json").touch()
    return folder


@pytest.mark.parametrize("masks", ["labelIds", "labelTrainIds"])
def test_lists_every_sample_with_its_mask(folder: Path, masks: str) -> None:
    listing = list_samples(folder, {"masks": masks})
    assert [(sample.split, sample.id) for sample in listing.samples] == [
        (split, id_) for split in ("train", "val") for id_ in IDS[split]
    ]
    assert listing.samples[0] == Sample(
        "aachen_000000_000019",
        "train",
        "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png",
        f"gtFine/train/aachen/aachen_000000_000019_gtFine_{masks}.png",
    )
    for sample in listing.samples:
        assert (folder / sample.image).is_file()
        assert (folder / str(sample.mask)).is_file()


def test_the_archives_own_masks_are_the_default_and_need_the_official_table(folder: Path) -> None:
    listing = list_samples(folder, {})
    assert str(listing.samples[0].mask).endswith("_gtFine_labelIds.png")
    masks = Cityscapes(folder, {}).mask_format()
    assert masks.rest == 255
    assert masks.colors is None
    assert masks.ids is not None
    table = dict(masks.ids)
    assert list(table.values()) == list(range(19))
    assert len(listing.class_names) == 19
    for name, label_id, train_id in [
        ("road", 7, 0),
        ("pole", 17, 5),
        ("sky", 23, 10),
        ("car", 26, 13),
        ("train", 31, 16),
        ("bicycle", 33, 18),
    ]:
        assert table[label_id] == train_id
        assert listing.class_names[train_id] == name


def test_train_ids_are_read_as_they_are(folder: Path) -> None:
    assert Cityscapes(folder, TRAIN_IDS).mask_format() == MaskFormat()
    manifest = read_manifest(DatasetParameters(source="cityscapes", root=str(folder), options=TRAIN_IDS))
    assert manifest.class_names == tuple(LABEL_IDS)
    assert len(manifest.samples) == 4
    seen = manifest.class_pixels.loc["lindau_000000_000019"]
    assert seen[seen > 0].to_dict() == {"road": 32, "bicycle": 64}


def test_either_kind_of_mask_gives_the_same_classes(folder: Path) -> None:
    counted, read = [], []
    for options in ({}, TRAIN_IDS):
        dataset = DatasetParameters(source="cityscapes", root=str(folder), options=options)
        manifest = read_manifest(dataset)
        counted.append(manifest.class_pixels)
        read.append(ImageReader(dataset).mask(manifest.samples["mask"][0]))
    pd.testing.assert_frame_equal(*counted)
    np.testing.assert_array_equal(*read)
    assert read[0][:, 0].tolist() == [255, 255, 0, 0, 18, 18, 18, 18]


def spoil(folder: Path, how: str) -> None:
    aachen = "train/aachen/aachen_000001_000019"
    match how:
        case "no root":
            shutil.rmtree(folder)
        case "root too deep":
            for split in IDS:
                (folder / "leftImg8bit" / split).rename(folder / split)
        case "no val":
            shutil.rmtree(folder / "leftImg8bit/val")
        case "no masks":
            shutil.rmtree(folder / "gtFine")
        case "no mask":
            (folder / f"gtFine/{aachen}_gtFine_labelTrainIds.png").unlink()
        case "mask in another city":
            name = f"{aachen}_gtFine_labelTrainIds.png"
            (folder / "gtFine" / name).rename(folder / "gtFine" / name.replace("/aachen/", "/zurich/"))


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("no root", ["dataset.root", "{folder}", "leftImg8bit and gtFine"]),
        ("root too deep", ["no images in {folder}/leftImg8bit/train", "*_leftImg8bit.png", "dataset.root"]),
        ("no val", ["no images in {folder}/leftImg8bit/val", "a folder per city"]),
        ("no masks", ["3 of 3 train images", "{folder}", "gtFine/train/zurich/zurich_000000_000019_gtFine"]),
        ("no mask", ["1 of 3 train images", "aachen_000001_000019_gtFine_labelTrainIds.png", "masks=labelIds"]),
        ("mask in another city", ["1 of 3 train images", "gtFine/train/aachen/aachen_000001_000019_gtFine"]),
    ],
)
def test_says_what_is_wrong_and_where(folder: Path, how: str, named: list[str]) -> None:
    spoil(folder, how)
    with pytest.raises(DataError) as raised:
        list_samples(folder, TRAIN_IDS)
    for part in named:
        assert part.format(folder=folder) in str(raised.value)


def test_says_which_option_reads_the_other_masks(folder: Path) -> None:
    for mask in folder.glob("gtFine/*/*/*_labelIds.png"):
        mask.unlink()
    with pytest.raises(DataError, match=r"dataset\.options\.masks=labelTrainIds"):
        list_samples(folder, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": "color"}, "masks: Input should be 'labelIds' or 'labelTrainIds', not 'color'"),
        ({"fine": True}, r"fine: unknown; there are masks"),
    ],
)
def test_says_which_options_there_are(folder: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=rf"dataset\.options of the source cityscapes: {message}"):
        list_samples(folder, options)
