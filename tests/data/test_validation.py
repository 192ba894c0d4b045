"""What was checked once is not read again, and nobody can tell from the results."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from encoding import truncated_exif
from igl_dt.data import validation as checks
from igl_dt.data.datasets import DataError
from igl_dt.data.datasets.base import SHOWN
from igl_dt.data.image_io import read_image
from igl_dt.data.manifest import Manifest, read_manifest
from igl_dt.data.parameters import DatasetParameters


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "not there yet" / "checked_files.json"


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read."""
    names: list[str] = []

    def read_bytes(path: Path) -> bytes:
        names.append(path.name)
        return path.read_bytes()

    monkeypatch.setattr(checks, "read_bytes", read_bytes)
    return names


def read(folder: Path, memory: Path | None = None) -> Manifest:
    return read_manifest(DatasetParameters(source="camvid", root=str(folder)), memory)


def assert_same(one: Manifest, other: Manifest) -> None:
    """The tables are the same to the byte, as they are written."""
    assert one.class_names == other.class_names
    for table, again in ((one.samples, other.samples), (one.class_pixels, other.class_pixels)):
        pd.testing.assert_frame_equal(table, again)
        assert table.to_csv() == again.to_csv()


def test_no_file_is_read_twice(folder: Path, memory: Path, read_files: list[str]) -> None:
    (folder / "train/masks/train3.png").unlink()
    plain = read(folder)
    assert len(read_files) == 23
    read_files.clear()
    first = read(folder, memory)
    assert len(read_files) == 23
    again = read(folder, memory)
    assert len(read_files) == 23
    assert_same(plain, first)
    assert_same(plain, again)


