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


def test_when_nothing_varies_only_the_examples_count():
    for hit in (True, False):
        e, one_row = Estimate.over_seeds([[hit] * 50] * 4), Estimate.proportion([hit] * 50)
        assert (e.value, e.low, e.high) == pytest.approx((one_row.value, one_row.low, one_row.high))
    assert (e.n, e.unit, e.observed, e.interval) == (50, "%", "× 4 seeds", "seeds and examples, 95 %")


def wilson(p, n, z=1.959964):
    """The ends p at which (p̂ − p)² = z² p (1 − p) / n: roots of a quadratic, not the closed form of the package."""
    return np.sort(np.roots([1 + z**2 / n, -(2 * p + z**2 / n), p**2]))


def test_equal_models_are_one_model():
    hits = [True] * 30 + [False] * 10
    e = Estimate.over_seeds([hits] * 5)
    effective = 39 * (1.959964 / 2.022691) ** 2  # 40 examples with t of 39 degrees of freedom
    assert (e.low, e.high) == pytest.approx(wilson(0.75, effective), abs=1e-5)


def test_models_that_read_all_alike_or_nothing_are_counted_as_models():
    e = Estimate.over_seeds([[True] * 1000] * 3 + [[False] * 1000])
    effective = 3 * (1.959964 / 3.182446) ** 2  # 4 models with t of 3 degrees of freedom; their examples say nothing
    assert (e.low, e.high) == pytest.approx(wilson(0.75, effective), abs=1e-5)


def test_many_models_count_for_no_more_examples_than_there_are():
    e = Estimate.over_seeds(np.random.default_rng(0).random((10, 50)) < 0.5)  # 500 independent hits
    assert (e.low, e.high) == pytest.approx(wilson(e.value, 50), abs=1e-5)


def test_seeds_and_examples_add_up_by_hand():
    # Means of rows: 1/2, 0, of variance 1/8 over 2 rows. Means of columns: 1/2, 0, 1/2, 0, of variance 1/12 over 4.
    e = Estimate.over_seeds([[1, 0, 1, 0], [0, 0, 0, 0]])
    seeds, examples = 1 / 16, 1 / 48
    freedom = (seeds + examples) ** 2 / (seeds**2 / 1 + examples**2 / 3)
    reach = stats.t.isf(0.025, freedom) * (seeds + examples) ** 0.5
    assert (e.value, e.low, e.high) == pytest.approx((0.25, 0.25 - reach, 0.25 + reach))
    assert (e.n, e.unit, e.observed) == (4, "points", "× 2 seeds")
    mirrored = Estimate.over_seeds([[-1, 0, -1, 0], [0, 0, 0, 0]])
    assert (mirrored.low, mirrored.high) == pytest.approx((-e.high, -e.low))


def test_a_proportion_over_seeds_stays_inside_its_range():
    rng = np.random.default_rng(0)
    for chance in (0.001, 0.02, 0.5, 0.98, 0.999):
        for size in ((2, 2), (2, 40), (5, 100)):
            e = Estimate.over_seeds(rng.random(size) < chance)
            assert 0 <= e.low <= e.value <= e.high <= 1


def chance(logit):
    return 1 / (1 + np.exp(-logit))


def expected(mean, spread):
    """The mean of chance(N(mean, spread²)), by a sum over a fine grid."""
    z = np.linspace(-8, 8, 2001)
    return float(np.average(chance(mean + spread * z), weights=stats.norm.pdf(z)))


@pytest.mark.parametrize(
    ("seeds", "of_seeds", "of_examples"), [(5, 0.0, 2.0), (5, 0.3, 1.0), (5, 0.8, 0.5), (3, 0.2, 1.0)]
)
def test_the_interval_over_seeds_holds_for_other_seeds_and_other_examples(seeds, of_seeds, of_examples):
    rng, repeats, spread = np.random.default_rng(0), 1000, np.hypot(of_seeds, of_examples)
    truth = expected(1.0, spread), expected(1.0, spread) - expected(0.0, spread)
    covered = np.zeros(2)
    for _ in range(repeats):
        better, worse = (  # what is hard for one method need not be hard for the other
            rng.random((seeds, 100))
            < chance(mean + of_seeds * rng.standard_normal((seeds, 1)) + of_examples * rng.standard_normal(100))
            for mean in (1.0, 0.0)
        )
        estimates = Estimate.over_seeds(better), Estimate.over_seeds(better.astype(int) - worse)
        covered += [e.low <= value <= e.high for e, value in zip(estimates, truth, strict=True)]
    assert (covered / repeats >= 0.93).all()


@pytest.mark.parametrize(
    ("hits", "message"),
    [
        ([True, False], r"hits must be a table of at least 2 seeds and 2 examples, got shape \(2,\)"),
        ([[True, False]], r"at least 2 seeds and 2 examples, got shape \(1, 2\)"),
        ([[True], [False]], r"at least 2 seeds and 2 examples, got shape \(2, 1\)"),
        ([[[True] * 2] * 2] * 2, r"at least 2 seeds and 2 examples, got shape \(2, 2, 2\)"),
        ([], r"at least 2 seeds and 2 examples, got shape \(0,\)"),
        ([[0.5, 1], [0, 1]], r"hits must be booleans, or differences −1, 0 and 1, got values like \[0\.  0\.5 1\. \]"),
        ([[float("nan"), 1], [1, 1]], "hits must be booleans, or differences −1, 0 and 1, got values like"),
    ],
)
def test_what_is_no_table_of_hits_is_refused(hits, message):
    with pytest.raises(ValueError, match=message):
        Estimate.over_seeds(hits)


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate.proportion([True] * 263 + [False] * 97), "73.1 % [68.2, 77.4] (n = 360)"),
        (Estimate.mean([0.98, 0.99, 0.97]), "98.0 % [95.5, 100.5] (n = 3 seeds)"),
        (Estimate(0.021, 0.017, 0.025, 5, "points", "seeds"), "+2.1 points [+1.7, +2.5] (n = 5 seeds)"),
        (Estimate(-0.021, -0.05, 0.008, 5, "points", "seeds"), "-2.1 points [-5.0, +0.8] (n = 5 seeds)"),
        (Estimate.over_seeds([[True] * 10] * 3), "100.0 % [72.2, 100.0] (n = 10 × 3 seeds)"),
        (Estimate.over_seeds([[0] * 10] * 3), "+0.0 points [+0.0, +0.0] (n = 10 × 3 seeds)"),
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
