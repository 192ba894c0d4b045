"""The manifest says truly what is on disk, and what cannot be used is named with its file."""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from pydantic import ValidationError

from igl_dt.data.datasets import DataError, Sample
from igl_dt.data.datasets.base import SHOWN
from igl_dt.data.manifest import COLUMNS, _check_samples, read_manifest
from igl_dt.data.parameters import DatasetParameters


def read(folder: Path):
    return read_manifest(DatasetParameters(source="camvid", root=str(folder)))


def test_one_row_per_image_sorted_by_split_and_id(unspoilt: Path) -> None:
    images = read(unspoilt).samples
    assert tuple(images.columns) == COLUMNS
    assert images["split"].value_counts().to_dict() == {"train": 8, "val": 2, "test": 2}
    assert images["id"].is_unique
    pd.testing.assert_frame_equal(images, images.sort_values(["split", "id"]))
    assert (images["width"] == 32).all()
    assert (images["height"] == 24).all()


def test_the_hash_is_that_of_both_files(unspoilt: Path) -> None:
    for row in read(unspoilt).samples.itertuples():
        both = (unspoilt / row.image).read_bytes() + (unspoilt / row.mask).read_bytes()
        assert row.sha256 == hashlib.sha256(both).hexdigest()


def test_an_image_without_mask_has_no_pixels_and_the_hash_of_its_own_file(folder: Path) -> None:
    (folder / "train/masks/train3.png").unlink()
    manifest = read(folder)
    row = manifest.samples.set_index("id").loc["train3"]
    assert row["mask"] is None or pd.isna(row["mask"])
    assert row["sha256"] == hashlib.sha256((folder / row["image"]).read_bytes()).hexdigest()
    assert "train3" not in manifest.class_pixels.index
    assert len(manifest.class_pixels) == 11


def test_class_pixels_count_the_masks_without_what_is_ignored(unspoilt: Path) -> None:
    pixels = read(unspoilt).class_pixels
    assert pixels.index.name == "id"
    assert list(pixels.columns) == ["road", "tree", "pole"]
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
    (folder / "val/images/val0.png").write_text("no image")
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(folder / "test/masks/test1.png")
    with pytest.raises(DataError) as raised:
        read(folder)
    first, *problems = str(raised.value).splitlines()
    assert first == f"5 of 12 images in {folder} cannot be used; repair or remove them:"
    assert len(problems) == 5
    test1, train0, train1, train2, val0 = problems  # in the manifest's order
    assert "test/masks/test1.png" in test1
    assert "mode RGB" in test1
    assert "mode L or P" in test1
    assert "train/masks/train0.png" in train0
    assert "7×5" in train0
    assert "32×24" in train0
    assert "train/masks/train1.png" in train1
    assert "[3]" in train1
    assert "0 to 2, or 255" in train1
    assert "train/images/train2.png" in train2
    assert "cannot be read as an image" in train2
    assert "truncated" in train2
    assert "val/images/val0.png" in val0
    assert "cannot be read as an image" in val0


def test_only_the_first_of_many_bad_files_are_named(folder: Path) -> None:
    for index in range(8):
        (folder / f"train/images/train{index}.png").write_bytes(b"")
    with pytest.raises(DataError, match="8 of 12 images") as raised:
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
    with pytest.raises(DataError, match=r"1 ids occur twice .*: 'train1' in train and again in val"):
        read(folder)


def draw(folder: Path, id_: str, split: str = "train") -> None:
    """Draw one image more, with its mask."""
    Image.new("RGB", (32, 24)).save(folder / split / "images" / f"{id_}.png")
    Image.new("L", (32, 24)).save(folder / split / "masks" / f"{id_}.png")


@pytest.mark.parametrize(("id_", "alike"), [("TRAIN3", "train3"), ("Stra\u00dfe", "strasse"), ("e\u0301", "\u00e9")])
def test_ids_must_differ_by_more_than_case_or_coding(folder: Path, id_: str, alike: str) -> None:
    draw(folder, id_)
    draw(folder, alike)
    with pytest.raises(DataError, match=r"1 ids differ only in case or in .* \(rename one\): ") as raised:
        read(folder)
    assert repr(id_) in str(raised.value)
    assert repr(alike) in str(raised.value)


