"""Scores per class: table, dot plot and confusion matrix."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from igl_dt.reporting.figures.style import FAINT, NEUTRAL, SERIES, new_figure, signed

_MEANS = {
    "miou": "mIoU",
    "miou_present": "mIoU, classes present",
    "pixel_accuracy": "pixel accuracy",
    "mean_class_accuracy": "mean class accuracy",
}

_DODGE = {"swin_unet": 0.2, "res_unet": -0.2}
"""The teachers' marks lie a little above and below the student's, lest they hide each other."""

Metrics = Mapping[str, Mapping[str, Any]]
"""``metrics.json``: per network what ``igl_dt.evaluation.metrics.score`` returns."""


def per_class_table(metrics: Metrics) -> pd.DataFrame:
    """IoU per class and the means, in percent with two digits.

    Args:
        metrics: Per network its scores: ``per_class`` (IoU or None by class name) and the means.

    Returns:
        Rows: the classes in the order of their ids, then the means; index ``class``. Columns: the networks, those
        that the figures know first. A class that neither occurs nor is predicted is NaN.

    Raises:
        ValueError: There are no networks, or they have different classes.
    """
    _check_classes(metrics)
    networks = [network for network in SERIES if network in metrics]
    networks += [network for network in metrics if network not in networks]
    columns = {}
    for network in networks:
        scores = metrics[network]
        values = dict(scores["per_class"]) | {title: scores[key] for key, title in _MEANS.items() if key in scores}
        columns[network] = pd.Series(values, dtype=float)
    table = (pd.DataFrame(columns, index=list(columns[networks[0]].index)) * 100).round(2)
    return table.rename_axis("class")


def plot_per_class(metrics: Metrics) -> Figure:
    """IoU per class of each network, sorted by what the student gains over supervised training, mIoU on top.

    Without a network "supervised" the classes are sorted by the student's IoU. Networks beside those of
    ``igl_dt.reporting.figures.style.SERIES`` are not shown.

    Args:
        metrics: See :func:`per_class_table`; must hold the student.

    Raises:
        ValueError: The student is missing, or networks have different classes.
    """
    if "student" not in metrics:
        raise ValueError(f"the metrics hold {', '.join(metrics) or 'no network'}; the figure needs 'student'")
    _check_classes(metrics)
    names = list(metrics["student"]["per_class"])
    rows = {"mIoU": {network: metrics[network]["miou"] for network in SERIES if network in metrics}}
    rows |= {name: {network: metrics[network]["per_class"][name] for network in rows["mIoU"]} for name in names}
    values = pd.DataFrame(rows, dtype=float).T * 100
    gain = values["student"] - values["supervised"] if "supervised" in values else None
    order = (values["student"] if gain is None else gain).drop("mIoU").sort_values(ascending=False, kind="stable")
    values = values.loc[["mIoU", *order.index]]

    heights = -np.arange(len(values), dtype=float)
    heights[1:] -= 0.4  # some room below the mean
    with new_figure(height=0.3 * len(values) + 1.3) as figure:
        axes = figure.add_subplot()
        axes.set_yticks(heights, list(values.index))
        axes.get_yticklabels()[0].set_fontweight("bold")
        axes.axhline(-0.7, color=FAINT, linewidth=0.8)
        if gain is not None:
            color = SERIES["student"].color
            axes.hlines(heights, values["supervised"], values["student"], color=color, linewidth=3, alpha=0.5)
            axes.text(1.015, 1.01, "gain", transform=axes.transAxes, color=FAINT, verticalalignment="bottom")
        for network, (title, color, marker, _) in SERIES.items():
            if network in values:
                axes.plot(
                    values[network], heights + _DODGE.get(network, 0), marker, color=color, markersize=8,
                    markeredgecolor="white", label=title, zorder=4 if network == "student" else 3, clip_on=False,
                )  # fmt: skip
        for height, name in zip(heights, values.index, strict=True):
            if values.loc[name].isna().all():
                axes.text(1, height, "not in this set", color=FAINT, verticalalignment="center", fontsize=9)
            elif gain is not None and not np.isnan(gain[name]):
                axes.text(
                    1.015, height, signed(gain[name]), transform=axes.get_yaxis_transform(),
                    verticalalignment="center", fontweight="bold" if name == "mIoU" else "normal",
                )  # fmt: skip
        axes.set_xlim(0, 100)
        axes.set_ylim(heights[-1] - 0.7, 0.7)
        axes.xaxis.set_major_locator(MultipleLocator(10))
        axes.tick_params(axis="y", length=0, labelsize=10)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("IoU [%]" if gain is None else "IoU [%]; gain: student over supervised only, in points")
        figure.legend(loc="outside upper center", ncols=len(values.columns), handletextpad=0.2)
    return figure


def plot_confusion(confusion: pd.DataFrame, title: str) -> Figure:
    """Share of each true class's pixels that is predicted as which class.

    Args:
        confusion: Square table of counts; rows: truth, columns: prediction, both with the class names.
        title: Above the figure.

    Raises:
        ValueError: Rows and columns have different names.
    """
    names, columns = ([str(name) for name in axis] for axis in confusion.axes)
    if columns != names:
        raise ValueError(f"rows {names} and columns {columns} of a confusion matrix must be the same")
    counts = confusion.to_numpy(dtype=float)
    occurring = counts.sum(axis=1, keepdims=True)
    shares = 100 * np.divide(counts, occurring, out=np.full_like(counts, np.nan), where=occurring > 0)

    with new_figure(height=8.2, layout="compressed") as figure:
        axes = figure.add_subplot()
        axes.set_facecolor(NEUTRAL)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        axes.set_xticks(range(len(names)), names, rotation=45, horizontalalignment="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0, labelsize=10 if len(names) <= 24 else 6)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_title(title)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        if len(names) <= 24:  # beyond, a number no longer fits into its cell
            for (row, column), share in np.ndenumerate(shares):
                if share >= 0.5:
                    axes.text(
                        column, row, f"{share:.0f}", horizontalalignment="center", verticalalignment="center",
                        fontsize=10 if len(names) <= 12 else 7.5, color="white" if share > 55 else "#222222",
                    )  # fmt: skip
        for row in np.flatnonzero(occurring == 0).tolist():
            axes.text(0, row, "not in this set", color="#555555", verticalalignment="center", fontsize=9)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
        bar.set_label("share of the true class's pixels [%]")
        bar.outline.set_visible(False)
    return figure


def _check_classes(metrics: Metrics) -> None:
    if not metrics:
        raise ValueError("no networks in the metrics")
    first, *others = metrics
    names = list(metrics[first]["per_class"])
    for network in others:
        differing = set(names).symmetric_difference(metrics[network]["per_class"])
        if differing:
            raise ValueError(
                f"{first} and {network} were scored on different classes: {', '.join(sorted(differing))} in one only."
                " Evaluate both on one data set"
            )
