"""Which modules of this package import which: by reading the code, without running it."""

from collections.abc import Iterable
from functools import cache

import grimp

PACKAGE = "igl_dt"
NOT_DECISIVE = (f"{PACKAGE}.reporting.previews",)
"""Modules on which no result depends, though the modules that results depend on import them."""


@cache
def import_graph() -> grimp.ImportGraph:
    """Give the import graph of this package."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    for module in NOT_DECISIVE:
        graph.remove_module(module)
    return graph


def imported_modules(modules: Iterable[str]) -> set[str]:
    """Give those of some modules that are in this package, and all of the package that they import."""
    graph = import_graph()
    used = {module for module in modules if module in graph.modules}
    for module in list(used):
        used |= graph.find_upstream_modules(module)
    return used
