"""The manifest says truly what is on disk, and what cannot be used is named with its file."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from igl_dt.data.manifest import COLUMNS, read_manifest
from igl_dt.data.pictures import read_image, read_mask
from igl_dt.data.sources import DataError
from igl_dt.data.sources.listing import SHOWN
from igl_dt.parameters import DatasetParameters


def read(folder: Path):
    return read_manifest(DatasetParameters(source="camvid", root=str(folder)))


def test_one_row_per_picture_sorted_by_split_and_id(unspoilt: Path) -> None:
    pictures = read(unspoilt).pictures
    assert tuple(pictures.columns) == COLUMNS
    assert pictures["split"].value_counts().to_dict() == {"train": 8, "val": 2, "test": 2}
    assert pictures["id"].is_unique
    pd.testing.assert_frame_equal(pictures, pictures.sort_values(["split", "id"]))
    assert (pictures["width"] == 32).all() and (pictures["height"] == 24).all()


def test_the_hash_is_that_of_both_files(unspoilt: Path) -> None:
    for row in read(unspoilt).pictures.itertuples():
        both = (unspoilt / row.image).read_bytes() + (unspoilt / row.mask).read_bytes()
        assert row.sha256 == hashlib.sha256(both).hexdigest()


def test_a_picture_without_mask_has_no_pixels_and_the_hash_of_its_own_file(folder: Path) -> None:
    (folder / "train/masks/train3.png").unlink()
    manifest = read(folder)
    row = manifest.pictures.set_index("id").loc["train3"]
    assert row["mask"] is None or pd.isna(row["mask"])
    assert row["sha256"] == hashlib.sha256((folder / row["image"]).read_bytes()).hexdigest()
    assert "train3" not in manifest.class_pixels.index and len(manifest.class_pixels) == 11


def test_class_pixels_count_the_masks_without_what_is_ignored(unspoilt: Path) -> None:
    pixels = read(unspoilt).class_pixels
    assert pixels.index.name == "id" and list(pixels.columns) == ["road", "tree", "pole"]
    mask = np.array(Image.open(unspoilt / "train/masks/train5.png"))
    assert pixels.loc["train5"].tolist() == [(mask == class_id).sum() for class_id in range(3)]
    assert pixels.loc["train5", "pole"] == 64
    assert (pixels.sum(axis=1) == 32 * 23).all()  # the first of 24 rows is 255
    assert (pixels["pole"] > 0).sum() == 1


def test_does_not_depend_on_where_the_folder_is(unspoilt: Path, folder: Path) -> None:
    for one, other in zip(read(unspoilt), read(folder), strict=True):
        assert one.equals(other) if isinstance(one, pd.DataFrame) else one == other


def test_every_bad_file_is_named_in_one_error(folder: Path) -> None:
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(folder / "train/masks/train0.png")
    Image.fromarray(np.full((24, 32), 3, np.uint8)).save(folder / "train/masks/train1.png")
    image = folder / "train/images/train2.png"
    image.write_bytes(image.read_bytes()[:-500])
    (folder / "val/images/val0.png").write_text("no picture")
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(folder / "test/masks/test1.png")
    with pytest.raises(DataError) as raised:
        read(folder)
    first, *problems = str(raised.value).splitlines()
    assert first == f"5 of 12 pictures in {folder} cannot be used; repair or remove them:"
    assert len(problems) == 5
    test1, train0, train1, train2, val0 = problems  # in the manifest's order
    assert "test/masks/test1.png" in test1 and "mode RGB" in test1 and "mode L or P" in test1
    assert "train/masks/train0.png" in train0 and "7×5" in train0 and "32×24" in train0
    assert "train/masks/train1.png" in train1 and "[3]" in train1 and "0 to 2, or 255" in train1
    assert "train/images/train2.png" in train2 and "cannot be read as a picture" in train2 and "truncated" in train2
    assert "val/images/val0.png" in val0 and "cannot be read as a picture" in val0


def test_only_the_first_of_many_bad_files_are_named(folder: Path) -> None:
    for index in range(8):
        (folder / f"train/images/train{index}.png").write_bytes(b"")
    with pytest.raises(DataError, match="8 of 12 pictures") as raised:
        read(folder)
    assert len(str(raised.value).splitlines()) == 1 + SHOWN + 1
    assert "… and 3 more" in str(raised.value)


def test_a_listed_file_that_leads_nowhere_is_a_bad_one_too(folder: Path) -> None:
    image = folder / "train/images/train6.png"
    image.unlink()
    image.symlink_to(folder / "nowhere.png")
    with pytest.raises(DataError, match=r"train6\.png is missing"):
        read(folder)


def test_ids_must_be_unique_over_the_splits(folder: Path) -> None:
    for kind in ("images", "masks"):
        (folder / f"val/{kind}/val1.png").rename(folder / f"val/{kind}/train1.png")
    with pytest.raises(DataError, match=r"'train1' is in train and again in val"):
        read(folder)


def test_an_unknown_source_names_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(DataError, match=r"dataset\.source 'camvit'.*camvid.*shapes.*did you mean 'camvid'"):
        read_manifest(DatasetParameters(source="camvit", root="."))


def test_masks_may_be_palettes_and_pictures_may_be_gray_or_transparent(tmp_path: Path) -> None:
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4) % 5
    palette = Image.fromarray(ids)
    palette.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200] + [0] * 759)
    palette.save(tmp_path / "palette.png")
    assert palette.mode == "P"
    np.testing.assert_array_equal(read_mask(tmp_path / "palette.png"), ids)

    Image.fromarray(ids.astype(bool)).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "bits.png"), ids.astype(bool))

    Image.fromarray(ids).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(read_image(tmp_path / "gray.png"), np.repeat(ids[..., None], 3, axis=2))
    Image.new("RGBA", (4, 3), (1, 2, 3, 4)).save(tmp_path / "transparent.png")
    np.testing.assert_array_equal(read_image(tmp_path / "transparent.png"), np.full((3, 4, 3), (1, 2, 3)))


def test_a_mask_of_16_bits_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((3, 4), 300, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png has mode I;16"):
        read_mask(tmp_path / "deep.png")