@pytest.mark.parametrize(
    "id_", ["two words", "it's", '"quoted", twice', "semi;colon", "100%", "#7", "Größe 5 – 日本語", "-1"]
)
def test_odd_names_come_back_from_a_table(folder: Path, tmp_path: Path, id_: str) -> None:
    draw(folder, id_)
    images = read(folder).samples
    images.to_csv(tmp_path / "manifest.csv", index=False, lineterminator="\n")
    again = pd.read_csv(tmp_path / "manifest.csv", dtype={"id": str}, keep_default_na=False)
    assert id_ in set(again["id"])
    assert f"train/images/{id_}.png" in set(again["image"])
    assert list(again["id"]) == list(images["id"])


UNSAFE = "1 names have a character that tables and lists cannot hold (rename the files): "


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("two\nlines", UNSAFE + r"'two\nlines'"),
        ("tab\tstop", UNSAFE + r"'tab\tstop'"),
        (
            "separator\u2028",
            UNSAFE + r"'separator\u2028'",
        ),
        (
            os.fsdecode(b"no UTF-8 \xff"),
            UNSAFE + r"'no UTF-8 \udcff'",
        ),
        (" blank", "1 ids begin or end with a space, which lists cannot hold (rename the files): ' blank'"),
        ("blank ", "1 ids begin or end with a space, which lists cannot hold (rename the files): 'blank '"),
    ],
)
def test_names_that_no_list_can_hold_are_refused(folder: Path, name: str, told: str) -> None:
    draw(folder, name)
    with pytest.raises(DataError) as raised:
        read(folder)
    assert str(raised.value).startswith(told)


class TestLinks:
    def test_within_the_root_are_followed(self, folder: Path) -> None:
        image = folder / "train/images/train6.png"
        image.rename(folder / "elsewhere.png")
        image.symlink_to(folder / "elsewhere.png")
        (folder.parent / "link").symlink_to(folder)
        assert read(folder).samples.equals(read(folder.parent / "link").samples)

    @pytest.mark.parametrize("what", ["train/images/train6.png", "train/masks/train6.png", "val/masks"])
    def test_out_of_the_root_are_refused(self, folder: Path, what: str) -> None:
        (folder / what).rename(folder.parent / "outside")
        (folder / what).symlink_to(folder.parent / "outside")
        with pytest.raises(
            DataError, match=r"leads out of dataset\.root, .* \(to .*outside.*\): copy it into"
        ) as raised:
            read(folder)
        assert f"{folder / what}" in str(raised.value)


def set_masks(folder: Path, values: list[int], class_names: list[str]) -> None:
    """Let all masks hold these values, and nothing else."""
    for path in folder.glob("*/masks/*.png"):
        mask = np.array(values, np.uint8)[np.arange(24 * 32).reshape(24, 32) % len(values)]
        Image.fromarray(mask).save(path)
    (folder / "classes.txt").write_text("\n".join(class_names))


HINT = r"the masks hold the values .*: if these are .* dataset\.options of the source folder:\n  ids: "


@pytest.mark.parametrize(
    ("values", "names", "ids"),
    [
        ([0, 255], ["background", "polyp"], "{background: 0, polyp: 255}"),
        ([1, 2], ["background", "polyp"], "{background: 1, polyp: 2}"),
        ([1, 3, 255], ["a", "b", "c"], "{a: 1, b: 2, c: 3}"),
        ([0, 85, 170, 255], ["a", "b", "c", "d: e"], "{a: 0, b: 85, c: 170, 'd: e': 255}"),
        ([0, 85, 170, 255], ["a", "b", "c"], "{a: 0, b: 85, c: 170}"),
        ([0, 80], ["a", "b", "c"], None),
        ([0, 60, 120], ["a", "b", "no"], "{a: 0, b: 60, 'no': 120}"),
        ([0, 40, 120], ["a", "b", "c", "d"], "{a: 0, b: 40, c: 80, d: 120}"),
        ([0, 128, 255], ["a", "b", "c"], "{a: 0, b: 128, c: 255}"),
        ([0, 1, 7], ["a", "b"], None),
    ],
)
def test_masks_with_other_ids_are_refused_with_the_ids_they_need(
    folder: Path, values: list[int], names: list[str], ids: str | None
) -> None:
    set_masks(folder, values, names)
    with pytest.raises(DataError) as raised:
        read(folder)
    if ids is None:
        assert "ids:" not in str(raised.value)
    else:
        assert re.search(HINT + re.escape(ids) + "$", str(raised.value), re.MULTILINE), raised.value
        words = ",".join(f"dataset.options.ids.{name}={id_}" for name, id_ in yaml.safe_load(ids).items())
        assert str(raised.value).endswith(f"\nor to --params:\n  {words}") != ("d: e" in ids)


