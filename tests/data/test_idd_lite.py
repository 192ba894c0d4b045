"""IDD Lite is listed as its archive unpacks, with the images of its ``test`` as unlabelled ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from igl_dt.data.datasets import DataError, MaskFormat, Sample
from igl_dt.data.datasets.idd_lite import CLASS_NAMES, IddLite
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import DatasetParameters, SplittingParameters
from igl_dt.data.splits import split_labels

FRAMES = {"train": ["0/024541", "0/frame7", "10/024541"], "val": ["3/000001"], "test": ["5/000002", "5/000003"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    root = tmp_path / "idd"
    for split, frames in FRAMES.items():
        for frame in frames:
            image, mask = root / f"leftImg8bit/{split}/{frame}_image.jpg", root / f"gtFine/{split}/{frame}_label.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)).save(image)
            if split != "test":
                mask.parent.mkdir(parents=True, exist_ok=True)
                labels = np.append(np.arange(70, dtype=np.uint8) % 7, np.full(10, 255, np.uint8))
                Image.fromarray(labels.reshape(8, 10)).save(mask)
    return root


def test_lists_each_split(folder: Path) -> None:
    dataset = IddLite(folder, {})
    listing = dataset.list_samples()
    assert listing.class_names == CLASS_NAMES
    assert len(CLASS_NAMES) == 7
    assert dataset.mask_format() == MaskFormat()
    assert {sample.id: sample.split for sample in listing.samples} == {
        **dict.fromkeys(["train/0/024541", "train/0/frame7", "train/10/024541"], "train"),
        **dict.fromkeys(["test/5/000002", "test/5/000003"], "train"),
        "val/3/000001": "val",
    }
    path = "train/0/024541"
    assert listing.samples[0] == Sample(path, "train", f"leftImg8bit/{path}_image.jpg", f"gtFine/{path}_label.png")


def test_images_of_test_are_never_labelled(folder: Path) -> None:
    manifest = read_manifest(DatasetParameters(source="idd_lite", root=str(folder)))
    parts = split_labels(manifest.samples, manifest.class_pixels, SplittingParameters(labeled_fraction=0.4), seed=0)
    assert len(parts.labeled) == 1
    assert len(parts.unlabeled) == 4
    assert len(parts.val) == 1
    assert parts.test.empty
    assert {"test/5/000002", "test/5/000003"} < set(parts.unlabeled["id"])
    assert (manifest.class_pixels == 10).all(axis=None)


def test_works_without_test(folder: Path) -> None:
    for image in (folder / "leftImg8bit/test").glob("*/*"):
        image.unlink()
    with pytest.raises(DataError, match=r"no images in .*leftImg8bit/test: expected a folder per sequence"):
        IddLite(folder, {}).list_samples()
    (folder / "leftImg8bit/test").rename(folder / "unused")
    assert len(IddLite(folder, {}).list_samples().samples) == 4


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("", "is not a folder: it must hold leftImg8bit and gtFine"),
        ("leftImg8bit/val", r"no images in .*leftImg8bit/val: expected a folder per sequence with files \*_image\.jpg"),
        ("gtFine/val", r"1 val or test images have no mask, which evaluation needs: val/3/000001 \(val\)"),
    ],
)
def test_what_is_missing_is_named(folder: Path, gone: str, message: str) -> None:
    (folder / gone).rename(folder.parent / "elsewhere")
    with pytest.raises(DataError, match=message):
        read_manifest(DatasetParameters(source="idd_lite", root=str(folder)))
