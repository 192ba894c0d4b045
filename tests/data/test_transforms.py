"""Crops are where they should be, image and mask alike, and what is drawn stays in its range."""

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional

from igl_dt.data import transforms
from igl_dt.data.parameters import AugmentationParameters, StrongAugmentation
from igl_dt.data.transforms import (
    CropWindow,
    crop_image,
    crop_mask,
    draw_class_pixel,
    draw_cutmix_box,
    draw_window,
    padding_mask,
    strong_view,
)


def augmentation(crop_size: tuple[int, int] = (24, 32), **changes: object) -> AugmentationParameters:
    return AugmentationParameters(crop_size=crop_size, **changes)


def windows(
    width: int, height: int, parameters: AugmentationParameters, count: int = 60
) -> Iterator[tuple[CropWindow, np.random.Generator]]:
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield draw_window(width, height, parameters, rng), rng


def test_the_fused_crop_is_that_of_the_whole_scaled_image() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (61, 83, 3), dtype=np.uint8)
    mask = rng.integers(0, 200, (61, 83), dtype=np.uint8)
    parameters = augmentation(flip_probability=0, scale=(0.5, 2.0))
    for window, _ in windows(83, 61, parameters):
        (left, top, right, bottom), (width, height) = window.box, window.size
        assert window.offset == (0, 0)
        scaled = round(width * 83 / (right - left)), round(height * 61 / (bottom - top))
        corner = round(left * scaled[0] / 83), round(top * scaled[1] / 61)
        area = (*corner, corner[0] + width, corner[1] + height)
        whole = Image.fromarray(image).resize(scaled, Image.Resampling.BILINEAR).crop(area)
        difference = np.asarray(whole, int) - np.asarray(crop_image(image, window, (24, 32)), int)
        assert np.abs(difference).max() <= 1
        whole_mask = Image.fromarray(mask).resize(scaled, Image.Resampling.NEAREST).crop(area)
        np.testing.assert_array_equal(whole_mask, crop_mask(mask, window, (24, 32)))


@pytest.mark.parametrize("scale", [(0.3, 0.5), (0.5, 2.0)])
def test_a_crop_contains_the_pixel_that_it_must(scale: tuple[float, float]) -> None:
    parameters, corners = augmentation(scale=scale), [(0, 0), (82, 60), (41, 7)]
    for seed in range(60):
        column, row = corners[seed % 3]
        window = draw_window(83, 61, parameters, np.random.default_rng(seed), (column, row))
        left, top, right, bottom = window.box
        assert left - 1e-9 <= column + 0.5 <= right + 1e-9 and top - 1e-9 <= row + 0.5 <= bottom + 1e-9
        anywhere = draw_window(83, 61, parameters, np.random.default_rng(seed))
        assert (window.size, window.flip) == (anywhere.size, anywhere.flip)


def test_classes_of_a_mask_are_drawn_alike() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[3:5, 7], mask[10:, :], mask[-1, -1] = 2, 255, 9
    drawn = [draw_class_pixel(mask, np.random.default_rng(seed)) for seed in range(300)]
    classes, counts = np.unique([mask[row, column] for column, row in drawn], return_counts=True)
    assert classes.tolist() == [0, 2, 9]
    assert counts.min() > 70
    assert draw_class_pixel(np.full((4, 4), 255, np.uint8), np.random.default_rng(0)) is None


def test_image_and_mask_show_the_same_place() -> None:
    """Both hold their own column (or row): after any crop they still agree, without a shift to either side."""
    columns = np.tile(np.arange(100, dtype=np.uint8) * 2, (80, 1))
    rows = np.tile(np.arange(80, dtype=np.uint8)[:, None] * 2, (1, 100))
    image = np.stack([columns, rows, columns], axis=2)
    for window, _ in windows(100, 80, augmentation((48, 48), scale=(0.4, 2.0))):
        view = np.asarray(crop_image(image, window, (48, 48)), float)
        inside = ~padding_mask(window, (48, 48))
        for channel, truth in ((0, columns), (1, rows)):
            shift = (view[..., channel] - crop_mask(truth, window, (48, 48)))[inside] / 2  # in pixels of the image
            assert np.abs(shift).max() <= 1.3
            assert abs(shift.mean()) < 0.3


