"""What all figures share: size, fonts, the networks' colours and the classes' colours.

Figures are 9 inches wide, so that 10 points are easy to read where a page shows them about 900 pixels wide.
"""

import colorsys
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.textpath import TextPath

from igl_dt.utils.parameters import IGNORE_INDEX

WIDTH = 9.0
"""Inches; all figures have it."""

DPI = 200

NEUTRAL = "#e1e1e1"
"""Ignored pixels and empty cells."""

FAINT = "#8a8a8a"
"""Lines and words that stay in the background."""

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


Line = Literal["-", "-.", "--"]


class Series(NamedTuple):
    """How a network is shown, in every figure."""

    title: str
    color: str
    marker: str
    line: Line


SERIES = {
    "swin_unet": Series("SwinUnet (teacher)", "#0072b2", "s", "-"),
    "res_unet": Series("ResUnet (teacher)", "#e69f00", "^", "-."),
    "student": Series("Student (IGL-DT)", "#d55e00", "o", "-"),
    "supervised": Series("Supervised only", "#222222", "D", "--"),
}
"""The networks in the order of every legend; colours of Okabe and Ito, told apart by marker and dashes too."""

# Each colour is as far as possible from those before it (OKLab), to the normal eye as well as under simulated
# deuteranopia and protanopia: the first N are a good choice for N classes. None is close to NEUTRAL.
_CLASS_COLORS = [
    *("#383838", "#0072b2", "#e69f00", "#007800", "#e187ff", "#fff02d", "#69a596", "#5a0087"),
    *("#b42d78", "#96e187", "#6978f0", "#f0695a", "#96c3d2", "#3c3cb4", "#1e5a3c", "#b45a5a"),
    *("#699600", "#7887b4", "#c3ffa5", "#ffc300", "#b4b487", "#782d69", "#780f00", "#f0c3ff"),
]


def series(network: str) -> Series:
    """How a network is shown.

    Raises:
        ValueError: The figures do not know the network.
    """
    if network not in SERIES:
        raise ValueError(f"no network called {network!r} in the figures; there are {', '.join(SERIES)}")
    return SERIES[network]


def class_palette(num_classes: int) -> np.ndarray:
    """The classes' colours, N×3 uint8 RGB; a class has the same colour whatever N is.

    Beyond 24 classes colours are still different, but no eye can name them all.
    """
    colors = [tuple(bytes.fromhex(color[1:])) for color in _CLASS_COLORS[:num_classes]]
    for index in range(len(colors), num_classes):
        # Hues in steps of the golden ratio never come close to an earlier one twice.
        hue, shade = (index * 0.6180339887) % 1, (0.95, 0.7, 0.45)[index % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.65, shade)
        colors.append((round(red * 255), round(green * 255), round(blue * 255)))
    return np.array(colors, dtype=np.uint8).reshape(num_classes, 3)


def class_handles(masks: Sequence[np.ndarray], class_names: Sequence[str]) -> list[Patch]:
    """A legend's entries for the classes that occur in masks, and for ignored pixels."""
    present = np.zeros(256, dtype=bool)
    for mask in masks:
        present[mask] = True
    palette = class_palette(len(class_names)) / 255
    entries = [(name, tuple(palette[index])) for index, name in enumerate(class_names) if present[index]]
    if present[IGNORE_INDEX]:
        entries.append(("ignored", to_rgb(NEUTRAL)))
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
