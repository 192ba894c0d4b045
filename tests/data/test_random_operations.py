"""AugSeg's random operations."""

import numpy as np
import pytest
from PIL import Image

from igl_dt.data.random_operations import OPERATIONS, random_operations


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(20, 200, (16, 20, 3), dtype=np.uint8))


def test_each_operation_but_the_first_changes_an_image_and_keeps_its_kind(image) -> None:
    assert len(OPERATIONS) == 11
    for index, operation in enumerate(OPERATIONS):
        changed = operation(image, np.random.default_rng(1))
        assert (changed.mode, changed.size) == (image.mode, image.size)
        assert np.array_equal(np.array(changed), np.array(image)) == (index == 0)


def test_as_many_as_drawn_are_applied_and_all_occur(image, monkeypatch) -> None:
    applied: list[int] = []
    spies = tuple(lambda image, _, index=index: applied.append(index) or image for index in range(len(OPERATIONS)))
    monkeypatch.setattr("igl_dt.data.random_operations.OPERATIONS", spies)
    counts = []
    for seed in range(200):
        before = len(applied)
        random_operations(image, 3, np.random.default_rng(seed))
        counts.append(len(applied) - before)
    assert set(counts) == {1, 2, 3}
    assert set(applied) == set(range(11))


def test_it_is_a_function_of_the_generator(image) -> None:
    one, other = (random_operations(image, 3, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(np.array(one), np.array(other))