def test_a_flip_mirrors_everything() -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (20, 30, 3), np.uint8), rng.integers(0, 9, (20, 30), np.uint8)
    straight = draw_window(30, 20, augmentation((40, 40), scale=(1, 1), flip_probability=0), np.random.default_rng(4))
    flipped = draw_window(30, 20, augmentation((40, 40), scale=(1, 1), flip_probability=1), np.random.default_rng(4))
    assert flipped == straight._replace(flip=True)
    assert straight.offset[0] > 0
    np.testing.assert_array_equal(
        np.asarray(crop_image(image, straight, (40, 40)))[:, ::-1], crop_image(image, flipped, (40, 40))
    )
    np.testing.assert_array_equal(crop_mask(mask, straight, (40, 40))[:, ::-1], crop_mask(mask, flipped, (40, 40)))
    np.testing.assert_array_equal(padding_mask(straight, (40, 40))[:, ::-1], padding_mask(flipped, (40, 40)))


def test_no_scale_and_a_crop_of_the_whole_give_the_image_itself() -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (24, 32, 3), np.uint8), rng.integers(0, 9, (24, 32), np.uint8)
    window = draw_window(32, 24, augmentation(scale=(1, 1), flip_probability=0), rng)
    assert window == CropWindow((0, 0, 32, 24), (32, 24), (0, 0), False)
    np.testing.assert_array_equal(crop_image(image, window, (24, 32)), image)
    np.testing.assert_array_equal(crop_mask(mask, window, (24, 32)), mask)
    assert not padding_mask(window, (24, 32)).any()


def test_padding_is_black_ignored_and_marked() -> None:
    image, mask = np.full((20, 30, 3), 200, np.uint8), np.full((20, 30), 3, np.uint8)
    parameters = augmentation((40, 40), scale=(0.5, 2.0))
    offsets, padded = set(), 0
    for window, _ in windows(30, 20, parameters):
        padding = padding_mask(window, (40, 40))
        assert padding.dtype == bool
        assert padding.shape == (40, 40)
        assert (~padding).sum() == window.size[0] * window.size[1]
        np.testing.assert_array_equal(crop_mask(mask, window, (40, 40)), np.where(padding, 255, 3))
        view = np.asarray(crop_image(image, window, (40, 40)))
        np.testing.assert_array_equal(view[..., 1], np.where(padding, 0, 200))
        offsets.add(window.offset)
        padded += bool(padding.any())
    assert padded > 30
    assert len(offsets) > 20


def test_windows_are_spread_over_scales_and_places() -> None:
    drawn = [window for window, _ in windows(100, 100, augmentation((20, 20), scale=(0.5, 2.0)), count=300)]
    boxes = np.array([window.box for window in drawn])
    scales = 20 / (boxes[:, 2] - boxes[:, 0])
    assert 0.5 <= scales.min() < 0.55
    assert 1.95 < scales.max() <= 2.0
    assert abs(scales.mean() - 1.25) < 0.1
    assert boxes.min() >= 0
    assert boxes.max() <= 100
    assert boxes[:, 0].min() < 2
    assert boxes[:, 2].max() > 98
    assert boxes[:, 1].min() < 2
    assert boxes[:, 3].max() > 98
    assert abs(np.mean([window.flip for window in drawn]) - 0.5) < 0.1


def test_tiny_images_never_vanish() -> None:
    window = draw_window(1, 3, augmentation((8, 8), scale=(0.1, 0.1)), np.random.default_rng(0))
    assert window.size == (1, 1)
    assert crop_mask(np.zeros((3, 1), np.uint8), window, (8, 8)).tolist().count([255] * 8) == 7


IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
NEVER = {"jitter_probability": 0, "grayscale_probability": 0, "blur_probability": 0}


def strong(seed: int = 0, **changes: object) -> np.ndarray:
    return np.asarray(strong_view(IMAGE, StrongAugmentation(**(NEVER | changes)), np.random.default_rng(seed)), int)


def test_jitter_is_that_of_torchvision() -> None:
    for name in ("brightness", "contrast", "saturation", "hue"):
        for amount in (-0.5, -0.1, 0.001, 0.37) if name == "hue" else (0.0, 0.6, 1.5):
            expected = getattr(functional, f"adjust_{name}")(IMAGE, amount)
            assert getattr(transforms, f"_adjust_{name}")(IMAGE, amount).tobytes() == expected.tobytes(), name


