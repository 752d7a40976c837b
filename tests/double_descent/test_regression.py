"""Ridge and the shortest solution: by hand, by their conditions, against refits, and where they peak."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcourse.double_descent import effective_dimension, leave_one_out, one_hot, ridge

few = settings(deadline=None, max_examples=60)
sizes, seeds, penalties = st.integers(1, 9), st.integers(0, 2**32), st.sampled_from([0.0, 1e-3, 1.0, 50.0])
X, Y = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]).double(), torch.tensor([3.0, 4.0, 5.0]).double()


def draw(n, p, seed, rank=None, k=2):
    """x (n, p) of a rank, full if None, and y (n, k)."""
    generator = torch.Generator().manual_seed(seed)
    rank = min(n, p) if rank is None else min(n, p, rank)
    left, right, y = (torch.randn(*size, generator=generator).double() for size in ((n, rank), (rank, p), (n, k)))
    return (left @ right if rank < min(n, p) else torch.randn(n, p, generator=generator).double()), y


def refits(x, y, penalty):
    """What leaving one out means."""
    others = [torch.arange(len(x)) != i for i in range(len(x))]
    return torch.stack(
        [y[i] - x[i] @ (ridge(x[kept], y[kept], penalty) if kept.any() else 0 * x[i]) for i, kept in enumerate(others)]
    )


def test_by_hand():
    assert ridge(X, Y).tolist() == pytest.approx([3, 2])
    assert ridge(X, Y, 1.0).tolist() == pytest.approx([3 / 2, 8 / 5])  # each s y / (s² + λ)
    one = torch.ones(1, 4).double()
    assert ridge(one, 2 * one[0, :1]).tolist() == pytest.approx([0.5] * 4)  # of all w with Σw = 2 the shortest
    assert ridge(0 * X, Y).tolist() == [0, 0]
    assert effective_dimension(X) == pytest.approx(2)
    assert effective_dimension(X, 4.0) == pytest.approx(1 / 5 + 4 / 8)
    # Leaving out an example with a feature of its own, nothing is known of it; the last one has no feature at all.
    assert leave_one_out(X, Y).tolist() == pytest.approx([3, 4, 5])
    assert leave_one_out(torch.ones(3, 1).double(), Y).tolist() == pytest.approx([-1.5, 0, 1.5])  # from others' mean


@few
@given(sizes, sizes, seeds, st.none() | st.integers(1, 4), penalties)
def test_no_other_weights_are_better_or_as_good_and_shorter(n, p, seed, rank, penalty):
    x, y = draw(n, p, seed, rank)
    w = ridge(x, y, penalty)
    torch.testing.assert_close(x.mT @ (x @ w - y) + penalty * w, torch.zeros(p, 2).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(torch.linalg.pinv(x, rtol=1e-10) @ (x @ w), w, rtol=1e-8, atol=1e-10)  # no part unseen
    if not penalty and rank is None:
        torch.testing.assert_close(w, torch.linalg.pinv(x) @ y, rtol=1e-8, atol=1e-10)


@few
@given(sizes, sizes, seeds, penalties)
def test_each_output_is_a_regression_of_its_own(n, p, seed, penalty):
    x, y = draw(n, p, seed)
    for ask in (ridge, leave_one_out):
        together = ask(x, y, penalty)
        for column, alone in zip(together.mT, y.mT, strict=True):
            torch.testing.assert_close(ask(x, alone, penalty), column, rtol=1e-9, atol=1e-9)


@few
@given(sizes, sizes, seeds, st.none() | st.integers(1, 4), penalties)
def test_leaving_one_out_is_what_refits_say(n, p, seed, rank, penalty):
    x, y = draw(n, p, seed, rank)
    torch.testing.assert_close(leave_one_out(x, y, penalty), refits(x, y, penalty), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("p", [3, 12, 13, 14, 60])
@pytest.mark.parametrize("penalty", [0.0, 1e-9, 1.0])
def test_leaving_one_out_on_both_sides_of_the_threshold(p, penalty):
    x, y = draw(12, p, seed=p)
    torch.testing.assert_close(leave_one_out(x, y, penalty), refits(x, y, penalty), rtol=1e-6, atol=1e-8)


def test_leaving_one_out_of_twins_and_of_loners():
    x, _ = draw(8, 5, seed=0)
    twins = torch.cat([x, x[:3]])  # p < n, rows twice
    more = torch.cat([twins, 0 * twins], 1)  # p ≥ n, without more to see
    loner = torch.block_diag(x[:, :4], torch.ones(1, 1).double(), torch.zeros(1, 1).double())
    for case in (twins, more, loner):
        target = torch.arange(len(case)).double() ** 2
        torch.testing.assert_close(leave_one_out(case, target), refits(case, target, 0.0), rtol=1e-8, atol=1e-8)


@few
@given(sizes, sizes, seeds, st.sampled_from([1e-3, 1.0, 50.0]))
def test_the_effective_dimension_is_the_trace_of_the_hat_matrix(n, p, seed, penalty):
    x, _ = draw(n, p, seed)
    hat = x @ torch.linalg.solve(x.mT @ x + penalty * torch.eye(p).double(), x.mT)
    assert effective_dimension(x, penalty) == pytest.approx(float(hat.trace()))
    assert effective_dimension(x, penalty) < effective_dimension(x) == pytest.approx(min(n, p))


def test_with_a_fixed_width_more_examples_make_it_worse_until_there_are_as_many_as_weights():
    p, counts = 30, [10, 20, 30, 45, 90]
    risks = torch.zeros(len(counts), 2)
    for seed in range(20):
        x, chance = draw(90, p, seed, k=1)
        beta = torch.ones(p).double() / p**0.5
        y = x @ beta + 0.5 * chance[:, 0]
        for row, n in zip(risks, counts, strict=True):
            row += (
                torch.stack([(ridge(x[:n], y[:n], penalty) - beta).square().sum() for penalty in (0.0, 0.25 * p)]) / 20
            )
    plain, tuned = risks.mT.tolist()
    assert plain.index(max(plain)) == 2
    assert plain[2] > 3 * max(plain[:2] + plain[3:])
    assert tuned == sorted(tuned, reverse=True)  # with the best penalty, p σ² / r²


def test_one_hot_targets():
    targets = one_hot(torch.tensor([0, 2, 1, 0]), 3)
    assert targets.dtype == torch.float64
    assert (targets + 1 / 3).tolist() == torch.eye(3).double()[[0, 2, 1, 0]].tolist()


BAD = {
    "x must be a float64 tensor, got torch.float32; x.double": (TypeError, X.float(), Y, 0.0),
    "x must be a float64 tensor, got list": (TypeError, X.tolist(), Y, 0.0),
    "y must be a float64 tensor, got torch.int64": (TypeError, X, Y.long(), 0.0),
    "y must be a float64 tensor, got list": (TypeError, X, Y.tolist(), 0.0),
    r"x must be a matrix that is not empty, got shape \(3,\)": (ValueError, Y, Y, 0.0),
    r"x must be a matrix that is not empty, got shape \(3, 0\)": (ValueError, X[:, :0], Y, 0.0),
    r"y must be a matrix that is not empty, got shape \(1, 1, 3\)": (ValueError, X, Y[None, None], 0.0),
    "x must be finite, but it has NaN": (ValueError, X * math.nan, Y, 0.0),
    "y must be finite, but it has NaN": (ValueError, X, Y / 0, 0.0),
    "y must have one row for each of the 3 rows of x, got 2": (ValueError, X, Y[:2], 0.0),
    "penalty must be a finite number >= 0, got -1": (ValueError, X, Y, -1.0),
    "penalty must be a finite number >= 0, got nan": (ValueError, X, Y, math.nan),
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_refused(message):
    error, x, y, penalty = BAD[message]
    for ask in (ridge, leave_one_out):
        with pytest.raises(error, match=message):
            ask(x, y, penalty)
    if message.startswith(("x", "penalty")):
        with pytest.raises(error, match=message):
            effective_dimension(x, penalty)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.arange(2), "y must hold at least as many examples as there are classes, 3, got 2"),
        (torch.tensor([0, 1, 3]), r"y must hold labels in 0 … 2, got labels in 0 … 3"),
    ],
)
def test_labels_that_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        one_hot(y, 3)
    with pytest.raises(TypeError, match="y must be an int64 tensor of labels"):
        one_hot(y.double(), 3)
