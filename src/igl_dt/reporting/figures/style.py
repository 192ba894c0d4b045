"""What all figures share: size, fonts, legends of classes.

Figures are 9 inches wide, so that 10 points are easy to read where a page shows them about 900 pixels wide.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.textpath import TextPath

from igl_dt.utils.palette import IGNORED, class_palette
from igl_dt.utils.parameters import IGNORE_INDEX

WIDTH = 9.0
"""Inches; all figures have it."""

DPI = 200

FAINT = "#8a8a8a"
"""Lines and text in the background."""

_SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "hatch.linewidth": 0.8,
}


def class_handles(masks: Sequence[np.ndarray], class_names: Sequence[str]) -> list[Patch]:
    """Make a legend's entries for the classes that occur in masks (H×W uint8 ids), and for ignored pixels (255)."""
    present = np.zeros(256, dtype=bool)
    for mask in masks:
        present[mask] = True
    palette = class_palette(len(class_names)) / 255
    entries = [(name, tuple(palette[index])) for index, name in enumerate(class_names) if present[index]]
    if present[IGNORE_INDEX]:
        entries.append(("ignored", to_rgb(IGNORED)))
    return [Patch(facecolor=color, edgecolor="#222222", linewidth=0.5, label=name) for name, color in entries]


def legend_rows(handles: Sequence[Patch]) -> int:
    """How many rows a legend across the whole figure needs, if all entries are as wide as the widest."""
    if not handles:
        return 0
    widest = max(TextPath((0, 0), str(handle.get_label()), size=10).get_extents().width for handle in handles)
    return math.ceil(len(handles) / max(1, int((WIDTH - 0.12) * 72 / (widest + 42))))


@contextmanager
def new_figure(height: float, layout: Literal["constrained", "compressed"] | None = "constrained") -> Iterator[Figure]:
    """A figure to draw on, with the shared settings; its layout is final at the end of the block.

    Args:
        height: Inches.
        layout: How matplotlib finds the places of the axes; None: the caller places them.
    """
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout)
        yield figure
        # Ticks are made, and the layout is computed, when a figure is first drawn: while the settings hold, and once.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def signed(points: float) -> str:
    """Write percentage points with their sign: +1.0, −1.0, +0.0."""
    return f"{round(points, 1) + 0:+.1f}".replace("-", "−")  # + 0: there is no minus zero
