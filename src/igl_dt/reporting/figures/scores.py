"""Scores per class: table, dot plot and confusion matrix."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from igl_dt.reporting.figures.style import FAINT, new_figure, signed
from igl_dt.reporting.networks import BASELINE, NetworksInfo, last_weights, main_network, styles
from igl_dt.reporting.scores import Metrics, score_titles
from igl_dt.utils.palette import IGNORED

_DODGE = (0.2, -0.2, 0.1, -0.1, 0.3, -0.3)
"""Marks of other networks lie a little above or below those of the main network, so that none is hidden."""


def per_class_table(metrics: Metrics) -> pd.DataFrame:
    """IoU per class and the other scores, in percent with two digits.

    Args:
        metrics: By network its scores: ``per_class`` (IoU or None by class name) and others.

    Returns:
        Rows: the classes in the order of their ids, then the scores; index ``class``. Columns: the networks. A class
        that neither occurs nor is predicted is NaN.

    Raises:
        ValueError: There are no networks, or they have different classes.
    """
    _check_classes(metrics)
    titles, columns = score_titles(metrics), {}
    for network, scores in metrics.items():
        values = dict(scores["per_class"]) | {title: scores.get(key) for key, title in titles.items()}
        columns[network] = pd.Series(values, dtype=float)
    rows = [*next(iter(metrics.values()))["per_class"], *titles.values()]
    table = (pd.DataFrame(columns, index=rows) * 100).round(2)
    return table.rename_axis("class")


def plot_per_class(metrics: Metrics, networks_info: NetworksInfo | None = None) -> Figure:
    """IoU per class of each network, sorted by the main network's gain over the supervised one, mIoU on top.

    Without a supervised network the classes are sorted by the main network's IoU. Networks with their best weights are
    left out where those with the last weights are shown.

    Args:
        metrics: See :func:`per_class_table`.
        networks_info: By network.

    Raises:
        ValueError: There are no networks, or they have different classes.
    """
    _check_classes(metrics)
    main, networks = main_network(metrics), last_weights(metrics)
    looks = styles(networks, networks_info or {})
    names = list(metrics[main]["per_class"])
    rows = {"mIoU": {network: metrics[network]["miou"] for network in networks}}
    rows |= {name: {network: metrics[network]["per_class"][name] for network in networks} for name in names}
    values = pd.DataFrame(rows, dtype=float).T * 100
    gain = values[main] - values[BASELINE] if BASELINE in networks and main != BASELINE else None
    order = (values[main] if gain is None else gain).drop("mIoU").sort_values(ascending=False, kind="stable")
    values = values.loc[["mIoU", *order.index]]
    others = [network for network in networks if network not in (main, BASELINE)]
    dodge = {network: _DODGE[index % len(_DODGE)] for index, network in enumerate(others)}

    heights = -np.arange(len(values), dtype=float)
    heights[1:] -= 0.4  # some room below the mean
    with new_figure(height=0.3 * len(values) + 1 + 0.3 * math.ceil(len(looks) / 4)) as figure:
        axes = figure.add_subplot()
        axes.set_yticks(heights, list(values.index))
        axes.get_yticklabels()[0].set_fontweight("bold")
        axes.axhline(-0.7, color=FAINT, linewidth=0.8)
        if gain is not None:
            color = looks[main].color
            axes.hlines(heights, values[BASELINE], values[main], color=color, linewidth=3, alpha=0.5)
            axes.text(1.015, 1.01, "gain", transform=axes.transAxes, color=FAINT, verticalalignment="bottom")
        for network, look in looks.items():
            axes.plot(
                values[network], heights + dodge.get(network, 0), look.marker, color=look.color, markersize=8,
                markeredgecolor="white", label=look.label, zorder=4 if network == main else 3, clip_on=False,
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
        axes.set_xlabel(
            "IoU [%]" if gain is None else f"IoU [%]; gain: {main} over {BASELINE}, in points".replace("_", " ")
        )
        figure.legend(loc="outside upper center", ncols=min(len(looks), 4), handletextpad=0.2)
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
        axes.set_facecolor(IGNORED)
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
    first = main_network(metrics)
    others = [network for network in metrics if network != first]
    names = list(metrics[first]["per_class"])
    for network in others:
        differing = set(names).symmetric_difference(metrics[network]["per_class"])
        if differing:
            raise ValueError(
                f"{first} and {network} were scored on different classes: {', '.join(sorted(differing))} in one only."
                " Evaluate both on one data set"
            )
