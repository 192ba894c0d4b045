"""How Sphinx makes the documentation: ``make docs``, without a network."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))  # this checkout, whatever is installed

project = "igl-dt"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "igl-dt"
html_show_sphinx = html_show_copyright = html_copy_source = False

# Links as code-hosting sites take them: paths relative to the page, and headings by their slug.
myst_heading_anchors = 3
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types of other libraries, whose documentation is not at hand offline

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True


def setup(app: Sphinx) -> None:
    """Leave out what Python itself says of named tuples' fields."""
    app.connect("autodoc-process-docstring", _drop_aliases)


def _drop_aliases(*event: object) -> None:
    lines = event[-1]
    assert isinstance(lines, list)
    lines[:] = [line for line in lines if not line.startswith("Alias for field number")]
