"""Curves over the training steps: losses, validation mIoU and the quality of pseudo-labels."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, ScalarFormatter, StrMethodFormatter

from igl_dt.reporting.figures.style import FAINT, new_figure
from igl_dt.reporting.networks import AGREEMENT, NetworksInfo, Style, styles
from igl_dt.runtime.parameters import CONFIDENT

Histories = Mapping[str, pd.DataFrame]
"""By training. Columns: ``step``; the losses, called ``<network>.<loss>``, or ``<loss>`` in a training of one network;
``learning_rate.<network>``; ``val_miou.<network>`` and ``pseudo_label_…`` (fractions; NaN at steps not validated).
A loss may be NaN at steps where it plays no part. A training that was not run is absent, or without rows."""

PSEUDO_LABEL = "pseudo_label_"
_PSEUDO_LABELS = {
    f"{PSEUDO_LABEL}accuracy": "Pixels labelled correctly",
    f"{PSEUDO_LABEL}confident": f"Pixels with a probability ≥ {CONFIDENT:g}",
    f"{PSEUDO_LABEL}agreement": "Pixels labelled alike by all",
}

_LOSS_TITLES = {
    "supervised": "Supervised",
    "cross_pseudo": "Cross pseudo supervision",
    "labeled_pseudo_label": "Pseudo-labels, labelled",
    "unlabeled_pseudo_label": "Pseudo-labels, unlabelled",
}
"""Titles of losses that come first; any other is called by its name."""

_LEGEND_COLUMNS = 4


class _Curve(NamedTuple):
    """Values of one network over its steps, without the steps that have none."""

    network: str
    steps: np.ndarray
    values: np.ndarray
    last_step: float


def loss_columns(history: pd.DataFrame, training: str) -> dict[str, tuple[str, str]]:
    """Give the losses of a training: by column, the network that it belongs to, and the loss.

    A loss without a network belongs to the only network that is trained, or else to the training.
    """
    trained = [column.partition(".")[2] for column in history.columns if column.startswith("learning_rate.")]
    validated = [column.partition(".")[2] for column in history.columns if column.startswith("val_miou.")]
    owner = next((found[0] for found in (trained, validated) if len(found) == 1), training)
    losses = {}
    for column in history.columns:
        if column == "step" or column.startswith(("learning_rate", "val_miou", PSEUDO_LABEL)):
            continue
        network, _, loss = column.rpartition(".")
        losses[column] = network or owner, loss
    return losses


def plot_losses(histories: Histories, networks_info: NetworksInfo | None = None) -> Figure:
    """Every loss over the steps, one panel per loss; thin lines as recorded, thick lines their running mean.

    Args:
        histories: By training; without a loss, the figure says so.
        networks_info: By network.
    """
    panels: dict[str, list[_Curve]] = {}
    for training, history in histories.items():
        for column, (network, loss) in loss_columns(history, training).items():
            curve = _curve(history, column, network)
            if len(curve.steps):
                panels.setdefault(loss, []).append(curve)
    if not panels:
        return _notice("No losses were recorded: nothing was trained")
    looks = styles(dict.fromkeys(curve.network for curves in panels.values() for curve in curves), networks_info or {})

    known = [loss for loss in _LOSS_TITLES if loss in panels]
    losses = known + [loss for loss in panels if loss not in known]
    columns = min(4, len(losses))
    rows = math.ceil(len(losses) / columns)
    with new_figure(height=2.3 * rows + 0.3 + 0.3 * math.ceil(len(looks) / _LEGEND_COLUMNS)) as figure:
        for position, loss in enumerate(losses):
            axes = figure.add_subplot(rows, columns, position + 1)
            axes.set_title(_LOSS_TITLES.get(loss, loss.replace("_", " ").capitalize()), loc="left", fontsize=9)
            _draw_loss(axes, panels[loss], looks)
            _format_steps(axes, ticks=3)
        figure.supxlabel("training step", fontsize=10)
        _legend(figure, looks.values())
    return figure


def plot_miou(histories: Histories, networks_info: NetworksInfo | None = None) -> Figure:
    """Validation mIoU of every network over the steps of its training, in percent.

    Args:
        histories: By training; without a validation, the figure says so.
        networks_info: By network.
    """
    curves = [
        _curve(history, column, column.partition(".")[2])
        for history in histories.values()
        for column in history.columns
        if column.startswith("val_miou.")
    ]
    curves = [curve._replace(values=curve.values * 100) for curve in curves if len(curve.steps)]
    if not curves:
        return _notice("No validation was recorded: nothing was trained")
    looks = styles([curve.network for curve in curves], networks_info or {})

    with new_figure(height=max(4.2, 0.32 * len(curves) + 1)) as figure:
        axes = figure.add_subplot()
        for curve in curves:
            _draw(axes, curve, looks[curve.network])
        axes.margins(x=0.02, y=0.06)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=max(0, axes.get_ylim()[0]))
        axes.set_xlabel("training step")
        axes.set_ylabel("validation mIoU [%]")
        _format_steps(axes, ticks=8)
        _label_ends(axes, curves, looks)
    return figure


def plot_pseudo_labels(histories: Histories, networks_info: NetworksInfo | None = None) -> Figure:
    """Quality of the networks' pseudo-labels on a fixed set of unlabelled images over the steps, in percent.

    Args:
        histories: By training; columns as ``igl_dt.evaluation.pseudo_labels`` names them. A measure that was not
            recorded has no panel; without any, the figure says so.
        networks_info: By network.
    """
    panels: dict[str, list[_Curve]] = {}
    for kind, title in _PSEUDO_LABELS.items():
        for history in histories.values():
            for column in history.columns:
                if column.partition(".")[0] == kind:
                    curve = _curve(history, column, column.partition(".")[2])
                    if len(curve.steps):
                        panels.setdefault(title, []).append(curve._replace(values=curve.values * 100))
    if not panels:
        return _notice("Nothing to show: the quality of pseudo-labels was not measured (pseudo_label_probe_size)")
    names = dict.fromkeys(curve.network for curves in panels.values() for curve in curves if curve.network)
    looks = styles(names, networks_info or {})
    if any(not curve.network for curves in panels.values() for curve in curves):
        looks[""] = AGREEMENT
    with new_figure(height=3.1) as figure:
        first = None
        for position, (title, curves) in enumerate(panels.items(), start=1):
            axes = first = figure.add_subplot(1, len(panels), position, sharey=first)
            axes.set_title(title, loc="left", fontsize=9)
            highest = max(curve.values[-1] for curve in curves)
            for curve in curves:
                _draw(axes, curve, looks[curve.network])
                above = curve.values[-1] == highest
                if len(curves) <= 2:  # more numbers would hide each other
                    axes.annotate(
                        f"{curve.values[-1]:.0f}", (curve.steps[-1], curve.values[-1]), (2, 5 if above else -5),
                        textcoords="offset points", horizontalalignment="right",
                        verticalalignment="bottom" if above else "top", fontsize=9,
                    )  # fmt: skip
            axes.set_xlim(0, max(curve.last_step for curve in curves) * 1.03)
            axes.set_ylim(0, 106)
            if position > 1:
                axes.tick_params(labelleft=False)
            _format_steps(axes, ticks=3)
        figure.supylabel("share of the pixels [%]", fontsize=10)
        figure.supxlabel("training step", fontsize=10)
        _legend(figure, looks.values())
    return figure


def has_pseudo_labels(histories: Histories) -> bool:
    """Say whether the quality of pseudo-labels was measured in any training."""
    return any(column.startswith(PSEUDO_LABEL) for history in histories.values() for column in history.columns)


def _draw(axes: Axes, curve: _Curve, look: Style) -> None:
    """Draw a curve with some markers: on every value, they would hide it."""
    axes.plot(
        curve.steps, curve.values, look.line, color=look.color, marker=look.marker, markersize=5,
        markevery=max(1, len(curve.steps) // 20),
    )  # fmt: skip


def _notice(text: str) -> Figure:
    """A figure that says why there is nothing to show."""
    with new_figure(height=1, layout=None) as figure:
        figure.text(0.5, 0.5, text, horizontalalignment="center", verticalalignment="center", color=FAINT)
    return figure


def _curve(history: pd.DataFrame, column: str, network: str) -> _Curve:
    table = history[["step", column]].dropna()
    return _Curve(network, table["step"].to_numpy(), table[column].to_numpy(dtype=float), history["step"].max())


def _draw_loss(axes: Axes, curves: list[_Curve], looks: Mapping[str, Style]) -> None:
    shown = []
    for network, steps, values, _ in curves:
        window = max(1, len(values) // 40)
        mean = pd.Series(values).rolling(window, center=True, min_periods=1).mean().to_numpy()
        _, color, _, line = looks[network]
        if window > 1:
            axes.plot(steps, values, color=color, linewidth=0.5, alpha=0.3)
        axes.plot(steps, mean, line, color=color, linewidth=1.6)
        # A few outliers must not compress the rest.
        shown += [*np.percentile(values, [0.5, 99.5]), mean.min(), mean.max()]
    low, high = min(shown), max(shown)
    if low > 0 and high / low >= 10:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.15, high * 1.15)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        margin = 0.06 * (high - low) or 0.1 * abs(high) or 1
        axes.set_ylim(low - margin, high + margin)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 4, 5, 10]))
        axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.set_xlim(0, max(curve.last_step for curve in curves))


def _format_steps(axes: Axes, ticks: int) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _label_ends(axes: Axes, curves: list[_Curve], looks: Mapping[str, Style]) -> None:
    """Write the name and last value of each curve at the right, connected to the curve's end by a thin line."""
    bottom, top = axes.get_ylim()
    curves = sorted(curves, key=lambda curve: curve.values[-1])
    heights = _spread(
        [(curve.values[-1] - bottom) / (top - bottom) for curve in curves], gap=min(0.075, 1 / len(curves))
    )
    for curve, height in zip(curves, heights, strict=True):
        title, color, marker, _ = looks[curve.network]
        axes.annotate(
            f"{title}  {curve.values[-1]:.1f}",
            xy=(curve.steps[-1], curve.values[-1]),
            xytext=(1.07, height),
            textcoords="axes fraction",
            verticalalignment="center",
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.8, "relpos": (0, 0.5), "shrinkB": 4},
            annotation_clip=False,
        )
        # The text itself is black: light colours are hard to read.
        axes.plot(1.05, height, marker, color=color, markersize=7, transform=axes.transAxes, clip_on=False)


def _spread(heights: list[float], gap: float) -> list[float]:
    """Move ascending heights apart until neighbours keep the gap and none is above 1."""
    spread: list[float] = []
    for height in heights:
        spread.append(max(height, spread[-1] + gap) if spread else height)
    ceiling = 1.0
    for index in reversed(range(len(spread))):
        spread[index] = min(spread[index], ceiling)
        ceiling = spread[index] - gap
    return spread


def _legend(figure: Figure, looks: Iterable[Style]) -> None:
    handles = [Line2D([], [], color=look.color, linestyle=look.line, linewidth=2, label=look.label) for look in looks]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), _LEGEND_COLUMNS))
