"""A number with its interval: no accuracy in this course is ever shown without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A measured value and its 95 % interval.

    Args:
        value, low, high: the value and the ends of its interval, as plain numbers: an accuracy is between 0 and 1.
        n: how many independent observations stand behind it.
        unit: "%" (printed × 100), "points" (a difference of percentages, printed × 100 with its sign), or any other.
        observed: what n counts, for print: "" for test examples, "seeds" for repeated runs.
        interval: how the interval was made.
    """

    value: float
    low: float
    high: float
    n: int
    unit: str = "%"
    observed: str = ""
    interval: str = "Wilson 95 %"

    @classmethod
    def proportion(cls, hits: ArrayLike) -> Estimate:
        """The share of hits among independent examples, with Wilson's score interval (Wilson 1927).

        Unlike value ± 2 standard errors, it stays inside [0, 1] and is honest near 0 % and 100 %.

        Args:
            hits: (n,) booleans.

        Raises:
            TypeError: hits are not booleans.
            ValueError: no examples.
        """
        hits = np.asarray(hits)
        if hits.size and hits.dtype != bool:
            raise TypeError(f"hits must be booleans, one for each example, got {hits.dtype}")
        if not hits.size:
            raise ValueError("hits must hold at least one example, got none")
        test = stats.binomtest(int(hits.sum()), hits.size)
        low, high = test.proportion_ci(0.95, method="wilson")
        return cls(test.statistic, float(low), float(high), hits.size)

    @classmethod
    def mean(cls, values: Sequence[float] | ArrayLike, unit: str = "%", observed: str = "seeds") -> Estimate:
        """The mean over repeated runs, with Student's t interval.

        Args:
            values: (n,) one number a run, n ≥ 2.

        Raises:
            ValueError: fewer than two values, or one that is not finite.
        """
        values = np.asarray(values, dtype=float)
        if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
            raise ValueError(f"values must be at least two finite numbers, for one gives no interval; got {values}")
        value, error = float(values.mean()), float(stats.sem(values))
        reach = float(stats.t.ppf(0.975, values.size - 1)) * error
        return cls(value, value - reach, value + reach, values.size, unit, observed, "Student t 95 %")

    def __str__(self) -> str:
        factor, digits = (
            (100, "+.1f" if self.unit == "points" else ".1f") if self.unit in {"%", "points"} else (1, ".3g")
        )
        value, low, high = (format(factor * number, digits) for number in (self.value, self.low, self.high))
        unit, observed = (f" {word}" if word else "" for word in (self.unit, self.observed))
        return f"{value}{unit} [{low}, {high}] (n = {self.n}{observed})"

    __repr__ = __str__
