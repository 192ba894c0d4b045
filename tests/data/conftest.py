"""Folders in the manner of CamVid, small enough to be drawn for every test."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = (32, 24)
"""Width and height."""
COUNTS = {"train": 8, "val": 2, "test": 2}
CLASS_NAMES = ("road", "tree", "pole")


def draw_folder(root: Path) -> Path:
    """Draw images ``train0.png`` … with masks of three classes; ``pole`` is in ``train5`` alone."""
    rng = np.random.default_rng(0)
    width, height = SIZE
    for split, count in COUNTS.items():
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            mask = rng.integers(0, 2, (height, width), dtype=np.uint8)
            mask[0] = 255
            if (split, index) == ("train", 5):
                mask[10:12] = 2
            image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / split / "images" / f"{split}{index}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"{split}{index}.png")
    (root / "classes.txt").write_text("\n".join(CLASS_NAMES))  # without a final newline, like many published lists
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of its own for one test, which may spoil it."""
    return draw_folder(tmp_path / "images")


@pytest.fixture(scope="session")
def unspoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder for all tests that only read."""
    return draw_folder(tmp_path_factory.mktemp("data") / "images")
