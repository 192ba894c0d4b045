"""What there is of a kind: classes that the modules of a package define, found by looking, not by a list."""

import importlib
import inspect
import pkgutil
from functools import cache
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def find_classes(package: ModuleType, base: type[T]) -> dict[str, type[T]]:
    """Give the concrete subclasses of ``base`` that a package's modules define, by their ``name``, sorted.

    A new file in the package is all that a new member needs.

    Raises:
        TypeError: two of them have one name.
    """
    return dict(_find(package, base))  # type: ignore[arg-type]


@cache
def _find(package: ModuleType, base: type[T]) -> dict[str, type[T]]:
    found: dict[str, type[T]] = {}
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        for kind in vars(module).values():
            is_member = isinstance(kind, type) and issubclass(kind, base) and kind.__module__ == module.__name__
            if is_member and not inspect.isabstract(kind) and kind is not base:
                name = kind.name
                if name in found:
                    raise TypeError(f"{kind.__module__} and {found[name].__module__} both define the name {name!r}")
                found[name] = kind
    return dict(sorted(found.items()))
