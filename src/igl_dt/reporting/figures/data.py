"""A data set at a glance: how much there is of what, and whether masks lie on their images."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from igl_dt.reporting.figures.style import DPI, WIDTH, class_handles, legend_rows, new_figure
from igl_dt.utils.palette import id_colors
from igl_dt.utils.parameters import IGNORE_INDEX

PANELS = 6
"""Panels in a row of samples: an image with a mask takes two, one without takes one."""

_USES = {"labeled": "Labelled", "unlabeled": "Unlabelled", "val": "Validation", "test": "Test"}
_LABELED, _OTHERS, _WARNING = "#0072b2", "#b8b8b8", "#b04500"
_TINT = 0.65
"""Share of the class's colour in an overlay. The rest is the image in grey, so that colours stay those of the
legend."""

# Inches.
_CHARTS = 2.4
_CLASS = 0.27
_MARGIN = 0.06
_GAP = 0.05
_TITLE = 0.3
_CAPTION = 0.2
_LEGEND_ROW = 0.21
_TALLEST = 1.3  # a panel's height over its width, at most


class Sample(NamedTuple):
    """An image to be shown."""

    id: str
    image: np.ndarray
    """H×W×3 uint8 RGB."""
    mask: np.ndarray | None
    """H×W uint8 class ids, 255 = ignore; None: the image is used without a mask."""


def spread(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Take so many rows, or all where there are fewer, evenly from the whole list."""
    count = min(count, len(rows))
    return rows.iloc[[(2 * index + 1) * len(rows) // (2 * count) for index in range(count)]]


def plot_data(
    manifest: pd.DataFrame,
    class_pixels: pd.DataFrame,
    splits: Mapping[str, pd.DataFrame],
    samples: Mapping[str, Sequence[Sample]],
) -> Figure:
    """Images per use, their sizes, the classes' shares of the pixels, and samples beside their masks laid over them.

    Args:
        manifest: All images: ``id``, ``split``, ``width`` and ``height`` in pixels.
        class_pixels: Pixels of each class (columns, in the order of their ids) in each image with a mask (index: id).
        splits: Rows of the manifest by use: ``labeled``, ``unlabeled``, ``val`` and ``test``.
        samples: Images by use: a row each, with room for ``PANELS`` panels.

    Raises:
        ValueError: There are more samples than a row has room for, a mask is of another size than its image, or a
            class id has no name.
    """
    names = [str(name) for name in class_pixels.columns]
    _check(samples, len(names))
    rows = {use: samples[use] for use in _USES if samples.get(use)}
    width = (WIDTH - 2 * _MARGIN - _GAP * (PANELS - 1)) / PANELS
    heights = {
        use: width * min(_TALLEST, max(sample.image.shape[0] / sample.image.shape[1] for sample in row))
        for use, row in rows.items()
    }
    handles = class_handles([sample.mask for row in rows.values() for sample in row if sample.mask is not None], names)
    lines = legend_rows(handles)
    charts, classes = _CHARTS, _CLASS * len(names) + 0.9
    below = sum(heights.values()) + (_TITLE + _CAPTION) * len(rows) + _LEGEND_ROW * lines + 0.1

    with new_figure(charts + classes + below) as figure:
        top, middle, bottom = figure.subfigures(3, 1, height_ratios=[charts, classes, below], squeeze=False).ravel()
        left, right = top.subplots(1, 2)
        _draw_counts(left, manifest, splits)
        _draw_sizes(right, manifest)
        _draw_classes(middle.add_subplot(), class_pixels, manifest, splits["labeled"])
        y = below
        for use, row in rows.items():
            y -= _TITLE
            title = _USES[use] if any(sample.mask is not None for sample in row) else f"{_USES[use]}: without masks"
            bottom.text(_MARGIN / WIDTH, (y + 0.06) / below, title, fontweight="bold")
            y -= heights[use]
            _draw_samples(bottom, row, len(names), (width, heights[use]), (y, below))
            y -= _CAPTION
        if handles:
            bottom.legend(
                handles=handles, loc="lower center", ncols=math.ceil(len(handles) / lines), borderaxespad=0.2,
                handlelength=1.6, columnspacing=1.5,
            )  # fmt: skip
    return figure


def _check(samples: Mapping[str, Sequence[Sample]], num_classes: int) -> None:
    for use, row in samples.items():
        if (panels := sum(1 + (sample.mask is not None) for sample in row)) > PANELS:
            raise ValueError(f"{use}: a row has room for {PANELS} panels, not for {panels}")
        for id_, image, mask in row:
            if mask is None:
                continue
            if mask.shape != image.shape[:2]:
                raise ValueError(
                    f"{use}, {id_}: the mask is {mask.shape} (height, width) and the image {image.shape[:2]}"
                )
            ids = mask[mask != IGNORE_INDEX]
            if (ids >= num_classes).any():
                raise ValueError(
                    f"{use}, {id_}: class id {ids.max()}, but {num_classes} class names have ids 0 to {num_classes - 1}"
                )


def _draw_counts(axes: Axes, manifest: pd.DataFrame, splits: Mapping[str, pd.DataFrame]) -> None:
    counts = {title: len(splits[use]) for use, title in _USES.items()}
    if unused := int((manifest["split"] == "train").sum()) - counts["Labelled"] - counts["Unlabelled"]:
        counts["In no list"] = unused
    colors = [_LABELED if title == "Labelled" else _OTHERS for title in counts]
    bars = axes.barh(list(counts), list(counts.values()), color=colors, height=0.7)
    axes.bar_label(
        bars, [f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") for count in counts.values()], padding=3
    )
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_title("Images", loc="left", fontweight="bold")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(axis="y", length=0, labelsize=10)
    axes.grid(visible=False, axis="y")


def _draw_sizes(axes: Axes, manifest: pd.DataFrame) -> None:
    """One dot per size, the larger the more images have it."""
    sizes = manifest.groupby(["width", "height"]).size().sort_values(ascending=False, kind="stable")
    widths, heights = (sizes.index.get_level_values(name).to_numpy() for name in ("width", "height"))
    shares = sizes.to_numpy() / len(manifest)
    axes.scatter(widths, heights, 12 + 300 * shares, color=_LABELED, alpha=0.6, linewidths=0)
    most = f"{widths[0]}×{heights[0]}"
    title = f"all {most}" if len(sizes) == 1 else f"{len(sizes)}, most often {most} ({100 * shares[0]:.0f} %)"
    axes.set_title(f"Sizes: {title}", loc="left", fontweight="bold")
    axes.set_xlim(0, 1.15 * widths.max())
    axes.set_ylim(0, 1.15 * heights.max())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel("width [pixels]")
    axes.set_ylabel("height [pixels]")


def _draw_classes(axes: Axes, class_pixels: pd.DataFrame, manifest: pd.DataFrame, labeled: pd.DataFrame) -> None:
    """Bars of each class in its masks that are used, and in all that there are, with the numbers beside them."""
    uses = {
        "labelled": (labeled["id"], _LABELED, -0.2),
        "all of train": (manifest.loc[manifest["split"] == "train", "id"], _OTHERS, 0.2),
    }
    positions = np.arange(class_pixels.shape[1])
    axes.set_yticks(positions, [str(name) for name in class_pixels.columns])
    axes.set_title("Classes by their share of the pixels in training masks", loc="left", fontweight="bold")
    for column, (title, (ids, color, shift)) in enumerate(uses.items()):
        pixels = class_pixels[class_pixels.index.isin(ids)].sum().to_numpy(dtype=float)
        shares = 100 * pixels / max(1.0, pixels.sum())
        axes.barh(positions + shift, shares, 0.4, color=color)
        # Two columns of numbers right of the axes, at a distance in points, which no layout changes.
        at: Any = {
            "xytext": (36 + 66 * column, 0), "textcoords": "offset points", "annotation_clip": False,
            "xycoords": axes.get_yaxis_transform(), "horizontalalignment": "center", "verticalalignment": "center",
        }  # fmt: skip
        axes.annotate(
            title, (1, -1), **at, color="white" if color == _LABELED else "black",
            bbox={"facecolor": color, "edgecolor": "none", "pad": 2.5},
        )  # fmt: skip
        for position, share in zip(positions, shares, strict=True):
            words: Any = {"color": _WARNING, "fontweight": "bold"} if share == 0 else {}
            axes.annotate("never" if share == 0 else _percent(share), (1, position), **at, **words, fontsize=9)
        if title == "labelled":
            for position in np.flatnonzero(shares == 0):
                axes.get_yticklabels()[position].set(color=_WARNING, fontweight="bold")
    axes.set_xlim(left=0)
    axes.set_ylim(len(positions) - 0.4, -0.6)
    axes.set_xlabel("share, ignored pixels left out [%]")
    axes.tick_params(axis="y", length=0, labelsize=10)
    axes.grid(visible=False, axis="y")


def _percent(share: float) -> str:
    return f"{share:.1f} %" if share >= 0.95 else f"{share:.2f} %" if share >= 0.005 else "< 0.01 %"


def _draw_samples(
    figure: SubFigure, row: Sequence[Sample], num_classes: int, cell: tuple[float, float], bottom: tuple[float, float]
) -> None:
    """Draw a row of panels into cells of this size (width, height), at this height above the bottom (of all)."""
    column = 0
    for id_, image, mask in row:
        first = _left(column)
        scale = min(cell[0] / image.shape[1], cell[1] / image.shape[0])
        width, height = image.shape[1] * scale, image.shape[0] * scale
        # What the figure shows is made pixel by pixel: nothing is left to a later scaling.
        size = max(1, round(width * DPI)), max(1, round(height * DPI))
        panel = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
        panels = [panel] if mask is None else [panel, overlay_mask(panel, mask, num_classes)]
        for shown in panels:
            left = _left(column) + (cell[0] - width) / 2
            axes = figure.add_axes((left / WIDTH, bottom[0] / bottom[1], width / WIDTH, height / bottom[1]))
            axes.imshow(shown, aspect="auto", interpolation="nearest")
            axes.set_axis_off()
            column += 1
        middle = (first + _left(column - 1) + cell[0]) / 2
        figure.text(
            middle / WIDTH, (bottom[0] - 0.03) / bottom[1], _shorten(id_, 18 * len(panels)), fontsize=7,
            horizontalalignment="center", verticalalignment="top", parse_math=False,
        )  # fmt: skip


def _left(column: int) -> float:
    return _MARGIN + column * (WIDTH - 2 * _MARGIN + _GAP) / PANELS


def _shorten(id_: str, length: int) -> str:
    return id_ if len(id_) <= length else "…" + id_[1 - length :]


def overlay_mask(panel: np.ndarray, mask: np.ndarray, num_classes: int) -> np.ndarray:
    """Tint an image with its mask, which may be of another scale; the image keeps its light and dark.

    Args:
        panel: H×W×3 uint8 RGB.
        mask: uint8 class ids of any height and width; ids that are no class are light grey.
        num_classes: ids below it are classes.

    Returns:
        H×W×3 uint8 RGB.
    """
    rows, columns = (np.arange(size) * length // size for size, length in zip(panel.shape[:2], mask.shape, strict=True))
    colors = id_colors(num_classes)
    gray = np.asarray(Image.fromarray(panel).convert("L"))[..., None]
    mixed: np.ndarray = np.rint(_TINT * colors[mask[np.ix_(rows, columns)]] + (1 - _TINT) * gray)
    return mixed.astype(np.uint8)
