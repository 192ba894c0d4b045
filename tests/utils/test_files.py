"""A file is there whole or not at all."""

from pathlib import Path

import pytest

from igl_dt.utils.errors import is_ours
from igl_dt.utils.files import atomic_write


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "some/folder/file"
    for content in (b"first", b"second"):
        atomic_write(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_keeps_what_was_there_and_names_path_and_space(small_disk: Path) -> None:
    path = small_disk / "file"
    atomic_write(path, b"before")
    with pytest.raises(OSError, match=r"No space left on device: it needs 2\.0 MiB, and 1\.0 MiB are free: '.*/file'"):
        atomic_write(path, bytes(2**21))
    assert path.read_bytes() == b"before"
    assert list(small_disk.iterdir()) == [path]


def test_a_name_may_be_as_long_as_file_systems_allow(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127)
    atomic_write(path, b"content")
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_file_and_is_shown_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"'.*/file'$") as caught:
        atomic_write(tmp_path / "file/inside", b"")
    assert is_ours(caught.value)
