"""All widths and all penalties against one at a time, and the peak and what removes it."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcourse import load
from robustcourse.double_descent import RandomFeatures, effective_dimension, every_penalty, every_width, one_hot, ridge

few = settings(deadline=None, max_examples=40)

KINDS = ["fourier", "relu"]
DATA = load("digits").to("cpu")
N = 120
WIDTHS = [1, 5, 20, 60, 100, 114, 118, 119, 120, 121, 122, 126, 140, 200, 400, 1000]
AT = WIDTHS.index(N)


@cache
def problem(kind="fourier", noise=0.2, n=N):
    """Features, targets and test features of digits, some of them with a wrong label."""
    train, test = DATA.train[:n], DATA.test
    features = RandomFeatures(64, WIDTHS[-1], kind, center=train.x.mean(0))
    y = torch.where(torch.arange(n) < noise * n, (train.y + 1) % 10, train.y)
    return features(train.x), one_hot(y, 10), features(test.x)


def errors(path):
    """(T, K) mean squared error of each output, and (T,) share of test images misread."""
    truth = one_hot(DATA.test.y, 10)
    return (path.predictions - truth).square().mean(1), (path.predictions.argmax(2) != DATA.test.y).double().mean(1)


def assert_one_at_a_time(features, targets, test, widths, penalties, tolerance=1e-8):
    path = every_width(features, targets, test, widths, penalties)
    each = penalties if isinstance(penalties, list) else [penalties] * len(widths)
    for t, (p, penalty) in enumerate(zip(widths, each, strict=True)):
        w = ridge(features[:, :p], targets, penalty) if penalty else torch.linalg.pinv(features[:, :p]) @ targets
        expected = test[:, :p] @ w
        assert path.weights[t].shape == w.shape
        assert (path.predictions[t] - expected).abs().max() <= tolerance * expected.abs().max(), (p, penalty)
        assert (path.weights[t] - w).norm() <= tolerance * w.norm(), (p, penalty)
        assert float(path.norms[t]) == pytest.approx(float(w.norm()), rel=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("penalty", [0.0, 1e-13, 1e-6, 1.0, 100.0])
def test_all_widths_are_what_one_at_a_time_gives(kind, penalty):
    assert_one_at_a_time(*problem(kind), WIDTHS, penalty)


def test_some_widths_and_a_penalty_for_each():
    features, targets, test = problem()
    assert_one_at_a_time(features, targets, test, [3], 0.0)
    assert_one_at_a_time(features, targets, test, [300, 301], 0.0)
    assert_one_at_a_time(features, targets, test, WIDTHS, [0.01 * p for p in WIDTHS])
    assert_one_at_a_time(features, targets, test, [10, 50, 70, 200, 300], [0.0, 1.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize("case", ["dead", "twins", "scaled", "same images", "nothing"])
def test_features_that_depend_on_each_other(case):
    features, targets, test = (table.clone() for table in problem())
    for table in (features, test):
        if case == "dead":
            table[:, [0, 7, 50]] = 0
        elif case == "twins":
            table[:, 40:80] = table[:, :40]
        elif case == "scaled":
            table *= torch.logspace(-3, 3, table.shape[1])
        elif case == "nothing":
            table *= 0
    if case == "same images":
        features[60:] = features[:60]
    for penalty in (0.0, 1.0):
        assert_one_at_a_time(features, targets, test, WIDTHS, penalty, tolerance=1e-7)


@few
@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 3), st.sampled_from([0.0, 0.1]), st.integers(0, 2**32))
def test_any_sizes(n, p, k, penalty, seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = ((n, p), (n, k), (4, p))
    features, targets, test = (torch.randn(*size, generator=generator).double() for size in sizes)
    assert_one_at_a_time(features, targets, test, list(range(1, p + 1)), penalty, tolerance=1e-6)


@pytest.mark.parametrize("p", [60, N, 400])
def test_all_penalties_are_what_one_at_a_time_gives(p):
    features, targets, test = problem()
    penalties = [1.0, 0.0, 1e-5, 0.1, 1000.0]
    path = every_penalty(features[:, :p], targets, test[:, :p], penalties)
    for t, penalty in enumerate(penalties):
        w = ridge(features[:, :p], targets, penalty)
        torch.testing.assert_close(path.weights[t], w, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(path.predictions[t], test[:, :p] @ w, rtol=1e-9, atol=1e-9)
    assert path.norms.argsort(descending=True).tolist() == [1, 2, 3, 0, 4]  # the larger the penalty, the shorter


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_every_output_peaks_where_there_are_as_many_weights_as_examples(kind, noise):
    path = every_width(*problem(kind, noise), WIDTHS)
    squared, misread = errors(path)
    for values in (path.norms, misread, *squared.T):  # K outputs: pK weights meet nK equations at p = n
        assert abs(WIDTHS[2 + int(values[2:].argmax())] - N) <= 0.05 * N  # one feature alone reads nothing
    assert misread[AT] > 0.5 > 0.3 > misread[-1]
    assert path.norms[AT] > 10 * path.norms[-1]
    features, targets, test = problem(kind, noise)
    one = every_width(features, targets[:, :1], test, WIDTHS)
    torch.testing.assert_close(one.predictions[..., 0], path.predictions[..., 0], rtol=1e-6, atol=1e-6)


def test_the_peak_moves_with_the_number_of_examples():
    for n in (60, 100):
        path = every_width(*problem(n=n), WIDTHS)
        assert WIDTHS[int(path.norms.argmax())] == n


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_penalty_removes_the_peak(kind):
    features, targets, test = problem(kind)
    ladder = [0.0, *torch.logspace(-1, 4, 11).tolist()]
    tables = torch.stack([errors(every_width(features, targets, test, WIDTHS, each))[0].sum(1) for each in ladder])
    plain, best = tables[0], tables.amin(0)
    assert plain[AT] > 20 * best[AT]
    # Not only lower: with the best penalty, a wider model is never worse, but for a little chance.
    assert (best[1:] < 1.03 * best[:-1].cummin(0).values).all()
    # A penalty leaves fewer weights free than there are examples.
    assert effective_dimension(features, ladder[int(tables[:, -1].argmin())]) < N


FEATURES, TARGETS, TEST = (torch.ones(*size).double() for size in ((4, 6), (4, 2), (3, 6)))
BAD = {
    "widths must grow, from at least 1 to at most 6, got \\[0, 2\\]": ([0, 2], 0.0),
    "widths must grow, from at least 1 to at most 6, got \\[2, 7\\]": ([2, 7], 0.0),
    "widths must grow, from at least 1 to at most 6, got \\[3, 3\\]": ([3, 3], 0.0),
    "widths must grow, from at least 1 to at most 6, got \\[\\]": ([], 0.0),
    "penalty must be one number, or one for each of 2 widths, got 3": ([2, 3], [1.0, 2.0, 3.0]),
    "penalty must be a finite number >= 0, got -1": ([2], -1.0),
    "penalty must be a finite number >= 0, got nan": ([2, 3], [0.0, math.nan]),
}


@pytest.mark.parametrize("message", BAD)
def test_widths_and_penalties_that_are_refused(message):
    with pytest.raises(ValueError, match=message):
        every_width(FEATURES, TARGETS, TEST, *BAD[message])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": FEATURES.float()}, TypeError, "features must be a float64 tensor, got torch.float32"),
        ({"targets": TARGETS[:, 0]}, ValueError, r"targets must be a matrix that is not empty, got shape \(4,\)"),
        ({"targets": TARGETS[:3]}, ValueError, "targets must have one row for each of the 4 rows of features, got 3"),
        ({"test_features": TEST * math.inf}, ValueError, "test_features must be finite"),
        ({"test_features": TEST[:, :5]}, ValueError, "test_features must have 6 columns like features, got 5"),
    ],
)
def test_tables_that_are_refused(change, error, message):
    tables = {"features": FEATURES, "targets": TARGETS, "test_features": TEST, **change}
    for ask in (every_width, every_penalty):
        with pytest.raises(error, match=message):
            ask(*tables.values(), [1])


def test_a_negative_penalty_among_many_is_refused():
    with pytest.raises(ValueError, match="penalty must be a finite number >= 0, got -2"):
        every_penalty(FEATURES, TARGETS, TEST, [1.0, -2.0])
