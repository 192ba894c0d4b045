"""Curves of the training: losses and validation mIoU."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, ScalarFormatter, StrMethodFormatter

from igl_dt.evaluation.pseudo_labels import CONFIDENT
from igl_dt.reporting.figures.style import FAINT, SERIES, Series, new_figure, series

_PSEUDO_LABELS = {
    "pseudo_label_accuracy": "Pixels labelled rightly",
    "pseudo_label_confident": f"Pixels with a probability ≥ {CONFIDENT:g}",
    "pseudo_label_agreement": "Pixels labelled alike by both",
}

_NOT_LOSSES = ("step", "learning_rate", "val_miou", *_PSEUDO_LABELS)

_LOSS_TITLES = {
    "supervised": "Supervised",
    "cross_pseudo": "Cross pseudo supervision",
    "labeled_pseudo_label": "Pseudo-labels, labelled",
    "unlabeled_pseudo_label": "Pseudo-labels, unlabelled",
    "global_context": "Global context",
    "local_regional": "Local regional",
    "discrepancy": "Discrepancy",
}


_BOTH = Series("Both teachers", "#007800", "X", "-")


class _Curve(NamedTuple):
    """Values of one network over its steps, without the steps that have none."""

    network: str
    steps: np.ndarray
    values: np.ndarray
    last_step: float


def plot_losses(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Every loss over the steps, one panel per loss; thin lines as recorded, thick ones their running mean.

    Args:
        histories: Table per stage ("teachers", "student", "supervised"). Column ``step``; loss columns are called
            ``<network>.<loss>``, or ``<loss>`` in a stage of one network, which then is called like the stage;
            ``learning_rate.…``, ``val_miou.…`` and ``pseudo_label_…`` are left alone. A loss may be NaN at steps where
            it plays no part.

    Raises:
        ValueError: There is no loss to show, or a network without a place in the figures.
    """
    panels: dict[str, list[_Curve]] = {}
    for stage, history in histories.items():
        for column in history.columns:
            if column.partition(".")[0] in _NOT_LOSSES:
                continue
            network, _, loss = column.rpartition(".")
            curve = _curve(history, column, network or stage)
            if len(curve.steps):
                panels.setdefault(loss, []).append(curve)
    if not panels:
        raise ValueError(f"no loss in the histories of {', '.join(histories) or 'no stage'}; was anything trained?")

    known = [loss for loss in _LOSS_TITLES if loss in panels]
    losses = known + [loss for loss in panels if loss not in known]
    columns = min(4, len(losses))
    rows = math.ceil(len(losses) / columns)
    with new_figure(height=2.3 * rows + 0.6) as figure:
        for position, loss in enumerate(losses):
            axes = figure.add_subplot(rows, columns, position + 1)
            axes.set_title(_LOSS_TITLES.get(loss, loss.replace("_", " ").capitalize()), loc="left", fontsize=9)
            _draw_loss(axes, panels[loss])
            _format_steps(axes, ticks=3)
        figure.supxlabel("training step of the stage", fontsize=10)
        _legend(figure, (curve.network for curves in panels.values() for curve in curves))
    return figure


