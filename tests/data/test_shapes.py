"""The built-in data set is the same everywhere, holds what it promises, and is never half drawn."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from igl_dt.data.datasets import DataError, Listing, shapes
from igl_dt.data.datasets.shapes import CLASS_NAMES, Shapes, ShapesOptions, draw_scene


def list_samples(root: Path, options: Mapping[str, object]) -> Listing:
    return Shapes(root, options).list_samples()


OPTIONS = ShapesOptions()
SMALL = {"train": 3, "val": 1, "test": 1, "min_side": 32, "max_side": 48}


@pytest.fixture(scope="module")
def masks() -> list[np.ndarray]:
    return [draw_scene(0, "train", index, OPTIONS)[1] for index in range(100)]


def test_a_scene_is_a_function_of_its_key():
    image, mask = draw_scene(0, "train", 5, OPTIONS)
    again_image, again_mask = draw_scene(0, "train", 5, OPTIONS)
    assert image.tobytes() == again_image.tobytes()
    assert mask.tobytes() == again_mask.tobytes()
    assert image.dtype == mask.dtype == np.uint8
    assert image.shape == (*mask.shape, 3)
    for other in ((1, "train", 5), (0, "val", 5), (0, "train", 6)):
        assert draw_scene(*other, OPTIONS)[0].tobytes() != image.tobytes()


def test_masks_are_those_of_this_drawing_version():
    digest = hashlib.sha256(b"".join(draw_scene(0, "train", index, OPTIONS)[1].tobytes() for index in range(3)))
    assert (shapes.DRAWING_VERSION, digest.hexdigest()[:16]) == (2, "2354ff380642c66d")


def test_every_class_is_common_and_has_enough_pixels(masks):
    pixels = np.array([np.bincount(mask.ravel(), minlength=len(CLASS_NAMES)) for mask in masks])
    assert pixels.shape[1] == len(CLASS_NAMES)
    assert ((pixels > 0).mean(axis=0) >= 0.25).all()
    shares = dict(zip(CLASS_NAMES, pixels.sum(axis=0) / pixels.sum(), strict=True))
    assert 0.45 < shares["background"] < 0.7
    assert min(shares.values()) > 0.007


def test_sizes_are_few_and_within_the_range(masks):
    sizes = {mask.shape for mask in masks}
    assert {side for size in sizes for side in size} == {64, 96, 128}
    assert len(sizes) == 7
    assert any(height != width for height, width in sizes)


@pytest.mark.parametrize("index", range(8))
def test_the_scene_decides_and_nothing_else(index):
    """On either backdrop the objects' inner pixels are the same, and so are the masks but for the names."""
    key = (0, "train", index)
    sea_image, sea = shapes.paint("sea", key, OPTIONS)
    field_image, field = shapes.paint("field", key, OPTIONS)
    names = {"boat": "wagon", "starfish": "flower"}
    renamed = np.array([CLASS_NAMES.index(names.get(name, name)) for name in CLASS_NAMES])
    assert (renamed[sea] == field).all()
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(field, 2, mode="edge"), (5, 5))
    inner = (field > 0) & (windows.min(axis=(2, 3)) == windows.max(axis=(2, 3)))
    # A little ground shines through where two outlines meet in one pixel.
    assert (sea_image[inner] == field_image[inner]).all(axis=1).mean() > 0.98
    assert (sea_image[field == 0] != field_image[field == 0]).any(axis=1).mean() > 0.8


def test_a_listing_names_the_files_that_were_drawn(tmp_path: Path):
    root = tmp_path / "raw" / "shapes"
    listing = list_samples(root, SMALL)
    assert listing.class_names == CLASS_NAMES
    assert (root / "classes.txt").read_text().split() == list(CLASS_NAMES)
    assert [sample.split for sample in listing.samples] == ["train"] * 3 + ["val", "test"]
    assert len({sample.id for sample in listing.samples}) == 5
    image, mask = draw_scene(0, "train", 1, ShapesOptions(**SMALL))
    sample = listing.samples[1]
    assert (np.array(Image.open(root / sample.image)) == image).all()
    assert (np.array(Image.open(root / str(sample.mask))) == mask).all()
    assert sorted(path.name for path in root.parent.iterdir()) == ["shapes"]


def test_nothing_is_drawn_twice(tmp_path: Path):
    root = tmp_path / "shapes"
    first = list_samples(root, SMALL)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert list_samples(root, SMALL) == first
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_other_options_need_another_folder(tmp_path: Path):
    """Runs share the folder: one must not replace the images that another one is to be evaluated on."""
    root = tmp_path / "shapes"
    sample = list_samples(root, SMALL).samples[0]
    before = (root / sample.image).read_bytes()
    with pytest.raises(DataError, match=r"was drawn with other dataset\.options.*: give this run a dataset\.root"):
        list_samples(root, SMALL | {"seed": 1, "train": 2})
    assert (root / sample.image).read_bytes() == before
    shutil.rmtree(root)
    list_samples(root, SMALL | {"seed": 1, "train": 2})
    assert len(list((root / "train" / "images").iterdir())) == 2
    assert json.loads((root / "shapes.json").read_text())["options"]["seed"] == 1


def test_a_missing_file_is_drawn_again(tmp_path: Path):
    root = tmp_path / "shapes"
    sample = list_samples(root, SMALL).samples[0]
    (root / sample.image).unlink()
    list_samples(root, SMALL)
    assert (root / sample.image).is_file()


@pytest.mark.parametrize("drawn_before", [False, True])
def test_an_interruption_leaves_nothing_half_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn_before: bool):
    root = tmp_path / "shapes"
    if drawn_before:  # but a file is missing
        (root / list_samples(root, SMALL).samples[0].image).unlink()
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def interrupted(seed, split, index, options):
        if index == 2:
            raise KeyboardInterrupt
        return draw_scene(seed, split, index, options)

    monkeypatch.setattr(shapes, "draw_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list_samples(root, SMALL)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"] * drawn_before


def test_of_processes_that_start_at_once_one_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn, both_started = [], threading.Barrier(2)

    def slowly(seed, split, index, options):
        drawn.append((split, index))
        time.sleep(0.01)
        return draw_scene(seed, split, index, options)

    def start(root: Path) -> Listing:
        both_started.wait()
        return list_samples(root, SMALL)

    monkeypatch.setattr(shapes, "draw_scene", slowly)
    root = tmp_path / "shapes"
    with ThreadPoolExecutor(2) as pool:  # the lock is between open files, so threads do for processes
        first, second = pool.map(start, [root, root])
    assert first == second
    assert len(drawn) == 5
    assert all((root / sample.image).is_file() for sample in first.samples)


def test_files_of_others_are_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DataError, match="did not draw"):
        list_samples(tmp_path, SMALL)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trian": 3}, r"trian: unknown; did you mean 'train'\?"),
        ({"colour": 3}, "colour: unknown; there are seed, train"),
        ({"train": 0}, "train.*greater than 0"),
        ({"min_side": 50}, "min_side.*multiple of 16"),
        ({"min_side": 96, "max_side": 64}, "must not be above"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: dict[str, int], message: str):
    with pytest.raises(DataError, match=message):
        list_samples(tmp_path / "shapes", options)
    assert not (tmp_path / "shapes").exists()