def test_the_ids_of_the_hint_are_right(folder: Path, tmp_path: Path) -> None:
    set_masks(folder, [0, 255], ["background", "polyp"])
    options = {"images": "{split}/images", "masks": "{split}/masks", "folders": {"train": "train", "val": "val"}}
    options["class_names"] = ["background", "polyp"]
    with pytest.raises(DataError, match="'background' and ignored pixels, so that 'polyp' never occurs") as raised:
        read_manifest(DatasetParameters(source="folder", root=str(folder), options=options))
    wrong = options | {"ids": {"background": 0, "polyp": 1}}
    with pytest.raises(DataError, match="'polyp' never occurs:\ncheck which ids are of which class"):
        read_manifest(DatasetParameters(source="folder", root=str(folder), options=wrong))
    options |= yaml.safe_load(str(raised.value).splitlines()[-3])
    manifest = read_manifest(DatasetParameters(source="folder", root=str(folder), options=options))
    assert (manifest.class_pixels == 24 * 32 / 2).all(axis=None)


@pytest.mark.parametrize("values", [[0, 1], [0, 1, 255], [0, 2, 255], [1, 255], [0]])
def test_valid_ids_are_not_questioned(folder: Path, values: list[int]) -> None:
    set_masks(folder, values, ["a", "b", "c"])
    read(folder)
    if 2 not in values:
        set_masks(folder, values, ["a", "b"])
        read(folder)


def test_a_distorting_size_is_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for size, warned in (((24, 32), False), ((48, 60), False), ((24, 24), True), ((12, 32), True), (None, False)):
        caplog.clear()
        read_manifest(DatasetParameters(source="camvid", root=str(folder), image_size=size))
        warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == warned, (size, warnings)
        if size == (24, 24):
            assert warnings[0].startswith(
                "dataset.image_size 24×24 (height×width) changes the aspect ratio of 12 of 12 images by more than "
                "10 % (at most 33 %): test0, test1, train0, "
            )
            assert warnings[0].endswith("dataset.short_side or dataset.long_side in its place keep it")


def test_one_image_is_no_data_set(folder: Path) -> None:
    (folder / "train.txt").write_text("train3\n")
    (folder / "val.txt").write_text("val1\n")
    assert len(read(folder).samples) == 4
    with pytest.raises(DataError, match="the data set has no val images"):
        _check_samples([Sample("train3", "train", "train3.png", None)])


def test_evaluation_needs_masks() -> None:
    samples = [Sample(f"{split}0", split, f"{split}.png", None) for split in ("train", "val", "test")]
    with pytest.raises(DataError, match=r"^2 val or test images have no mask, .*: val0 \(val\), test0 \(test\)$"):
        _check_samples(samples)


def test_a_file_is_one_image(unspoilt: Path) -> None:
    with pytest.raises(DataError, match=r"1 files are listed twice .*: a\.png as 'a' and again as 'b'"):
        _check_samples([Sample("a", "train", "a.png", None), Sample("b", "val", "a.png", None)])


def test_sizes_are_positive() -> None:
    for size in ((-24, 32), (24, 0)):
        with pytest.raises(ValidationError, match=r"image_size\.\d\n *Input should be greater than 0"):
            DatasetParameters(root="x", image_size=size)


def test_an_unknown_source_names_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(DataError, match=r"^unknown dataset\.source 'camvit'; did you mean 'camvid'\?$"):
        read_manifest(DatasetParameters(source="camvit", root="."))


def test_an_evaluated_image_that_looks_like_a_training_image_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((80, 60))
    for split, id_ in (("train", "frame_1"), ("val", "frame_2")):
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
        scene.save(tmp_path / split / "images" / f"{id_}.png")
        Image.new("L", (80, 60)).save(tmp_path / split / "masks" / f"{id_}.png")
    (tmp_path / "classes.txt").write_text("a\nb")
    read_manifest(DatasetParameters(source="camvid", root=str(tmp_path)))
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said.startswith("1 of 1 val and test images that were compared look like a training image, such as ")
    assert "val/images/frame_2.png and train/images/frame_1.png" in said
    assert "dataset.options.group" in said
