"""Gradient flow: where it begins and ends, that small steps follow it, the bump, and what removes it."""

from __future__ import annotations

import math

import pytest
import torch

from robustcourse.double_descent import TwoScale, finite_risk, ridge

TIMES = torch.logspace(-1, 6, 50)
SMALL = TwoScale(examples=12, fast=5, slow=3, scale=0.3)


def rise(curve):
    """How far a curve climbs above the lowest that it has been."""
    return float((curve - curve.cummin(0).values).max())


def test_data_are_as_described():
    task = TwoScale(examples=400, fast=3, slow=2, scale=0.1, fast_signal=2.0, slow_signal=0.5, noise=0.2)
    x, y, beta = task.sample(draws=50, seed=1)
    assert (x.shape, y.shape, beta.shape) == ((50, 400, 5), (50, 400), (50, 5))
    assert task.spread.tolist() == [1, 1, 1, 0.1, 0.1]
    torch.testing.assert_close(x.flatten(0, 1).std(0), task.spread, rtol=0.03, atol=0.0)
    parts = (beta * task.spread).square()
    torch.testing.assert_close(parts[:, :3].sum(1), torch.full((50,), 2.0).double())
    torch.testing.assert_close(parts[:, 3:].sum(1), torch.full((50,), 0.5).double())
    left = y - (x @ beta[..., None])[..., 0]
    assert float(left.var()) == pytest.approx(0.2, rel=0.05)
    assert torch.equal(task.sample(50, seed=1)[0], x)
    assert not torch.equal(task.sample(50, seed=2)[0], x)
    assert len(beta[:, 0].unique()) == 50


@pytest.mark.parametrize("penalty", [0.0, 0.2])
@pytest.mark.parametrize("equal_steps", [False, True])
def test_small_steps_of_gradient_descent_follow_the_flow(penalty, equal_steps):
    (x, y, beta), spread, step = SMALL.sample(3, seed=4), SMALL.spread, 1e-3
    size = step / (spread**2 if equal_steps else torch.ones(8))
    decay = penalty * (spread**2 if equal_steps else torch.ones(8))  # of weights in the units in which steps are equal
    w, walked = torch.zeros_like(beta), []
    for _ in range(3):
        for _ in range(1000):
            missed = (x @ w[..., None])[..., 0] - y
            w = w - size * ((missed[:, None] @ x)[:, 0] / 12 + decay * w)
        walked.append(((w - beta) * spread).square().sum(1))
    flow = SMALL.risk([1.0, 2.0, 3.0], penalty, equal_steps, draws=3, seed=4)
    torch.testing.assert_close(flow, torch.stack(walked, 1), rtol=1e-2, atol=0.0)


@pytest.mark.parametrize("penalty", [0.0, 0.2])
@pytest.mark.parametrize("task", [SMALL, TwoScale(examples=6, fast=5, slow=3, scale=0.3)], ids=["p < n", "p > n"])
def test_it_begins_at_zero_and_ends_at_ridge(task, penalty):
    (x, y, beta), n = task.sample(4, seed=2), task.examples
    risks = task.risk([0.0, math.inf], penalty, draws=4, seed=2)
    torch.testing.assert_close(risks[:, 0], torch.full((4,), task.fast_signal + task.slow_signal).double())
    ends = [(task.spread * (ridge(a, b, n * penalty) - c)).square().sum() for a, b, c in zip(x, y, beta, strict=True)]
    torch.testing.assert_close(risks[:, 1], torch.stack(ends))


def test_the_end_is_the_known_risk_of_least_squares():
    found = TwoScale().risk([math.inf], draws=200)[:, 0]
    assert abs(found.mean() - finite_risk(100, 80, noise=0.1)) < 3 * found.std() / 200**0.5


def test_the_risk_falls_rises_and_falls_again():
    curve = TwoScale().risk(TIMES).mean(0)
    first, bump = curve[:20].min(), curve[20:].max()
    assert curve[0] > 1.5 * first
    assert bump > 1.5 * first
    assert curve[-1] < 0.5 * first
    assert rise(curve) > 1


def test_equal_steps_remove_the_bump_and_a_penalty_does_with_the_second_descent():
    plain, equal, held, both = (
        TwoScale().risk(TIMES, **options).mean(0)
        for options in ({}, {"equal_steps": True}, {"penalty": 0.3}, {"penalty": 0.1, "equal_steps": True})
    )
    assert rise(equal) < 0.1 * rise(plain)
    assert equal[-1] == pytest.approx(float(plain[-1]), rel=0.05)  # without a penalty, both end at least squares
    assert rise(held) < 0.01 * rise(plain)
    assert held[-1] > 1  # the slow inputs have not been learned
    assert rise(both) < 0.02 * rise(plain)
    assert both[-1] < 1


def test_no_bump_without_two_scales():
    assert rise(TwoScale(scale=1.0).risk(TIMES).mean(0)) < 0.1 * rise(TwoScale().risk(TIMES).mean(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"examples": 0}, "examples must be >= 1, got 0"),
        ({"fast": 0}, "fast must be >= 1, got 0"),
        ({"slow": -1}, "slow must be >= 1, got -1"),
        ({"scale": 0.0}, r"scale must be in \(0, 1\], got 0.0"),
        ({"scale": math.nan}, r"scale must be in \(0, 1\], got nan"),
        ({"fast_signal": -1.0}, "fast_signal must be a finite number >= 0, got -1.0"),
        ({"slow_signal": math.inf}, "slow_signal must be a finite number >= 0, got inf"),
        ({"noise": -0.1}, "noise must be a finite number >= 0, got -0.1"),
    ],
)
def test_tasks_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TwoScale(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"times": [1.0, -1.0]}, r"times must be a list of numbers >= 0, got \[1.0, -1.0\]"),
        ({"times": [math.nan]}, r"times must be a list of numbers >= 0, got \[nan\]"),
        ({"times": 1.0}, "times must be a list of numbers >= 0, got 1.0"),
        ({"times": [1.0], "penalty": -1.0}, "penalty must be a finite number >= 0, got -1.0"),
        ({"times": [1.0], "draws": 0}, "draws must be >= 1, got 0"),
    ],
)
def test_times_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SMALL.risk(**arguments)