def test_blur_may_be_scaled_to_the_crop() -> None:
    def blurred(side: int, sigma: float, reference: int | None) -> bytes:
        given = NEVER | {"blur_probability": 1, "blur_sigma": (sigma, sigma), "reference_crop": reference}
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side + 9, 3), dtype=np.uint8))
        return strong_view(image, StrongAugmentation(**given), np.random.default_rng(0)).tobytes()

    assert blurred(64, 2.0, reference=128) == blurred(64, 1.0, reference=None) != blurred(64, 2.0, reference=None)
    assert blurred(64, 2.0, reference=64) == blurred(64, 2.0, reference=None)


def test_the_strong_view_is_a_function_of_its_generator_and_leaves_the_weak_one_alone() -> None:
    before = np.array(IMAGE)
    always = dict.fromkeys(NEVER, 1)
    assert (strong(1, **always) == strong(1, **always)).all()
    assert (strong(1, **always) != strong(2, **always)).any()
    np.testing.assert_array_equal(IMAGE, before)


def test_each_photometric_change_does_what_it_says() -> None:
    np.testing.assert_array_equal(strong(), IMAGE)
    gray = strong(grayscale_probability=1)
    assert (gray[..., 0] == gray[..., 1]).all()
    assert (gray[..., 0] == gray[..., 2]).all()
    assert strong(blur_probability=1, blur_sigma=(1.0, 2.0)).std() < 0.6 * np.asarray(IMAGE).std()
    still = {"jitter_probability": 1, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    assert np.abs(strong(**still) - np.asarray(IMAGE)).max() <= 6  # the way through HSV rounds
    for name, value in (("brightness", 0.9), ("contrast", 0.9), ("saturation", 0.9), ("hue", 0.5)):
        assert np.abs(strong(**(still | {name: value})) - np.asarray(IMAGE)).mean() > 4, name


def test_each_photometric_change_happens_as_often_as_asked() -> None:
    changed = np.mean([(strong(seed, blur_probability=0.3) != np.asarray(IMAGE)).any() for seed in range(200)])
    assert 0.2 < changed < 0.4


def test_boxes_are_rectangles_of_the_range_s_area_and_shape() -> None:
    parameters = augmentation((60, 100), cutmix_probability=1, cutmix_area=(0.1, 0.3), cutmix_ratio=0.5)
    areas, ratios, tops, lefts = [], [], [], []
    for seed in range(200):
        box = draw_cutmix_box(parameters, np.random.default_rng(seed))
        rows, columns = np.flatnonzero(box.any(axis=1)), np.flatnonzero(box.any(axis=0))
        assert box.shape == (60, 100)
        assert box.dtype == bool
        assert box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert box.sum() == len(rows) * len(columns)
        areas.append(box.mean())
        ratios.append(len(columns) / len(rows))
        tops.append(rows[0])
        lefts.append(columns[0])
    assert 0.09 < min(areas) < 0.12
    assert 0.28 < max(areas) < 0.31
    assert 0.45 < min(ratios) < 0.6
    assert 1.8 < max(ratios) < 2.2
    assert min(tops) == 0
    assert min(lefts) == 0
    assert max(tops) > 30
    assert max(lefts) > 50


@pytest.mark.parametrize("probability", [0.0, 0.4, 1.0])
def test_boxes_are_drawn_as_often_as_asked(probability: float) -> None:
    parameters = augmentation(cutmix_probability=probability)
    drawn = np.mean([draw_cutmix_box(parameters, np.random.default_rng(seed)).any() for seed in range(1000)])
    assert abs(drawn - probability) <= (0.05 if 0 < probability < 1 else 0)


def test_several_boxes_share_the_area_and_the_first_draws_of_one() -> None:
    options = {"cutmix_probability": 1, "cutmix_area": (0.1, 0.3), "cutmix_ratio": 0.5}
    one, three = augmentation((60, 100), **options), augmentation((60, 100), **options, cutmix_boxes=3)
    areas, labels = [], []
    for seed in range(50):
        boxes = draw_cutmix_box(three, np.random.default_rng(seed))
        areas.append(boxes.mean())
        labels.append(np.abs(np.diff(boxes.astype(int), axis=1)).sum(axis=1).max())
        assert not np.array_equal(boxes, draw_cutmix_box(one, np.random.default_rng(seed)))
    assert 0.1 < np.mean(areas) < 0.25
    assert max(areas) < 0.32
    assert max(labels) > 2, "rows with more than one box"
