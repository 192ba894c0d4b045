"""Images are read as RGB and masks as class ids, truly or not at all."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from pydantic import ValidationError

from encoding import encode, png, tiff, turned
from igl_dt.data.datasets import DataError, MaskFormat
from igl_dt.data.image_io import read_image, read_mask, reading_size
from igl_dt.data.parameters import DatasetParameters

IDS = np.arange(12, dtype=np.uint8).reshape(3, 4) % 5
RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)


def palette(ids: np.ndarray) -> Image.Image:
    image = Image.fromarray(ids, mode="P")
    image.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200] + [0] * 759)
    return image


DEEP = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
EIGHT = np.array([[0, 0, 1, 128, 255]], np.uint8)
SOLID = np.full((3, 4, 3), (1, 2, 3), np.uint8)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(encode(IDS), np.repeat(IDS[..., None], 3, axis=2), id="gray"),
        pytest.param(encode(IDS > 2), np.repeat((IDS > 2)[..., None], 3, axis=2) * 255, id="black and white"),
        pytest.param(encode(Image.new("RGBA", (4, 3), (1, 2, 3, 4))), SOLID, id="transparent"),
        pytest.param(encode(Image.new("LA", (4, 3), (7, 4))), np.full((3, 4, 3), 7), id="gray and transparent"),
        pytest.param(
            encode(palette(np.zeros((3, 4), np.uint8)), transparency=bytes([0, 128, 3])),
            np.full((3, 4, 3), (200, 10, 10)),
            id="transparent palette",
        ),
        pytest.param(encode(DEEP), np.repeat(EIGHT[..., None], 3, axis=2), id="16 bits, PNG"),
        pytest.param(encode(DEEP, "TIFF"), np.repeat(EIGHT[..., None], 3, axis=2), id="16 bits, TIFF"),
        pytest.param(
            png(5, 1, 16, 2, b"\0" + np.repeat(DEEP[0], 3).astype(">u2").tobytes()),
            np.repeat(EIGHT[..., None], 3, axis=2),
            id="16 bits, colours",
        ),
        pytest.param(turned(COLORS, 1, "PNG"), COLORS, id="EXIF, upright"),
        pytest.param(
            encode(SOLID, "JPEG", exif=b"Exif\0\0no EXIF at all", quality=100, subsampling=0), None, id="EXIF, broken"
        ),
        pytest.param(
            encode(SOLID, "MPO", save_all=True, append_images=[Image.new("RGB", (2, 2))]), None, id="with a preview"
        ),
    ],
)
def test_every_kind_of_image_becomes_rgb(tmp_path: Path, content: bytes, expected: np.ndarray | None) -> None:
    (tmp_path / "image").write_bytes(content)
    image = read_image(tmp_path / "image")
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    if expected is None:  # of a JPEG, nearly
        assert image.shape == SOLID.shape
        assert np.abs(image.astype(int) - SOLID).max() <= 3
    else:
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(("bits", "row"), [(2, 0b00_01_10_11), (4, 0x01_2F)])
@pytest.mark.parametrize("write", [png, tiff])
def test_a_mask_with_few_bits_per_pixel_keeps_its_ids(tmp_path: Path, bits: int, row: int, write: Callable) -> None:
    """Pillow scales them to 0 to 255."""
    content = row.to_bytes(4 * bits // 8, "big")
    file = tmp_path / "mask"
    file.write_bytes(png(4, 1, bits, 0, b"\0" + content) if write is png else tiff(4, 1, bits, content))
    assert read_mask(file).tolist() == [[0, 1, 2, 2**bits - 1]]


@pytest.mark.parametrize(
    "header", [b"P5 2 1 3\n", b"P5\n# a remark\n2 1\n# 255\n3\n", b"P5\r#x\r2 1\r3\r", b"P5 2 1 300\n"]
)
def test_a_mask_whose_values_would_be_scaled_is_refused(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "mask.pgm").write_bytes(header + b"\0\1\0\2")
    with pytest.raises(DataError, match=r"mask\.pgm is a PGM or PPM file whose largest value is 3(00)?, not 255"):
        read_mask(tmp_path / "mask.pgm")
    (tmp_path / "mask.pgm").write_bytes(b"P5 2 1 255\n\0\1")
    assert read_mask(tmp_path / "mask.pgm").tolist() == [[0, 1]]


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_masks_are_grayscale_or_palettes(tmp_path: Path, mode: str) -> None:
    ids = IDS > 2 if mode == "1" else IDS
    (tmp_path / "mask.png").write_bytes(encode(palette(ids) if mode == "P" else ids))
    mask = read_mask(tmp_path / "mask.png")
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, ids)


FRAMES = [Image.fromarray(COLORS), Image.fromarray(255 - COLORS)]
WHOLE = "cannot be read as an image"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        pytest.param(b"", "is empty (0 bytes)", id="nothing"),
        pytest.param(b"no image", WHOLE, id="text"),
        pytest.param(encode(COLORS)[:8] + bytes(500), WHOLE, id="broken"),
        *(
            pytest.param(encode(COLORS, kind)[: len(encode(COLORS, kind)) * 2 // 3], WHOLE, id=f"truncated {kind}")
            for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM")
        ),
        pytest.param(png(20_000, 20_000, 8, 0, b"\0"), "is too large", id="bomb"),
        pytest.param(encode(Image.new("CMYK", (4, 3)), "JPEG"), "has mode CMYK: save it as RGB", id="CMYK"),
        pytest.param(encode(Image.new("LAB", (4, 3)), "TIFF"), "has mode LAB: save it as RGB", id="Lab"),
        pytest.param(encode(IDS.astype(np.int32), "TIFF"), "has mode I: save it as RGB or gray", id="32 bits"),
        pytest.param(encode(IDS.astype(np.float32), "TIFF"), "has mode F: save it as RGB or gray", id="float"),
        *(
            pytest.param(
                encode(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:]),
                "is animated or has several pages, 2",
                id=kind,
            )
            for kind in ("GIF", "PNG", "WEBP", "TIFF")
        ),
        *(
            pytest.param(
                turned(COLORS, orientation, kind),
                "has an EXIF orientation",
                id=f"{kind}, {orientation}",
            )
            for kind, orientation in (("JPEG", 6), ("JPEG", 2), ("PNG", 3), ("TIFF", 8), ("TIFF", 4), ("WEBP", 6))
        ),
    ],
)
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_what_cannot_be_read_is_named(
    tmp_path: Path, read: Callable[[Path], object], content: bytes, named: str
) -> None:
    path = tmp_path / "some image.png"
    path.write_bytes(content)
    if read is read_mask:
        named = named.partition(":")[0]  # masks have another fix
        named = "is a JPEG file" if "CMYK" in named else named
    with pytest.raises(DataError) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path} {named}")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_leniently_photographs_are_turned_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    path = tmp_path / "photograph"
    path.write_bytes(turned(COLORS, orientation, kind))
    stored = np.asarray(Image.open(io.BytesIO(encode(COLORS, kind))).convert("RGB"))
    how = {2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 6: lambda a: np.rot90(a, -1), 8: np.rot90}
    how |= {1: lambda a: a, 5: lambda a: np.swapaxes(a, 0, 1), 7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2)}
    np.testing.assert_array_equal(read_image(path, lenient=True), how[orientation](stored))


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("LAB", "TIFF"), ("YCbCr", "TIFF")])
def test_read_leniently_other_colours_are_converted(tmp_path: Path, mode: str, kind: str) -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = Image.new("RGB", (6, 5), (200, 90, 30))
    if mode == "LAB":
        image = ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    (tmp_path / "image").write_bytes(encode(image.convert(mode), kind))
    read = read_image(tmp_path / "image", lenient=True)
    assert read.shape == (5, 6, 3)
    assert np.abs(read.astype(int) - (200, 90, 30)).max() <= 6


@pytest.mark.parametrize(
    ("mode", "array"),
    [("RGB", COLORS), ("RGBA", np.zeros((3, 4, 4), np.uint8))],
)
def test_a_mask_of_another_mode_is_refused(tmp_path: Path, mode: str, array: np.ndarray) -> None:
    (tmp_path / "mask.png").write_bytes(encode(array))
    with pytest.raises(DataError, match=rf"mask\.png has mode {mode}: a mask must be .* \(mode L or P\); .*colors"):
        read_mask(tmp_path / "mask.png")


def test_a_mask_of_16_bits_needs_ids(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(encode(np.full((3, 4), 300, np.uint16)))
    with pytest.raises(DataError, match=r"mask\.png has 16 bits per pixel: .* dataset\.options\.ids"):
        read_mask(tmp_path / "mask.png")


class TestNotToBeRead:
    def test_missing(self, tmp_path: Path) -> None:
        for path in (tmp_path / "nowhere.png", tmp_path, tmp_path / "a" / "b.png"):
            with pytest.raises(DataError, match=f"{path} is missing"):
                read_image(path)

    def test_refused_by_the_system(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: Path) -> bytes:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(DataError, match=r"a\.png cannot be read: Permission denied"):
            read_image(tmp_path / "a.png")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_without_permission(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(encode(COLORS))
        (tmp_path / "a.png").chmod(0)
        with pytest.raises(DataError, match=r"a\.png cannot be read: Permission denied"):
            read_image(tmp_path / "a.png")


RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)
PAINTED = np.array([[BLACK, RED], [GREEN, RED]], np.uint8)
TABLE = ((BLACK, 0), (RED, 1), (GREEN, 255))


class TestFormats:
    @staticmethod
    def read(folder: Path, content: Image.Image | np.ndarray, **mask_format: object) -> list:
        (folder / "mask.png").write_bytes(encode(content))
        mask = read_mask(folder / "mask.png", MaskFormat(**mask_format))
        assert mask.dtype == np.uint8
        return mask.tolist()

    @pytest.mark.parametrize(
        ("content", "mask_format", "expected"),
        [
            (np.uint8([[0, 255]]), {"ids": ((0, 0), (255, 1))}, [[0, 1]]),
            (np.uint8([[7, 8, 9]]), {"ids": ((7, 0), (8, 0)), "rest": 255}, [[0, 0, 255]]),
            (np.uint16([[1000, 65535]]), {"ids": ((1000, 3), (65535, 255))}, [[3, 255]]),
            (palette(np.uint8([[2, 1]])), {"ids": ((1, 0), (2, 1))}, [[1, 0]]),
            (PAINTED, {"colors": TABLE}, [[0, 1], [255, 1]]),
            (PAINTED, {"colors": TABLE[:2], "rest": 4}, [[0, 1], [4, 1]]),
            (np.dstack([PAINTED, np.uint8([[0, 9], [9, 0]])]), {"colors": TABLE}, [[0, 1], [255, 1]]),
            (palette(np.uint8([[0, 1]])), {"colors": (((200, 10, 10), 2), ((10, 200, 10), 0))}, [[2, 0]]),
            (np.uint8([[0, 255]]), {"colors": ((BLACK, 0), ((255, 255, 255), 1))}, [[0, 1]]),
        ],
    )
    def test_are_converted(self, tmp_path: Path, content, mask_format: dict, expected: list) -> None:
        assert self.read(tmp_path, content, **mask_format) == expected

    def test_ids_that_are_not_named_are_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"mask\.png has the ids \[3, 4\], .* known are \[0, 1, 2\]"):
            self.read(tmp_path, IDS, ids=((2, 0), (0, 1), (1, 2)))

    def test_colours_that_are_not_named_are_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"has 1 colours .* \[\[0, 255, 0\]\]: .*dataset\.options\.colors.*rest"):
            self.read(tmp_path, PAINTED, colors=TABLE[:2])

    LOSSY = (
        ("JPEG", {"quality": 100}, "a JPEG file"),
        ("WEBP", {"quality": 100}, "a lossy WebP file"),
        ("JPEG2000", {}, "a JPEG 2000 file"),
        ("WEBP", {"quality": 100, "exif": b"Exif\0\0"}, "a lossy WebP file"),
        ("TIFF", {"compression": "jpeg"}, "a TIFF file with JPEG compression"),
    )

    @pytest.mark.parametrize(("kind", "options", "named"), LOSSY)
    @pytest.mark.parametrize("colors", [None, TABLE])
    def test_lossy_masks_are_refused(self, tmp_path: Path, kind: str, options: dict, named: str, colors) -> None:
        """Even if all values happen to be valid, as they are where all pixels are equal."""
        mask = np.zeros((16, 16, 3) if colors or kind == "WEBP" else (16, 16), np.uint8)
        (tmp_path / "mask.png").write_bytes(encode(mask, kind, **options))
        with pytest.raises(DataError, match=rf"mask\.png is {named}, whose lossy compression .* as PNG"):
            read_mask(tmp_path / "mask.png", MaskFormat(colors=colors))

    @pytest.mark.parametrize(
        ("kind", "options"),
        [("WEBP", {"lossless": True}), ("WEBP", {"lossless": True, "exif": b"Exif\0\0"}), ("TIFF", {}), ("BMP", {})],
    )
    def test_lossless_masks_are_read(self, tmp_path: Path, kind: str, options: dict) -> None:
        (tmp_path / "mask").write_bytes(encode(PAINTED, kind, **options))
        np.testing.assert_array_equal(read_mask(tmp_path / "mask", MaskFormat(colors=TABLE)), [[0, 1], [255, 1]])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (227, 320)),
        ({"image_size": (192, 256)}, (192, 256)),
        ({"image_size": "192x256"}, (192, 256)),
        ({"short_side": 113}, (113, 159)),
        ({"long_side": 160}, (114, 160)),
        ({"long_side": 640}, (454, 640)),
    ],
)
def test_the_reading_size(given: dict[str, object], expected: tuple[int, int]) -> None:
    dataset = DatasetParameters(root="x", **given)
    assert reading_size(320, 227, dataset) == expected
    if "image_size" not in given:
        assert reading_size(227, 320, dataset) == expected[::-1]
    assert reading_size(1, 1000, DatasetParameters(root="x", long_side=10)) == (10, 1)


@pytest.mark.parametrize(
    "given",
    [{"image_size": (2, 3), "short_side": 3}, {"short_side": 3, "long_side": 3}, {"image_size": "2x3", "long_side": 3}],
)
def test_one_reading_size_at_most(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"dataset\.\w+ and dataset\.\w+ exclude each other"):
        DatasetParameters(root="x", **given)


@pytest.mark.parametrize("size", ["192", "192x", "192x256x3", "ax3", "0x5", "-2x3", "1.5x2"])
def test_a_size_as_text_must_be_two_numbers(size: str) -> None:
    with pytest.raises(ValidationError, match="image_size"):
        DatasetParameters(root="x", image_size=size)
