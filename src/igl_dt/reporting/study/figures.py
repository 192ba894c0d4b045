"""Figures of a study, from its table of results."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator

from igl_dt.reporting.figures.style import FAINT, new_figure
from igl_dt.reporting.study.comparison import (
    Difference,
    Scores,
    compare_ablated_classes,
    compare_ablations,
    compare_classes,
    compare_methods,
    fractions,
    tabulate_scores,
    values_by_variant,
)
from igl_dt.utils.files import digest

MARKS = "oDs^vP<>pXh*d"


def plot_study(results: pd.DataFrame, candidates: Sequence[str]) -> dict[str, Figure]:
    """Draw all figures that the results are enough for, by name.

    Args:
        results: see ``igl_dt.reporting.study.results.read_results``.
        candidates: methods that are compared with every other.

    Returns:
        Figures whose label is the sha256 of ``results.csv``: it goes into their files.
    """
    if not results["val_miou"].notna().any():
        return {}
    compared = {
        "differences": (compare_methods(results, candidates), "mIoU: {} minus …"),
        "ablations": (compare_ablations(results), "mIoU: {} minus its ablation …"),
        "classes": (compare_classes(results, candidates), "IoU: {}"),
        "ablated_classes": (compare_ablated_classes(results), "IoU: {}"),
    }
    drawn = {"label_efficiency": plot_label_efficiency(results, candidates)}
    if results["multiply_adds_with_teachers"].notna().any():
        drawn["compute"] = plot_compute(results)
    for name, (differences, title) in compared.items():
        if found := [each for each in differences if each.difference.n]:
            drawn[name] = plot_differences(found, title)
    shown = digest(results.to_csv(index=False, lineterminator="\n").encode())
    for figure in drawn.values():
        figure.set_label(shown)
    return drawn


def plot_label_efficiency(results: pd.DataFrame, candidates: Sequence[str]) -> Figure:
    """Draw the mIoU of each method over the labelled fraction: mean, standard deviation, and each seed as a dot."""
    methods, at = _scores_by_method(results), fractions(results)
    with new_figure(height=4.6) as figure:
        axes = figure.add_subplot()
        for index, (method, rows) in enumerate(methods.items()):
            shift = 0.6 * ((index + 0.5) / len(methods) - 0.5)  # side by side, so that none hides another
            places = [at.index(row.fraction) + shift for row in rows]
            means, spread = ([getattr(row.last, name) for row in rows] for name in ("mean", "deviation"))
            axes.errorbar(
                places, means, spread, label=_label(rows), capsize=3,
                color=f"C{index % 10}", marker=MARKS[index % len(MARKS)], linewidth=1 + (method in candidates),
            )  # fmt: skip
            for place, row in zip(places, rows, strict=True):
                values = values_by_variant(results, row.fraction)[method]
                axes.plot([place] * len(values), values, ".", color=f"C{index % 10}", alpha=0.4, markersize=4)
        axes.set_xticks(range(len(at)), [f"{value:g}" for value in at])
        axes.set_xlim(-0.5, len(at) - 0.5)
        axes.set_xlabel("share of the training images that is labelled")
        axes.set_ylabel("mIoU [%], last weights")
        figure.legend(loc="outside upper center", ncols=4)
    return figure


def plot_compute(results: pd.DataFrame) -> Figure:
    """Draw the mIoU of each method over the multiply-adds of its training and its teachers': a panel per fraction.

    Mean, standard deviation, and each seed as a dot.
    """
    at = fractions(results)
    with new_figure(height=4.6) as figure:
        panels = figure.subplots(1, len(at), squeeze=False, sharex=True, sharey=True)[0]
        for index, (method, rows) in enumerate(_scores_by_method(results).items()):
            for row in rows:
                axes, values = panels[at.index(row.fraction)], values_by_variant(results, row.fraction)[method]
                axes.plot([row.compute.mean] * len(values), values, ".", color=f"C{index % 10}", alpha=0.4)
                axes.errorbar(
                    row.compute.mean, row.last.mean, row.last.deviation, label=_label(rows), capsize=3,
                    color=f"C{index % 10}", marker=MARKS[index % len(MARKS)], linestyle="",
                )  # fmt: skip
        for axes, fraction in zip(panels, at, strict=True):
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))  # labels of more would overlap
            axes.xaxis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(math.inf, math.inf)))
            axes.set_title(f"{fraction:g} of the training images labelled")
        panels[0].set_ylabel("mIoU [%], last weights")
        figure.supxlabel("multiply-adds of the training, its teachers’ included", fontsize=10)
        shown = {
            text: handle for axes in panels for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(shown.values(), shown.keys(), loc="outside upper center", ncols=4)
    return figure


def _scores_by_method(results: pd.DataFrame) -> dict[str, list[Scores]]:
    """Give each method's scores by fraction, of those that have any; ablations are left out."""
    methods: dict[str, list[Scores]] = {}
    for row in tabulate_scores(results):
        if "-" not in row.variant and row.last.n:
            methods.setdefault(row.variant, []).append(row)
    return methods


def _label(rows: Sequence[Scores]) -> str:
    """Name a method and how many seeds its means are of, at each fraction where these differ."""
    counts = [row.last.n for row in rows]
    return f"{rows[0].variant}, n={'/'.join(map(str, counts if len(set(counts)) > 1 else counts[:1]))}"


def plot_differences(differences: Sequence[Difference], title: str) -> Figure:
    """Draw differences, at least one, with their intervals: a row each, a panel per group, ``{}`` in its title.

    A fraction that all rows of a panel share is in its title.
    """
    wide = 2  # the longest names fit
    groups = {each.group: [other for other in differences if other.group == each.group] for each in differences}
    high = math.ceil(len(groups) / wide)
    with new_figure(height=high * (0.26 * max(map(len, groups.values())) + 1.3)) as figure:
        panels = figure.subplots(high, min(wide, len(groups)), squeeze=False, sharex=True).ravel()
        for axes in panels[len(groups) :]:
            axes.remove()
        for axes, (group, rows) in zip(panels, groups.items(), strict=False):
            axes.tick_params(labelbottom=True)
            heights = -np.arange(len(rows))
            axes.axvline(0, color="#222222", linewidth=1)
            for height, row in zip(heights, rows, strict=True):
                summary = row.difference
                color = {1: "#0072b2", -1: "#d55e00", 0: FAINT}[summary.sign]
                filled = color if summary.sign else "white"  # only where the interval leaves out 0
                axes.plot([summary.low, summary.high], [height, height], color=color, linewidth=2)
                axes.plot(summary.mean, height, "o", color=color, markerfacecolor=filled, markersize=6)
            several = len({row.fraction for row in rows}) > 1
            names = [f"{row.other} ({row.fraction:g})" if several else row.other for row in rows]
            counted = [f"{name}, n={row.difference.n}" for name, row in zip(names, rows, strict=True)]
            axes.set_yticks(heights, counted)
            axes.set_ylim(heights[-1] - 0.7, 0.7)
            axes.tick_params(axis="y", length=0)
            what = title.format(group) if several else f"{title.format(group)} ({rows[0].fraction:g} labelled)"
            axes.set_xlabel(f"{what} [points]".replace(" minus ", "\nminus "))
    return figure
