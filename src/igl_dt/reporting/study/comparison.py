"""Comparisons in a study: scores by method, paired differences, ablations, gains per class."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from igl_dt.reporting.figures.style import signed
from igl_dt.reporting.networks import BASELINE
from igl_dt.reporting.study.results import IOU, score_column
from igl_dt.reporting.study.statistics import Summary, paired_difference, summarize


class Scores(NamedTuple):
    """mIoU of a variant at a fraction, in points."""

    variant: str
    """The method, and the ablation if it is one: ``igl_dt-no_local``."""
    fraction: float
    failed: int
    """Seeds whose run failed; they are in no mean."""
    last: Summary
    best: Summary
    """Of the weights of the best validation."""
    compute: Summary
    """Multiply-adds of the training and of its teachers'; not in points."""


class Difference(NamedTuple):
    """What is compared, paired by seed, in points, with the last weights."""

    group: str
    """The candidate; of an ablation: its method; of classes: what is compared."""
    other: str
    """Method, ablation or class."""
    fraction: float
    difference: Summary


def values_by_variant(
    results: pd.DataFrame, fraction: float, weights: str = "last", column: str | None = None
) -> dict[str, pd.Series]:
    """Give a score by variant, in the table's order, each by seed, in points; NaN of a failed run.

    Args:
        results: see ``igl_dt.reporting.study.results.read_results``.
        fraction: that is labelled.
        weights: ``last`` or ``best``.
        column: of the score; None: mIoU.
    """
    column = column or score_column(results)
    return {name: 100 * values for name, values in _by_variant(results, fraction, weights, column).items()}


def _by_variant(results: pd.DataFrame, fraction: float, weights: str, column: str) -> dict[str, pd.Series]:
    rows = results[(results["fraction"] == fraction) & (results["weights"] == weights)]
    ablations = rows["ablation"].fillna("")
    names = rows["method"].where(ablations == "", rows["method"] + "-" + ablations)
    values = rows.set_index("seed")[column].astype(float)
    return {name: values[(names == name).to_numpy()] for name in dict.fromkeys(names)}


def tabulate_scores(results: pd.DataFrame) -> list[Scores]:
    """Summarize the mIoU and the compute of each method and ablation at each fraction."""
    return [
        Scores(name, fraction, int(last.isna().sum()), summarize(last), summarize(best[name]), summarize(compute[name]))
        for fraction in fractions(results)
        for best in [values_by_variant(results, fraction, "best")]
        for compute in [_by_variant(results, fraction, "last", "multiply_adds_with_teachers")]
        for name, last in values_by_variant(results, fraction).items()
    ]


def compare_methods(results: pd.DataFrame, candidates: Sequence[str]) -> list[Difference]:
    """Give each candidate minus every other method, at each fraction."""
    return [
        Difference(name, other, fraction, paired_difference(values[name], values[other]))
        for name in candidates
        for fraction in fractions(results)
        for values in [values_by_variant(results, fraction)]
        for other in values
        if name in values and name != other and "-" not in other
    ]


def compare_ablations(results: pd.DataFrame) -> list[Difference]:
    """Give each whole method minus each of its ablations: positive where the whole method is better."""
    return [
        Difference(method, ablation, fraction, paired_difference(values[method], values[name]))
        for fraction in fractions(results)
        for values in [values_by_variant(results, fraction)]
        for name in values
        for method, _, ablation in [name.partition("-")]
        if ablation and method in values
    ]


def compare_fractions(results: pd.DataFrame) -> list[Difference]:
    """Give each method at each fraction minus supervised training at each larger one: the labels that it saves."""
    values = {fraction: values_by_variant(results, fraction) for fraction in fractions(results)}
    return [
        Difference(name, f"{BASELINE} ({larger:g})", fraction, paired_difference(scores, values[larger][BASELINE]))
        for fraction in values
        for name, scores in values[fraction].items()
        for larger in values
        if "-" not in name and larger > fraction and BASELINE in values[larger]
    ]


def compare_classes(results: pd.DataFrame, candidates: Sequence[str]) -> list[Difference]:
    """Give the IoU per class of each candidate minus supervised training, at the smallest fraction that has both."""
    return _compare_classes(results, [(name, BASELINE) for name in candidates if name != BASELINE])


def compare_ablated_classes(results: pd.DataFrame) -> list[Difference]:
    """Give the IoU per class of each whole method minus each of its ablations, likewise."""
    names = [name for fraction in fractions(results) for name in values_by_variant(results, fraction) if "-" in name]
    return _compare_classes(results, [(name.partition("-")[0], name) for name in dict.fromkeys(names)])


def _compare_classes(results: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> list[Difference]:
    found = []
    for name, other in pairs:
        both = (
            at
            for at in fractions(results)
            for values in [values_by_variant(results, at)]
            if {name, other} <= values.keys() and paired_difference(values[name], values[other]).n
        )
        for fraction in list(both)[:1]:
            for column in (column for column in results.columns if column.startswith(IOU)):
                values = values_by_variant(results, fraction, column=column)
                title = f"{name} minus {other.removeprefix(f'{name}-')}"
                difference = paired_difference(values[name], values[other])
                found.append(Difference(title, column.removeprefix(IOU), fraction, difference))
    return found


def fractions(results: pd.DataFrame) -> list[float]:
    """Give the labelled fractions, the smallest first."""
    return sorted(results["fraction"].unique().tolist())


def show_score(summary: Summary) -> str:
    """Write mean ± standard deviation; one value has no deviation, and none is a dash."""
    if not summary.n:
        return "–"
    return f"{summary.mean:.1f}" + ("" if math.isnan(summary.deviation) else f" ± {summary.deviation:.1f}")


def show_difference(summary: Summary) -> str:
    """Write a difference in points with its interval, where there is one, and the number of pairs."""
    if not summary.n:
        return "–"
    interval = "" if math.isnan(summary.low) else f" [{signed(summary.low)}, {signed(summary.high)}]"
    return f"{signed(summary.mean)}{interval}, n={summary.n}"