def plot_miou(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Validation mIoU of every network over the steps of its stage, in percent.

    Args:
        histories: Table per stage, see :func:`plot_losses`; columns ``val_miou.<network>`` hold fractions, and NaN
            at steps without validation.

    Raises:
        ValueError: No network was validated, or one has no place in the figures.
    """
    curves = [
        _curve(history, column, column.partition(".")[2])
        for history in histories.values()
        for column in history.columns
        if column.startswith("val_miou.")
    ]
    curves = [curve._replace(values=curve.values * 100) for curve in curves if len(curve.steps)]
    if not curves:
        raise ValueError(f"no val_miou in the histories of {', '.join(histories) or 'no stage'}; was anything trained?")

    with new_figure(height=4.2) as figure:
        axes = figure.add_subplot()
        for curve in curves:
            _, color, marker, line = series(curve.network)
            # A short curve is mostly markers; a long one would be hidden by them.
            every = max(1, len(curve.steps) // 20)
            axes.plot(curve.steps, curve.values, line, color=color, marker=marker, markersize=5, markevery=every)
        axes.margins(x=0.02, y=0.06)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=max(0, axes.get_ylim()[0]))
        axes.set_xlabel("training step of the stage")
        axes.set_ylabel("validation mIoU [%]")
        _format_steps(axes, ticks=8)
        _label_ends(axes, curves)
    return figure


def plot_pseudo_labels(history: pd.DataFrame) -> Figure:
    """How good the teachers' pseudo-labels are on monitored images over the steps of their stage, in percent.

    Args:
        history: Of the teachers; columns as ``igl_dt.evaluation.pseudo_labels`` names them, fractions, and NaN at steps
            without validation. Those that are not there have no panel; without any, the figure says so.
    """
    panels = {}
    for kind, title in _PSEUDO_LABELS.items():
        columns = [column for column in history.columns if column.partition(".")[0] == kind]
        tables = {column.partition(".")[2]: history[["step", column]].dropna() for column in columns}
        if shown := {network: table for network, table in tables.items() if len(table)}:
            panels[title] = shown
    if not panels:
        with new_figure(height=1, layout=None) as figure:
            said = "Pseudo-labels were not monitored (teacher_pretraining.pseudo_label_probe_size)"
            figure.text(0.5, 0.5, said, horizontalalignment="center", verticalalignment="center", color=FAINT)
        return figure
    with new_figure(height=3.1) as figure:
        first = None
        for position, (title, curves) in enumerate(panels.items(), start=1):
            axes = first = figure.add_subplot(1, len(panels), position, sharey=first)
            axes.set_title(title, loc="left", fontsize=9)
            ends = {network: 100 * float(table.to_numpy()[-1, 1]) for network, table in curves.items()}
            for network, table in curves.items():
                _, color, marker, line = series(network) if network else _BOTH
                every = max(1, len(table) // 20)
                steps, shares = table.to_numpy(dtype=float).T
                axes.plot(steps, 100 * shares, line, color=color, marker=marker, markersize=5, markevery=every)
                above = network == max(ends, key=lambda name: ends[name])
                axes.annotate(
                    f"{ends[network]:.0f}", (steps[-1], ends[network]), (2, 5 if above else -5),
                    textcoords="offset points", horizontalalignment="right",
                    verticalalignment="bottom" if above else "top", fontsize=9,
                )  # fmt: skip
            axes.set_xlim(0, history["step"].max() * 1.03)
            axes.set_ylim(0, 106)
            if position > 1:
                axes.tick_params(labelleft=False)
            _format_steps(axes, ticks=3)
        figure.supylabel("share of the pixels [%]", fontsize=10)
        figure.supxlabel("training step of the stage", fontsize=10)
        _legend(figure, (network for curves in panels.values() for network in curves))
    return figure


def _curve(history: pd.DataFrame, column: str, network: str) -> _Curve:
    series(network)  # known to the figures
    table = history[["step", column]].dropna()
    return _Curve(network, table["step"].to_numpy(), table[column].to_numpy(dtype=float), history["step"].max())


def _draw_loss(axes: Axes, curves: list[_Curve]) -> None:
    shown = []
    for network, steps, values, _ in curves:
        window = max(1, len(values) // 40)
        mean = pd.Series(values).rolling(window, center=True, min_periods=1).mean().to_numpy()
        _, color, _, line = series(network)
        if window > 1:
            axes.plot(steps, values, color=color, linewidth=0.5, alpha=0.3)
        axes.plot(steps, mean, line, color=color, linewidth=1.6)
        # A few outliers must not flatten the rest.
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


def _label_ends(axes: Axes, curves: list[_Curve]) -> None:
    """Name each curve and its last value at the right, one below the other, with a thin line from the curve's end."""
    bottom, top = axes.get_ylim()
    curves = sorted(curves, key=lambda curve: curve.values[-1])
    heights = _spread([(curve.values[-1] - bottom) / (top - bottom) for curve in curves], gap=0.075)
    for curve, height in zip(curves, heights, strict=True):
        title, color, marker, _ = series(curve.network)
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
    """Move ascending heights apart until neighbours have the gap, and none is above 1."""
    spread: list[float] = []
    for height in heights:
        spread.append(max(height, spread[-1] + gap) if spread else height)
    ceiling = 1.0
    for index in reversed(range(len(spread))):
        spread[index] = min(spread[index], ceiling)
        ceiling = spread[index] - gap
    return spread


def _legend(figure: Figure, networks: Iterable[str]) -> None:
    shown = set(networks)
    handles = [
        Line2D([], [], color=style.color, linestyle=style.line, linewidth=2, label=style.title)
        for network, style in SERIES.items()
        if network in shown
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
