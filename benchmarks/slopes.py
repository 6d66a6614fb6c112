"""Whether something that was sampled again and again grows: least squares with its error, and the rule for "flat".

It measures nothing; see `soak`. Samples that follow one another are alike, so a straight line's usual error is too
small; it is widened by how alike its residuals are (as an autoregressive process of first order).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# Two-sided 95 % of a normal distribution; there are hundreds of samples.
_SURE = 1.96
_MOST_ALIKE = 0.99


@dataclass(frozen=True, slots=True)
class Slope:
    """Of a straight line.

    Attributes:
        value: growth for each unit of the abscissa.
        error: the half of its 95 % interval.
    """

    value: float
    error: float

    @property
    def at_most(self) -> float:
        """What it does not exceed with 97.5 % confidence, which is the upper end of the interval."""
        return self.value + self.error


def slope(places: Sequence[float], values: Sequence[float]) -> Slope:
    """The line of least squares through values at places; at least three, of which not all are the same."""
    line = statistics.linear_regression(places, values)
    residuals = [value - (line.slope * place + line.intercept) for place, value in zip(places, values, strict=True)]
    squares = sum(residual**2 for residual in residuals)
    middle = statistics.fmean(places)
    spread = sum((place - middle) ** 2 for place in places)
    alike = sum(before * after for before, after in pairwise(residuals)) / squares if squares else 0.0
    alike = min(max(alike, 0.0), _MOST_ALIKE)
    error = math.sqrt(squares / (len(places) - 2) / spread * (1 + alike) / (1 - alike))
    return Slope(line.slope, _SURE * error)


def verdict(found: Slope, at_most: float) -> str:
    """In words: flat, when the upper end of the interval is not above the limit; grows, when the lower end is."""
    if found.at_most <= at_most:
        return "flat"
    return "grows" if found.value - found.error > at_most else "unclear"


def marks(values: Sequence[float]) -> list[float]:
    """At the start, after each quarter and at the end: the median of a twentieth of the samples there."""
    width = max(1, len(values) // 20)
    last = len(values) - width
    return [statistics.median(values[start : start + width]) for start in (round(last * mark / 4) for mark in range(5))]
