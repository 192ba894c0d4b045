"""Images that look alike are found, whatever their number, and others are not."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from igl_dt.data import similarity
from igl_dt.data.similarity import difference_hash, find_lookalikes


@pytest.fixture
def scenes() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)) for _ in range(30)]
    return [image.resize((320, 240), Image.Resampling.BICUBIC) for image in coarse]


def hashes(images: list[Image.Image]) -> list[int]:
    return [difference_hash(np.asarray(image)) for image in images]


def test_brighter_shifted_and_smaller_copies_are_found(scenes: list[Image.Image]) -> None:
    copies = [
        ImageEnhance.Brightness(scenes[3]).enhance(1.2),
        scenes[7].transform((320, 240), Image.Transform.AFFINE, (1, 0, 3, 0, 1, 2)),
        scenes[9].resize((200, 150)),
    ]
    train, evaluated = hashes(scenes[:20]), hashes([*scenes[20:], *copies])
    assert find_lookalikes(train, evaluated) == ([(10, 3), (11, 7), (12, 9)], 13)


def test_images_that_show_nothing_do_not_count(scenes: list[Image.Image]) -> None:
    black = hashes([Image.new("RGB", (40, 30))])
    assert find_lookalikes(black, black) == ([], 1)
    assert find_lookalikes([], black) == find_lookalikes(black, []) == ([], 0)


def test_of_many_images_only_some_are_compared(scenes: list[Image.Image], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "MOST_COMPARED", 5)
    found, compared = find_lookalikes(hashes(scenes), hashes(scenes))
    assert compared == 5
    assert found == [(position, position) for position in (0, 7, 14, 22, 29)]
