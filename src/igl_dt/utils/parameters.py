"""The base of all parameter objects: frozen, typed, and said plainly where they are wrong."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, ValidationError

IGNORE_INDEX = 255
"""Mask value of pixels that count neither in a loss nor in a score."""


Probability = Annotated[float, Field(ge=0, le=1)]


Weight = Annotated[float, Field(ge=0)]


def _parse_size(value: Any) -> Any:
    parts = value.lower().split("x") if isinstance(value, str) else []
    return tuple(map(int, parts)) if len(parts) == 2 and all(part.strip().isdecimal() for part in parts) else value


Size = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_parse_size)]
"""Height and width in pixels; also as text, such as 192x256, as lists do not fit into ``--params``."""


def _expand_home(path: str) -> str:
    return str(Path(path).expanduser()) if path.startswith("~") else path


UserPath = Annotated[str, AfterValidator(_expand_home)]
"""Path in which a leading ``~`` is the home folder."""


T = TypeVar("T", bound=tuple[float, float])


def _in_order(bounds: T) -> T:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound comes first, not {list(bounds)}")
    return bounds


Range = Annotated[T, AfterValidator(_in_order)]
"""Lower and upper bound."""


def flatten(parameters: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Give nested parameters by their dotted names."""
    for key, value in parameters.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class Parameters(BaseModel):
    """Base of all parameter objects: frozen, no unknown keys, no NaN or infinity, defaults checked too."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class Selection(BaseModel):
    """A choice by name, beside sections of parameters by name: the section of what is chosen is the one that counts."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    def section(self, name: str) -> dict[str, Any]:
        """Give the parameters under a name; none where there is no such section."""
        return dict((self.model_extra or {}).get(name) or {})


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """End a message about an unknown name with the nearest known one, or with all there are."""
    known = list(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else f"; there are {', '.join(known) or 'none'}"


def explain(error: ValidationError, kind: type[BaseModel]) -> Iterator[str]:
    """Say in one line each what is wrong with the values of a parameter object, and bring the nearest known key."""
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        where = f"{'.'.join(path)}: " if path else ""
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            known = _fields(kind, path[:-1])
            yield f"{where}unknown{did_you_mean(path[-1], known)}"
        elif problem["type"] == "missing":
            yield f"{where}missing"
        elif problem["type"] == "value_error":  # of several keys at once, which the message names
            yield f"{where}{message}"
        else:
            yield f"{where}{message}, not {problem['input']!r}"


def _fields(kind: Any, path: list[str]) -> list[str]:
    """Name the fields of the object at a path of nested objects, some of them in mappings."""
    for part in path:
        if get_origin(kind) is dict:
            kind = _nested(get_args(kind)[1])
        else:
            field = kind.model_fields.get(part)
            kind = _nested(field.annotation) if field else None
        if kind is None:
            return []
    return [] if get_origin(kind) is dict else list(kind.model_fields)


def _nested(annotation: Any) -> Any:
    """Give the parameter object or the mapping that an annotation is, or may be where it allows null; else None."""
    for kind in (annotation, *get_args(annotation)):
        if get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return kind
    return None
