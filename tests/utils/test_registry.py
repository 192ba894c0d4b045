"""Members of a package are found by looking."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from igl_dt.utils.registry import find_classes

BASE = """
import abc


class Base(abc.ABC):
    @abc.abstractmethod
    def work(self): ...
"""
MEMBER = """
from members_base import Base


class {kind}(Base):
    name = "{name}"

    def work(self): ...


class Abstract(Base):
    name = "abstract"
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    folder = tmp_path / "members"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (tmp_path / "members_base.py").write_text(BASE)
    (folder / "b.py").write_text(MEMBER.format(kind="First", name="first"))
    (folder / "a.py").write_text("from members.b import First\n" + MEMBER.format(kind="Second", name="second"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("members")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("members", "members_base")]:
        del sys.modules[name]


def base() -> type:
    return importlib.import_module("members_base").Base


def test_concrete_subclasses_are_found_once_and_sorted(package: ModuleType) -> None:
    found = find_classes(package, base())
    assert list(found) == ["first", "second"]
    assert found["first"].__module__ == "members.b"


def test_two_of_one_name_are_refused(package: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "members/c.py").write_text(MEMBER.format(kind="Third", name="first"))
    importlib.invalidate_caches()
    with pytest.raises(TypeError, match=r"members\.c and members\.b both define the name 'first'"):
        find_classes(package, base())
