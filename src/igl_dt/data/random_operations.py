"""Strong views of AugSeg (Zhao et al., CVPR 2023): a few operations, chosen at random, of random strength [family].

Strengths are drawn uniformly from AugSeg's ranges.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from PIL.ImageFilter import GaussianBlur

Operation = Callable[[Image.Image, np.random.Generator], Image.Image]


def random_operations(image: Image.Image, most: int, rng: np.random.Generator) -> Image.Image:
    """Apply 1 to ``most`` operations, drawn with replacement, to an RGB image."""
    for index in rng.integers(len(OPERATIONS), size=rng.integers(1, most + 1)):
        image = OPERATIONS[index](image, rng)
    return image


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    """Weaken a property of the image to 0.05 to 0.95 of what it is."""
    return lambda image, rng: kind(image).enhance(rng.uniform(0.05, 0.95))


def _blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.filter(GaussianBlur(rng.uniform(0.1, 2.0)))


def _posterize(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.posterize(image, int(rng.integers(4, 8)))


def _solarize(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.solarize(image, int(rng.integers(1, 256)))


def _shift_hue(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    shifted = (np.array(hue, np.int16) + rng.integers(-127, 128)).astype(np.uint8)  # wraps around at 256
    return Image.merge("HSV", (Image.fromarray(shifted), saturation, value)).convert("RGB")


OPERATIONS: tuple[Operation, ...] = (
    lambda image, _: image,
    lambda image, _: ImageOps.autocontrast(image),
    lambda image, _: ImageOps.equalize(image),
    _blur,
    _enhance(ImageEnhance.Contrast),
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Color),
    _enhance(ImageEnhance.Sharpness),
    _posterize,
    _solarize,
    _shift_hue,
)
