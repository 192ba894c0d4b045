"""Intervals against numbers worked out by hand and the density of Student's t."""

import math

import numpy as np
import pandas as pd
import pytest

from igl_dt.reporting.study.statistics import T95, paired_difference, summarize


@pytest.mark.parametrize("degrees", [1, 2, 5, 20])
def test_quantiles_hold_95_percent_of_the_density(degrees: int) -> None:
    scale = math.gamma((degrees + 1) / 2) / (math.sqrt(degrees * math.pi) * math.gamma(degrees / 2))
    at = np.linspace(-T95[degrees - 1], T95[degrees - 1], 200_001)
    inside = np.trapezoid(scale * (1 + at**2 / degrees) ** (-(degrees + 1) / 2), at)
    assert inside == pytest.approx(0.95, abs=1e-4)


def test_a_summary_is_mean_deviation_and_interval() -> None:
    found = summarize([1.0, 2.0, 3.0, math.nan])  # the last one failed
    half = 4.303 / math.sqrt(3)
    assert found == pytest.approx((3, 2.0, 1.0, 2 - half, 2 + half))
    assert found.sign == 0
    assert summarize([2.0, 2.1, 2.2]).sign == 1


@pytest.mark.parametrize("values", [[], [1.0]])
def test_too_few_values_have_no_interval(values: list[float]) -> None:
    found = summarize(values)
    assert found.n == len(values)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.sign == 0


def test_more_values_than_the_table_has_get_its_last_quantile() -> None:
    found = summarize([0.0, 1.0] * 20)
    assert found.high - found.mean == pytest.approx(2.086 * found.deviation / math.sqrt(40))


def test_differences_are_paired_by_seed() -> None:
    """The seeds differ by far more than the methods do, and one is missing on each side."""
    values = pd.Series({0: 10.5, 1: 50.5, 2: 90.8, 3: 7.0})
    others = pd.Series({2: 90.0, 1: 50.0, 0: 10.0, 4: 8.0})
    found = paired_difference(values, others)
    assert found[:3] == pytest.approx((3, 0.6, math.sqrt(0.03)))
    assert found.sign == 1
