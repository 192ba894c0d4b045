"""From a file to an array: images as RGB, masks as class ids.

What cannot be read truly is refused with the file's name: a guess would go unseen for a whole training.
"""

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from igl_dt.data.datasets.base import DataError, MaskFormat

CLASS_IDS = MaskFormat()
"""Masks whose values are the class ids."""

IMAGE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")
CONVERTIBLE_MODES = ("CMYK", "HSV", "LAB", "YCbCr")
MASK_MODES = ("1", "L", "P")
NO_CLASS = -1


def read_image(path: Path, lenient: bool = False) -> np.ndarray:
    """Read an image as RGB.

    Grayscale becomes three equal channels, and of 16 bits the upper 8 are kept: 0 to 65535 become 0 to 255.
    Transparency is dropped, and what colours lie beneath it are seen.

    Args:
        path: of the file.
        lenient: take also what would be a guess in training. An image that is to be turned by whoever shows it is
            turned, whether a mask would fit it or not; other colours than RGB are converted without a profile.

    Returns:
        H×W×3 uint8.

    Raises:
        DataError: the file is missing, empty, truncated, no image, too large, several images, of 32 bits; or, where
            it is not read leniently, in other colours than RGB or to be turned by whoever shows it.
    """
    return decode_image(read_bytes(path), path, lenient)


def read_mask(path: Path, mask_format: MaskFormat = CLASS_IDS) -> np.ndarray:
    """Read a mask as class ids; a palette's indices are the ids.

    Returns:
        H×W uint8.

    Raises:
        DataError: as for images; or it is in colours instead of ids or the other way round, or has ids or colours
            that the format does not know.
    """
    return decode_mask(read_bytes(path), path, mask_format)


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        DataError: it is missing, empty, or may not be read.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(f"{path} is missing") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if not content:
        raise DataError(f"{path} is empty (0 bytes): copy it again, or remove it")
    return content


def decode_image(content: bytes, path: Path, lenient: bool = False) -> np.ndarray:
    """Do the same as ``read_image`` for a file's bytes; its path is for messages."""
    image = _decode(content, path, lenient)
    if image.mode.startswith("I;16"):  # Pillow would clip it
        gray = (np.array(image) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    if image.mode not in IMAGE_MODES + (CONVERTIBLE_MODES if lenient else ()):
        raise DataError(f"{path} has mode {image.mode}: save it as RGB or grayscale, with 8 or 16 bits")
    image = _rgb(image)  # lets go of what was decoded: its memory is used again
    return np.array(image)


def decode_mask(content: bytes, path: Path, mask_format: MaskFormat = CLASS_IDS) -> np.ndarray:
    """Do the same as ``read_mask`` for a file's bytes; its path is for messages."""
    mask = _decode(content, path)
    if mask_format.colors is not None:
        if mask.mode not in IMAGE_MODES:
            raise DataError(f"{path} has mode {mask.mode}: a mask in colours must be an RGB or palette image")
        red, green, blue = np.moveaxis(np.array(_rgb(mask), dtype=np.int32), 2, 0)
        return _look_up((red << 16) + (green << 8) + blue, mask_format, path)
    if mask.mode not in MASK_MODES and not (mask_format.ids is not None and mask.mode.startswith("I;16")):
        raise DataError(
            f"{path} has mode {mask.mode}: a mask must be a grayscale or palette image of class ids (mode L or P); "
            "for masks in colours see the source folder, dataset.options.colors"
        )
    ids = np.array(mask).astype(np.uint16 if mask.mode.startswith("I;16") else np.uint8)
    return ids if mask_format.ids is None else _look_up(ids, mask_format, path)


def _decode(content: bytes, path: Path, lenient: bool = False) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content)) as image:
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: a photograph and its preview
            turned = image.format == "TIFF" and _is_turned(image)  # Pillow turns a TIFF, and no other, as it loads it
            image.load()
            turned = turned or _is_turned(image)
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} is too large: {error} Cut it into tiles") from error
    except UnidentifiedImageError as error:  # which names no file, but a place in memory
        raise DataError(f"{path} cannot be read as an image: it is of no known format, or damaged") from error
    except Exception as error:  # Pillow's decoders raise what they like on broken files
        raise DataError(f"{path} cannot be read as an image: {error}") from error
    if frames > 1:
        raise DataError(f"{path} is an animation or has pages, {frames} in all: save the one that counts on its own")
    if turned and lenient:
        return ImageOps.exif_transpose(image)  # a TIFF is turned already, and does not say any more that it is to be
    if turned:
        raise DataError(
            f"{path} says in its EXIF data that it is to be turned when it is shown, and programs differ in whether "
            "they do so: turn its pixels, see that its mask fits them, and remove the tag Orientation"
        )
    return image


def _is_turned(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
    except Exception:  # no program turns an image by EXIF data that cannot be read
        return False


def _rgb(image: Image.Image) -> Image.Image:
    image.info.pop("transparency", None)  # Pillow warns of the transparency of a palette
    return image.convert("RGB")


def _look_up(codes: np.ndarray, mask_format: MaskFormat, path: Path) -> np.ndarray:
    mask = _table(mask_format)[codes]
    if not (mask == NO_CLASS).any():
        return mask.astype(np.uint8)
    wrong = np.unique(codes[mask == NO_CLASS]).tolist()
    if mask_format.colors is None:
        known = sorted(id_ for id_, _ in mask_format.ids or ())
        raise DataError(f"{path} has the ids {wrong[:5]}, which stand for no class: known are {known}")
    colors = [[code >> 16, code >> 8 & 255, code & 255] for code in wrong[:5]]
    raise DataError(
        f"{path} has {len(wrong)} colours that stand for no class, such as {colors}: name them in "
        "dataset.options.colors, or say with dataset.options.rest what they are; JPEG does not keep colours as they are"
    )


@lru_cache(maxsize=2)
def _table(mask_format: MaskFormat) -> np.ndarray:
    """Give the class of every id that 16 bits can hold, or of every colour."""
    rest = NO_CLASS if mask_format.rest is None else mask_format.rest
    table = np.full(2**16 if mask_format.colors is None else 2**24, rest, np.int16)
    for id_, class_id in mask_format.ids or ():
        table[id_] = class_id
    for (red, green, blue), class_id in mask_format.colors or ():
        table[(red << 16) + (green << 8) + blue] = class_id
    return table
