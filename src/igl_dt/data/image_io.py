"""From a file to an array: images as RGB, masks as class ids.

Files that cannot be read faithfully are refused by name: a guess would go unnoticed for a whole training.
"""

import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from igl_dt.data.datasets.base import DataError, MaskFormat
from igl_dt.data.parameters import DatasetParameters
from igl_dt.utils.parameters import Size

CLASS_IDS = MaskFormat()
"""Masks whose values are the class ids."""

IMAGE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")
CONVERTIBLE_MODES = ("CMYK", "HSV", "LAB", "YCbCr")
MASK_MODES = ("1", "L", "P")
NO_CLASS = -1

_decoding = threading.local()
"""Its ``path``: the file that the thread decodes."""


@contextmanager
def pillow_warnings(report: Callable[[Path, str], None]) -> Iterator[None]:
    """Report what Pillow warns of while files are decoded, in any thread, instead of printing it without their names.

    Args:
        report: called with the file and the warning, in one line; for each warning, so a text may come twice.
    """
    shown: Any = warnings.showwarning

    def show(message: Any, category: Any, filename: str, *others: Any) -> None:
        if (path := getattr(_decoding, "path", None)) is None:
            shown(message, category, filename, *others)
        else:
            report(path, " ".join(str(message).split()))

    with warnings.catch_warnings():
        warnings.filterwarnings("always", module=r"PIL\.")
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def reading_size(width: int, height: int, dataset: DatasetParameters) -> Size:
    """Return the (height, width) at which an image of this size on disk is read.

    With ``short_side`` or ``long_side`` the aspect ratio is kept, up to rounding to whole pixels.
    """
    if dataset.image_size is not None:
        return dataset.image_size
    if dataset.short_side is not None:
        scale = dataset.short_side / min(width, height)
    elif dataset.long_side is not None:
        scale = dataset.long_side / max(width, height)
    else:
        return height, width
    return max(1, round(height * scale)), max(1, round(width * scale))


def read_image(path: Path, lenient: bool = False) -> np.ndarray:
    """Read an image as RGB.

    Grayscale becomes three equal channels. Of 16 bits, the upper 8 are kept: 0 to 65535 become 0 to 255. The alpha
    channel is dropped.

    Args:
        path: the file.
        lenient: accept what would be a guess in training: images with an EXIF orientation are rotated accordingly,
            and colour spaces other than RGB are converted without a profile.

    Returns:
        H×W×3 uint8.

    Raises:
        DataError: the file is missing, empty, truncated, not an image, too large, animated, or has 32 bits; or, unless
            ``lenient``, it has a colour space other than RGB or an EXIF orientation.
    """
    return decode_image(read_bytes(path), path, lenient)


def read_mask(path: Path, mask_format: MaskFormat = CLASS_IDS) -> np.ndarray:
    """Read a mask as class ids; of palette images, the indices are the ids.

    Returns:
        H×W uint8.

    Raises:
        DataError: as for images; or the file has colours instead of ids or vice versa, has ids or colours that are
            not in the format, or was compressed with losses.
    """
    return decode_mask(read_bytes(path), path, mask_format)


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        DataError: it is missing, empty, or unreadable.
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
    """Like ``read_image``, from the bytes of a file; the path is for messages."""
    image = _decode(content, path, lenient)
    if image.mode.startswith("I;16"):  # Pillow would clip it
        gray = (np.array(image) >> 8).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    if image.mode not in IMAGE_MODES + (CONVERTIBLE_MODES if lenient else ()):
        raise DataError(f"{path} has mode {image.mode}: save it as RGB or grayscale, with 8 or 16 bits, in a PNG file")
    image = _rgb(image)  # frees what was decoded, so that its memory is reused
    return np.array(image)


def decode_mask(content: bytes, path: Path, mask_format: MaskFormat = CLASS_IDS) -> np.ndarray:
    """Like ``read_mask``, from the bytes of a file; the path is for messages."""
    mask = _decode(content, path)
    if (lossy := _lossy_format(mask, content)) is not None:
        raise DataError(
            f"{path} is {lossy}, whose lossy compression changes the ids or colours of pixels: export the mask again "
            "from its source as PNG; converting this file does not help"
        )
    if (largest := _largest_value(mask, content)) != 255:
        raise DataError(
            f"{path} is a PGM or PPM file whose largest value is {largest}, not 255: values would be scaled when it is "
            "read; export the mask again from its source as PNG"
        )
    if mask_format.colors is not None:
        if mask.mode not in IMAGE_MODES:
            raise DataError(f"{path} has mode {mask.mode}: a colour mask must be an RGB or palette image")
        red, green, blue = np.moveaxis(np.array(_rgb(mask), dtype=np.int32), 2, 0)
        return _look_up((red << 16) + (green << 8) + blue, mask_format, path)
    has_16_bits = mask.mode.startswith("I;16")
    if has_16_bits and mask_format.ids is None:
        raise DataError(f"{path} has 16 bits per pixel: that needs the source folder with dataset.options.ids")
    if not has_16_bits and mask.mode not in MASK_MODES:
        raise DataError(
            f"{path} has mode {mask.mode}: a mask must be a grayscale or palette image of class ids (mode L or P); "
            "colour masks need the source folder with dataset.options.colors"
        )
    ids = np.array(mask).astype(np.uint16 if has_16_bits else np.uint8)
    if mask.mode == "L" and (bits := _bits(mask, content)) < 8:
        ids = ids // (255 // (2**bits - 1))
    return ids if mask_format.ids is None else _look_up(ids, mask_format, path)


