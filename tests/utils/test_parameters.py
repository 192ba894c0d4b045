"""All parameter objects refuse what they do not know, and problems are said with the nearest known name."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Annotated

import pytest
from pydantic import Field, ValidationError

import igl_dt
from igl_dt.utils.parameters import Parameters, Range, Selection, did_you_mean, explain
from problems import problem


def kinds(base: type[Parameters] = Parameters) -> Iterator[type[Parameters]]:
    for kind in base.__subclasses__():
        if kind.__module__.startswith("igl_dt."):
            yield kind
        yield from kinds(kind)


@pytest.fixture(scope="module")
def all_kinds() -> list[type[Parameters]]:
    for module in pkgutil.walk_packages(igl_dt.__path__, "igl_dt."):
        if module.name.endswith(".parameters") or ".methods." in module.name or ".architectures." in module.name:
            importlib.import_module(module.name)
    return list(kinds())


def test_every_group_refuses_unknown_keys_changes_and_what_is_no_number(all_kinds: list[type[Parameters]]) -> None:
    assert len(all_kinds) > 20
    for kind in all_kinds:
        assert kind.model_config["extra"] == "forbid" and kind.model_config["frozen"], kind
        assert kind.model_config["allow_inf_nan"] is False and kind.model_config["validate_default"], kind


class Inner(Parameters):
    width: Annotated[float, Field(gt=0)] = 1.0


class Outer(Parameters):
    inner: Inner = Inner()
    optional: Inner | None = None
    by_name: dict[str, Inner] = Field(default_factory=dict)
    bounds: Range[tuple[float, float]] = (0.0, 1.0)
    count: int


def test_unknown_keys_and_changes_are_refused() -> None:
    where, message = problem(Outer, count=1, cuont=1)
    assert where == "cuont"
    assert "not permitted" in message
    with pytest.raises(ValidationError, match="frozen"):
        Outer(count=1).count = 3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), ".nan", "inf"])
def test_nan_and_infinity_are_refused(value: object) -> None:
    assert problem(Inner, width=value)[0] == "width"


def test_ranges_begin_with_the_lower_bound() -> None:
    where, message = problem(Outer, count=1, bounds=(0.9, 0.5))
    assert where == "bounds"
    assert "lower bound comes first, not [0.9, 0.5]" in message
    assert Outer(count=1, bounds=(0.5, 0.5)).bounds == (0.5, 0.5)


def test_the_section_of_a_selection_is_the_one_of_that_name() -> None:
    choice = Selection.model_validate({"one": {"a": 1}, "other": None})
    assert choice.section("one") == {"a": 1}
    assert choice.section("other") == choice.section("absent") == {}


def test_the_nearest_name_is_brought_or_all_names() -> None:
    assert did_you_mean("swin_une", ("res_unet", "swin_unet")) == "; did you mean 'swin_unet'?"
    assert did_you_mean("xyz", ("res_unet", "swin_unet")) == "; there are res_unet, swin_unet"
    assert did_you_mean("xyz", ()) == "; there are none"


def test_all_problems_are_explained_at_once_where_they_are() -> None:
    wrong = {"inner": {"width": 0}, "optional": {"widht": 1}, "by_name": {"a": {"wdth": 1}}, "bounds": (2, 1)}
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate(wrong)
    lines = dict(line.split(": ", 1) for line in explain(raised.value, Outer))
    assert lines.pop("inner.width").endswith("greater than 0, not 0")
    assert lines == {
        "count": "missing",
        "optional.widht": "unknown; did you mean 'width'?",
        "by_name.a.wdth": "unknown; did you mean 'width'?",
        "bounds": "the lower bound comes first, not [2.0, 1.0]",
    }
