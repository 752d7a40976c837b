"""Intervals against known values, their coverage, and how they print."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from robustcourse import Estimate


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        # From Wilson's formula: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n) with z = 1.959964.
        (263, 360, 0.68247, 0.77377),
        (5, 10, 0.23659, 0.76341),
        (0, 10, 0.0, 0.27753),
        (10, 10, 0.72247, 1.0),
        (1, 1, 0.20655, 1.0),
    ],
)
def test_wilson_interval_at_known_values(hits, n, low, high):
    e = Estimate.proportion([True] * hits + [False] * (n - hits))
    assert (e.value, e.low, e.high) == pytest.approx((hits / n, low, high), abs=1e-5)
    assert (e.n, e.unit, e.interval) == (n, "%", "Wilson 95 %")
    assert 0 <= e.low <= e.value <= e.high <= 1


def test_wilson_interval_covers_the_truth_about_as_often_as_it_says():
    n, truths = 40, np.linspace(0.05, 0.95, 91)
    intervals = [Estimate.proportion(np.arange(n) < hits) for hits in range(n + 1)]
    low, high = np.array([(e.low, e.high) for e in intervals]).T
    covered = (low[:, None] <= truths) & (truths <= high[:, None])
    coverage = (stats.binom.pmf(np.arange(n + 1)[:, None], n, truths) * covered).sum(0)  # exact, nothing is drawn
    assert coverage.mean() == pytest.approx(0.95, abs=0.01)
    assert coverage.min() > 0.9


def test_t_interval_by_hand():
    e = Estimate.mean([1.0, 2.0, 3.0], unit="s")
    reach = 4.302653 * 1 / 3**0.5  # t of 2 degrees of freedom, standard deviation 1, three values
    assert (e.value, e.low, e.high) == pytest.approx((2, 2 - reach, 2 + reach), abs=1e-6)
    assert (e.n, e.observed, e.interval) == (3, "seeds", "Student t 95 %")


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate.proportion([True] * 263 + [False] * 97), "73.1 % [68.2, 77.4] (n = 360)"),
        (Estimate.mean([0.98, 0.99, 0.97]), "98.0 % [95.5, 100.5] (n = 3 seeds)"),
        (Estimate(0.021, 0.017, 0.025, 5, "points", "seeds"), "+2.1 points [+1.7, +2.5] (n = 5 seeds)"),
        (Estimate(-0.021, -0.05, 0.008, 5, "points", "seeds"), "-2.1 points [-5.0, +0.8] (n = 5 seeds)"),
        (Estimate(12.345, 10, 1234.5, 4, "s", "runs"), "12.3 s [10, 1.23e+03] (n = 4 runs)"),
        (Estimate(2.5, 2, 3, 4, ""), "2.5 [2, 3] (n = 4)"),
    ],
)
def test_an_estimate_prints_its_value_interval_and_n(estimate, text):
    assert str(estimate) == repr(estimate) == text


def test_a_proportion_counts_booleans_only():
    with pytest.raises(TypeError, match="hits must be booleans, one for each example, got float64"):
        Estimate.proportion([0.2, 0.9])


def test_no_examples_give_no_proportion():
    with pytest.raises(ValueError, match="hits must hold at least one example, got none"):
        Estimate.proportion([])


@pytest.mark.parametrize("values", [[], [0.5], [0.5, float("nan")], [0.5, float("inf")], [[0.5, 0.6], [0.7, 0.8]]])
def test_a_mean_needs_two_finite_numbers(values):
    with pytest.raises(ValueError, match="values must be at least two finite numbers, for one gives no interval; got"):
        Estimate.mean(values)