def _decode(content: bytes, path: Path, lenient: bool = False) -> Image.Image:
    _decoding.path = path
    try:
        with Image.open(io.BytesIO(content)) as image:
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: a photograph and its preview
            rotated = image.format == "TIFF" and _is_rotated(image)  # load() applies the orientation of TIFF files
            image.load()
            rotated = rotated or _is_rotated(image)
            # TIFF files are rotated already, and their tag is gone.
            upright = ImageOps.exif_transpose(image) if rotated and lenient else image
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} is too large: {error} Cut it into tiles") from error
    except UnidentifiedImageError as error:  # its message names a memory address, not the file
        raise DataError(f"{path} cannot be read as an image: its format is unknown, or it is damaged") from error
    except Exception as error:  # on broken files, Pillow's decoders raise exceptions of any kind
        raise DataError(f"{path} cannot be read as an image: {error}") from error
    finally:
        _decoding.path = None
    if frames > 1:
        raise DataError(f"{path} is animated or has several pages, {frames} in all: save one of them as a new file")
    if rotated and not lenient:
        raise DataError(
            f"{path} has an EXIF orientation, which some programs apply and others ignore: rotate the pixels, check "
            "that the mask matches them, and remove the tag Orientation"
        )
    return upright


def _is_rotated(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
    except Exception:  # unreadable EXIF data rotate nothing
        return False


def _lossy_format(image: Image.Image, content: bytes) -> str | None:
    """Name the lossy format that an image was saved in; None if it is lossless.

    JPEG 2000 counts as lossy: with its reversible transform too, an encoder may drop data to reach a size.
    """
    if image.format in ("JPEG", "MPO"):
        return "a JPEG file"
    if image.format == "JPEG2000":
        return "a JPEG 2000 file"
    if image.format == "TIFF" and image.info.get("compression") in ("jpeg", "tiff_jpeg"):
        return "a TIFF file with JPEG compression"
    if image.format == "WEBP":
        start = 12  # chunks follow the RIFF header: a type, a length, and content padded to an even length
        while start + 8 <= len(content):
            if content[start : start + 4] == b"VP8 ":
                return "a lossy WebP file"
            start += 8 + (int.from_bytes(content[start + 4 : start + 8], "little") + 1) // 2 * 2
    return None


def _bits(image: Image.Image, content: bytes) -> int:
    """Give the bits per pixel in the file of a grayscale image: Pillow scales 2 and 4 of them to 0 to 255."""
    if image.format == "PNG":
        return min(8, content[24])
    if image.format == "TIFF":
        tags: Any = image.getexif()
        return min(8, int(tags.get(ExifTags.Base.BitsPerSample, 8)))
    return 8


def _largest_value(image: Image.Image, content: bytes) -> int:
    """Give the value of white in the header of a PGM or PPM file; 255 for all others."""
    if image.format != "PPM" or content[:2] not in (b"P2", b"P3", b"P5", b"P6"):
        return 255
    words = re.sub(rb"#[^\r\n]*", b"", content[:4096]).split(maxsplit=4)
    return int(words[3]) if len(words) > 3 else 255


def _rgb(image: Image.Image) -> Image.Image:
    image.info.pop("transparency", None)  # Pillow warns about palettes with transparency
    return image.convert("RGB")


def _look_up(codes: np.ndarray, mask_format: MaskFormat, path: Path) -> np.ndarray:
    mask: np.ndarray = _table(mask_format)[codes]
    if not (mask == NO_CLASS).any():
        return mask.astype(np.uint8)
    wrong = np.unique(codes[mask == NO_CLASS]).tolist()
    if mask_format.colors is None:
        known = sorted(id_ for id_, _ in mask_format.ids or ())
        raise DataError(f"{path} has the ids {wrong[:5]}, which belong to no class: known are {known}")
    colors = [[code >> 16, code >> 8 & 255, code & 255] for code in wrong[:5]]
    raise DataError(
        f"{path} has {len(wrong)} colours that belong to no class, such as {colors}: add them to "
        "dataset.options.colors, or assign all others to a class by dataset.options.rest"
    )


@lru_cache(maxsize=2)
def _table(mask_format: MaskFormat) -> np.ndarray:
    """Return the class of every 16-bit id, or of every RGB colour."""
    rest = NO_CLASS if mask_format.rest is None else mask_format.rest
    table = np.full(2**16 if mask_format.colors is None else 2**24, rest, np.int16)
    for id_, class_id in mask_format.ids or ():
        table[id_] = class_id
    for (red, green, blue), class_id in mask_format.colors or ():
        table[(red << 16) + (green << 8) + blue] = class_id
    return table
