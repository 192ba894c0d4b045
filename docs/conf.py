"""Sphinx configuration for ``make docs``; needs no network."""

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))  # this checkout, whatever is installed

project = "igl-dt"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "igl-dt"
html_show_sphinx = html_show_copyright = html_copy_source = False

# Links as on code hosting sites: paths relative to the page, headings by their slug.
myst_heading_anchors = 3
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types of other libraries, whose documentation is not available offline

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True

NOT_MEMBERS = {"base", "common", "parameters", "registry"}
"""Modules of a package that are not among its methods, losses, architectures or data sets."""


def setup(app: Sphinx) -> None:
    """Connect the two functions below."""
    app.connect("source-read", _list_modules)
    app.connect("autodoc-process-docstring", _clean)


def _list_modules(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace each line ``.. automodules:: PACKAGE`` by all of the package's modules, so that no page lists them."""
    source[0] = re.sub(
        r"^\.\. automodules:: (\S+)$", lambda line: "\n".join(_directives(line[1])), source[0], flags=re.M
    )


def _directives(package: str) -> Iterator[str]:
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if module.name not in NOT_MEMBERS:
            yield f".. automodule:: {package}.{module.name}\n   :members:\n   :exclude-members: model_config"


def _clean(*event: object) -> None:
    """Remove Python's own docstrings of named tuples' fields, and take |x| in equations as it is."""
    lines = event[-1]
    assert isinstance(lines, list)
    kept = [line for line in lines if not line.startswith("Alias for field number")]
    lines[:] = [line if "`" in line else line.replace("|", "\\|") for line in kept]
