"""Means over seeds, and differences paired by seed, with t-intervals.

The interval of n values is mean ± t · s / √n with the two-sided 95 % quantile t of n − 1 degrees of freedom. It treats
seeds as a random sample and differences as roughly normal; with n = 3 it is wide (t = 4.30), as it has to be. One value
has no interval. Intervals are not corrected for the number of comparisons.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

CONFIDENCE = 0.95


class Summary(NamedTuple):
    """Of several values; NaN where there are too few of them."""

    n: int
    mean: float
    deviation: float
    """Of the sample, with n − 1."""
    low: float
    high: float
    """Ends of the interval of the mean."""

    @property
    def sign(self) -> int:
        """1 or −1 where the interval leaves out 0 on that side, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def t_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
    """Give the t with P(|T| ≤ t) = confidence, for a whole number of degrees of freedom.

    By bisection of the closed form of the probability (Abramowitz & Stegun, 26.7.3 and 26.7.4).

    Raises:
        ValueError: ``degrees`` is below 1, or ``confidence`` not between 0 and 1.
    """
    if degrees < 1 or not 0 < confidence < 1:
        raise ValueError(f"degrees must be at least 1 and confidence in (0, 1), not {degrees} and {confidence}")
    low, high = 0.0, math.pi / 2  # of θ = atan(t / √degrees)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _two_sided(middle, degrees) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _two_sided(theta: float, degrees: int) -> float:
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(2 + odd, degrees + 1, 2):
        total += term
        term *= cosine**2 * (k - 1) / k
    return 2 / math.pi * (theta + sine * total) if odd else sine * total


def summarize(values: Sequence[float] | pd.Series) -> Summary:
    """Summarize values; those that are NaN, of failed runs, are left out."""
    array = np.asarray(values, dtype=float)
    array = array[~np.isnan(array)]
    n = len(array)
    mean = float(array.mean()) if n else math.nan
    deviation = float(array.std(ddof=1)) if n > 1 else math.nan
    half = t_quantile(n - 1) * deviation / math.sqrt(n) if n > 1 else math.nan
    return Summary(n, mean, deviation, mean - half, mean + half)


def paired_difference(values: pd.Series, others: pd.Series) -> Summary:
    """Summarize ``values - others`` over the seeds that both have.

    Args:
        values: by seed.
        others: by seed.
    """
    return summarize((values - others).dropna())
