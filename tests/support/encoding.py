"""Images as files, also of kinds that nobody should have."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def encode(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    """Write what Pillow does not: PNG of 16-bit colours, or of a size that was never drawn."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(width: int, height: int, depth: int, rows: bytes) -> bytes:
    """Write a grayscale TIFF of any number of bits per pixel."""
    tags = {256: width, 257: height, 258: depth, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(rows)}
    rows += b"\0" * (len(rows) % 2)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = struct.pack("<I", 8 + len(rows))
    return b"II*\0" + start + rows + struct.pack("<H", len(tags)) + entries + b"\0" * 4


def turned(image: np.ndarray, orientation: int, kind: str) -> bytes:
    """Write an image that is to be turned by whoever shows it."""
    exif = Image.Exif()
    exif[274] = orientation
    return encode(image, kind, exif=exif)


def turned_with_broken_exif(image: np.ndarray, kind: str) -> bytes:
    """Write an image that is to be turned, with a resolution in letters, which Pillow reads but does not write."""
    entries = struct.pack("<HHII", 274, 3, 1, 6) + struct.pack("<HHI4s", 282, 2, 3, b"72\0\0")
    return encode(image, kind, exif=b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + b"\0" * 4)


def truncated_exif(image: np.ndarray, kind: str) -> bytes:
    """Write an image that Pillow reads, with a warning."""
    exif = Image.Exif()
    exif[270] = "a description that ends too early"
    return encode(image, kind, exif=exif.tobytes()[:30])
