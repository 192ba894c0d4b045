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

T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)
"""Two-sided 95 % quantiles of Student's t by degrees of freedom, from 1; the last serves for more: it is wider."""


class Summary(NamedTuple):
    """Of several values; NaN where there are too few of them."""

    n: int
    mean: float
    deviation: float
    """Standard deviation of the sample, with n − 1."""
    low: float
    high: float
    """Ends of the interval of the mean."""

    @property
    def sign(self) -> int:
        """1 or −1 where the interval leaves out 0 on that side, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def summarize(values: Sequence[float] | pd.Series) -> Summary:
    """Summarize values; those that are NaN, of failed runs, are left out."""
    array = np.asarray(values, dtype=float)
    array = array[~np.isnan(array)]
    n = len(array)
    mean = float(array.mean()) if n else math.nan
    deviation = float(array.std(ddof=1)) if n > 1 else math.nan
    half = T95[min(n - 1, len(T95)) - 1] * deviation / math.sqrt(n) if n > 1 else math.nan
    return Summary(n, mean, deviation, mean - half, mean + half)


def paired_difference(values: pd.Series, others: pd.Series) -> Summary:
    """Summarize ``values - others``, both by seed, over the seeds that both have."""
    return summarize(values - others)