@pytest.mark.parametrize("how", ["written", "written at the same time", "renamed", "linked", "size"])
def test_a_changed_file_is_read_again(folder: Path, memory: Path, read_files: list[str], how: str) -> None:
    mask = folder / "train/masks/train3.png"
    read(folder, memory)
    read_files.clear()
    before = mask.stat()
    content = bytearray(mask.read_bytes())
    match how:
        case "written" | "written at the same time":
            Image.fromarray(np.full((24, 32), 2, np.uint8)).save(mask)
            content = mask.read_bytes().ljust(before.st_size, b"\0")  # after a PNG's end, anything may follow
            mask.write_bytes(content)
            if how != "written":
                os.utime(mask, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "renamed" | "linked":
            Image.fromarray(np.full((24, 32), 2, np.uint8)).save(folder / "new.png")
            (folder / "new.png").write_bytes((folder / "new.png").read_bytes().ljust(before.st_size, b"\0"))
            os.utime(folder / "new.png", ns=(before.st_atime_ns, before.st_mtime_ns))
            if how == "renamed":
                (folder / "new.png").replace(mask)
            else:
                mask.unlink()
                mask.symlink_to(folder / "new.png")
        case "size":
            mask.write_bytes(bytes(content) + b"\0")
    assert (mask.stat().st_size == before.st_size) is (how != "size")
    manifest = read(folder, memory)
    assert read_files == ["train3.png", "train3.png"]  # the image and its mask
    assert_same(manifest, read(folder))
    if how != "size":
        assert manifest.class_pixels.loc["train3"].tolist() == [0, 0, 32 * 24]


def test_new_images_are_read_and_gone_ones_forgotten(folder: Path, memory: Path, read_files: list[str]) -> None:
    read(folder, memory)
    read_files.clear()
    for kind in ("images", "masks"):
        (folder / f"train/{kind}/train3.png").rename(folder / f"train/{kind}/train9.png")
    assert_same(read(folder, memory), read(folder))
    assert read_files[:2] == ["train9.png", "train9.png"]
    kept = json.loads(memory.read_bytes().partition(b"\n")[2])
    assert len(kept) == 12
    assert not any("train3.png" in stamp for stamp in kept)


@pytest.mark.parametrize("how", ["truncated", "a bit", "emptied", "half a line", "a folder"])
def test_a_damaged_memory_is_no_memory(folder: Path, memory: Path, read_files: list[str], caplog, how: str) -> None:
    plain = read(folder, memory)
    content = memory.read_bytes()
    match how:
        case "truncated":
            memory.write_bytes(content[:-100])
        case "a bit":
            memory.write_bytes(content[:-50] + bytes([content[-50] ^ 1]) + content[-49:])
        case "emptied":
            memory.write_bytes(b"")
        case "half a line":
            memory.write_bytes(content[:50])
        case "a folder":
            memory.unlink()
            memory.mkdir()
    read_files.clear()
    assert_same(read(folder, memory), plain)
    assert len(read_files) == 24
    said = "cannot be read, so all files are" if how == "a folder" else "is damaged: all files are read again"
    assert f"{memory} {said}" in caplog.text
    if how != "a folder":
        assert memory.read_bytes() == content  # repaired


@pytest.mark.parametrize("what", ["code", "classes", "folder"])
def test_what_other_checks_found_does_not_count(
    folder: Path, memory: Path, read_files: list[str], monkeypatch: pytest.MonkeyPatch, caplog, what: str
) -> None:
    read(folder, memory)
    read_files.clear()
    match what:
        case "code":
            monkeypatch.setattr("PIL.__version__", "0.0.1")
        case "classes":
            (folder / "classes.txt").write_text("road\ntree\npole\nsign")
        case "folder":
            folder = folder.rename(folder.parent / "elsewhere")
    with caplog.at_level(logging.INFO, "igl_dt"):
        assert_same(read(folder, memory), read(folder))
    assert len(read_files) == 48
    assert (
        f"{memory} was written by other code, or for other masks or another folder: all files are read again"
        in caplog.messages
    )


def test_bad_files_are_named_again_and_good_ones_not_read_again(
    folder: Path, memory: Path, read_files: list[str]
) -> None:
    (folder / "val/images/val0.png").write_text("no image")
    said = []
    for _ in range(2):
        with pytest.raises(DataError, match="1 of 12 images") as raised:
            read(folder, memory)
        said.append(str(raised.value))
    assert said[0] == said[1]
    assert len(read_files) == 24 + 2
    Image.new("RGB", (32, 24)).save(folder / "val/images/val0.png")
    assert_same(read(folder, memory), read(folder))


def test_a_folder_moved_out_of_the_root_is_refused_all_the_same(folder: Path, memory: Path) -> None:
    read(folder, memory)
    (folder / "val/masks").rename(folder.parent / "outside")
    (folder / "val/masks").symlink_to(folder.parent / "outside")
    with pytest.raises(DataError, match=r"leads out of dataset\.root"):
        read(folder, memory)


def test_a_memory_that_cannot_be_written_is_said(folder: Path, tmp_path: Path, caplog) -> None:
    (tmp_path / "file").touch()
    assert_same(read(folder, tmp_path / "file/checked_files.json"), read(folder))
    assert "the next run reads all files again" in caplog.text


def test_progress_is_said(folder: Path, caplog) -> None:
    with caplog.at_level(logging.INFO, "igl_dt"):
        read(folder)
    assert [line for line in caplog.messages if line.startswith("checking images  image 12/12")]


def test_each_kind_of_problem_is_shown(folder: Path) -> None:
    """However many images have the first kind of problem, the others are seen too."""
    for index in range(SHOWN + 2):
        Image.fromarray(np.full((24, 32), 3 + index, np.uint8)).save(folder / f"train/masks/train{index}.png")
    (folder / "train/images/train0.png").write_bytes(b"")
    (folder / "val/images/val0.png").write_text("no image")
    (folder / "val/masks/val0.png").write_bytes(b"")
    with pytest.raises(DataError, match="8 of 12 images") as raised:
        read(folder)
    lines = str(raised.value).splitlines()[1:]
    assert [" has the ids " in line for line in lines].count(True) == SHOWN
    assert f"… and {2} more" in lines
    assert [line.partition(" is empty")[0].rpartition("/")[2] for line in lines if " is empty" in line] == [
        "train0.png",
        "val0.png",
    ]
    assert any("val/images/val0.png cannot be read as an image" in line for line in lines)


def test_many_links_out_of_the_root_are_one_kind_of_problem(folder: Path) -> None:
    (folder / "train/masks").rename(folder.parent / "outside")
    (folder / "train/masks").symlink_to(folder.parent / "outside")
    with pytest.raises(DataError, match="8 of 12 images") as raised:
        read(folder)
    assert str(raised.value).count("leads out of dataset.root") == SHOWN
    assert str(raised.value).endswith("… and 3 more")


def test_what_pillow_warns_of_is_a_line_per_kind_of_warning(
    folder: Path, memory: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    odd = [folder / f"train/images/train{number}.png" for number in (1, 2)]
    for path in odd:
        path.write_bytes(truncated_exif(np.asarray(Image.open(path)), "PNG"))
    with pytest.warns(UserWarning, match="EXIF"):
        read_image(odd[0])
    recwarn.clear()
    read(folder, memory)
    lines = [record.getMessage() for record in caplog.records if "Pillow" in record.getMessage()]
    exif = [line for line in lines if "EXIF" in line]
    assert len(exif) == 1
    assert exif[0].startswith("Pillow warns of files that are used all the same (2): ")
    assert all(f"{path}: " in exif[0] for path in odd)
    assert not any("\n" in line for line in lines)
    assert not recwarn.list
