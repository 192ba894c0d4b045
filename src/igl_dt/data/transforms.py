"""From an image to a training view: weak views are geometric, strong views photometric on top.

The distributions are those of UniMatch (CVPR 2023) [family], except that CutMix boxes are clipped to the crop [ours].
Scaling and cropping are fused: only the pixels of the crop are computed, with the same result as scaling the whole
image.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance
from PIL.ImageFilter import GaussianBlur

from igl_dt.data.parameters import AugmentationParameters, StrongAugmentation
from igl_dt.utils.parameters import IGNORE_INDEX, Size


class CropWindow(NamedTuple):
    """Geometry of a crop: ``box`` of the image is scaled to ``size``, pasted at ``offset``, and optionally flipped."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the image."""
    size: tuple[int, int]
    """Width and height in pixels of the crop."""
    offset: tuple[int, int]
    """Left and top in pixels of the crop; not 0 if the scaled image is smaller than the crop."""
    flip: bool


def draw_window(
    width: int,
    height: int,
    parameters: AugmentationParameters,
    rng: np.random.Generator,
    pixel: tuple[int, int] | None = None,
) -> CropWindow:
    """Draw a random scale, a random crop of the scaled image, and a random flip.

    Args:
        width: of the image.
        height: of the image.
        parameters: size of the crop, ranges and probabilities.
        rng: for all draws.
        pixel: (column, row) in the image that the crop must contain; None: any crop.
    """
    scale = rng.uniform(*parameters.scale)
    flip = bool(rng.random() < parameters.flip_probability)
    box, size, offset = [], [], []
    for axis, (side, crop) in enumerate(((width, parameters.crop_size[1]), (height, parameters.crop_size[0]))):
        scaled = max(1, round(side * scale))
        taken = min(scaled, crop)
        first, last = 0, scaled - taken
        if pixel is not None:
            position = int((pixel[axis] + 0.5) * scaled / side)
            first, last = max(first, position - taken + 1), min(last, position)
        start = int(rng.integers(first, last + 1))
        box.append((start * side / scaled, (start + taken) * side / scaled))
        size.append(taken)
        offset.append(int(rng.integers(crop - taken + 1)))
    (left, right), (top, bottom) = box
    return CropWindow((left, top, right, bottom), (size[0], size[1]), (offset[0], offset[1]), flip)


def draw_class_pixel(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    """Draw one of the classes in an H×W uint8 mask, and a pixel of it: (column, row).

    None where every pixel is ignored.
    """
    classes = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[:IGNORE_INDEX])
    if not classes.size:
        return None
    rows, columns = np.nonzero(mask == rng.choice(classes))
    index = rng.integers(rows.size)
    return int(columns[index]), int(rows[index])


def crop_image(image: np.ndarray, window: CropWindow, crop_size: Size) -> Image.Image:
    """Crop an H×W×3 uint8 image, bilinear with antialiasing; padding is black."""
    part = Image.fromarray(image).resize(window.size, Image.Resampling.BILINEAR, box=window.box)
    return _place(part, window, crop_size, fill=(0, 0, 0))


def crop_mask(mask: np.ndarray, window: CropWindow, crop_size: Size) -> np.ndarray:
    """Crop an H×W uint8 mask, nearest neighbour; padding is 255."""
    part = Image.fromarray(mask).resize(window.size, Image.Resampling.NEAREST, box=window.box)
    return np.array(_place(part, window, crop_size, fill=IGNORE_INDEX))


def padding_mask(window: CropWindow, crop_size: Size) -> np.ndarray:
    """Return the pixels of the crop that the image does not cover: H×W bool."""
    left, top = window.offset
    width, height = window.size
    if window.flip:
        left = crop_size[1] - width - left
    padding = np.ones(crop_size, dtype=bool)
    padding[top : top + height, left : left + width] = False
    return padding


def _place(part: Image.Image, window: CropWindow, crop_size: Size, fill: int | tuple[int, int, int]) -> Image.Image:
    if part.size != (crop_size[1], crop_size[0]):
        canvas = Image.new(part.mode, (crop_size[1], crop_size[0]), fill)
        canvas.paste(part, window.offset)
        part = canvas
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if window.flip else part


def strong_view(image: Image.Image, parameters: StrongAugmentation, rng: np.random.Generator) -> Image.Image:
    """Apply colour jitter, grayscale and blur, each with its probability, to an RGB crop.

    Args:
        image: the whole crop, to whose shorter side ``parameters.reference_crop`` refers.
        parameters: strengths and probabilities.
        rng: draws them.
    """
    jitter, gray, blur = rng.random(3) < (
        parameters.jitter_probability,
        parameters.grayscale_probability,
        parameters.blur_probability,
    )
    if jitter:
        image = _jitter(image, parameters, rng)
    if gray:
        image = image.convert("L").convert("RGB")
    if blur:
        sigma = rng.uniform(*parameters.blur_sigma)
        if parameters.reference_crop is not None:
            sigma *= min(image.size) / parameters.reference_crop
        image = image.filter(GaussianBlur(sigma))
    return image


def _jitter(image: Image.Image, parameters: StrongAugmentation, rng: np.random.Generator) -> Image.Image:
    def around_one(strength: float) -> float:
        return rng.uniform(max(0.0, 1 - strength), 1 + strength)

    adjustments: list[tuple[Callable[[Image.Image, float], Image.Image], float]] = [
        (_adjust_brightness, around_one(parameters.brightness)),
        (_adjust_contrast, around_one(parameters.contrast)),
        (_adjust_saturation, around_one(parameters.saturation)),
        (_adjust_hue, rng.uniform(-parameters.hue, parameters.hue)),
    ]
    for index in rng.permutation(len(adjustments)):
        adjust, amount = adjustments[index]
        image = adjust(image, amount)
    return image


# The same as torchvision's functions for PIL images, which would import torch.


def _adjust_brightness(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def _adjust_contrast(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(factor)


def _adjust_saturation(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Color(image).enhance(factor)


def _adjust_hue(image: Image.Image, turns: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    shifted = np.array(hue) + np.int32(turns * 255).astype(np.uint8)  # wraps around at 256
    return Image.merge("HSV", (Image.fromarray(shifted), saturation, value)).convert("RGB")


def draw_cutmix_box(parameters: AugmentationParameters, rng: np.random.Generator) -> np.ndarray:
    """Draw the box that CutMix pastes from another image: H×W bool, all False if none is drawn."""
    height, width = parameters.crop_size
    box = np.zeros((height, width), dtype=bool)
    if rng.random() < parameters.cutmix_probability:
        for _ in range(parameters.cutmix_boxes):
            area = rng.uniform(*parameters.cutmix_area) * height * width / parameters.cutmix_boxes
            ratio = rng.uniform(parameters.cutmix_ratio, 1 / parameters.cutmix_ratio)
            box_width = min(width, max(1, round((area * ratio) ** 0.5)))
            box_height = min(height, max(1, round((area / ratio) ** 0.5)))
            top = int(rng.integers(height - box_height + 1))
            left = int(rng.integers(width - box_width + 1))
            box[top : top + box_height, left : left + box_width] = True
    return box
