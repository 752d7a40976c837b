"""Closed forms of the risk: by hand, against each other, against integrals of the spectrum, and against simulations."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from robustcourse import Estimate
from robustcourse.double_descent import (
    finite_risk,
    misspecified_risk,
    optimal_ridge_risk,
    ridge,
    risk,
    simulate_risk,
)

few = settings(deadline=None, max_examples=60)
gammas, variances = st.floats(0.01, 50.0), st.floats(0.0, 10.0)
GAMMAS = [0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 1.4, 1.6, 2.0, 2.5, 3.0, 5.0]  # not near 1, where n = 60 is not infinite
N = 60


def test_by_hand():
    assert risk([0.5, 0.8, 1.25, 2.0], signal=3.0, noise=2.0).tolist() == pytest.approx([2, 8, 8.6, 3.5])
    assert risk(1.0).item() == math.inf
    assert risk([0.5, 1.0, 2.0], noise=0.0).tolist() == [0, 0, 0.5]
    assert misspecified_risk(2.0, 0.5, signal=2.0, noise=1.0).item() == pytest.approx(1 + 0.5 + 2)
    assert optimal_ridge_risk(1.0).item() == pytest.approx((5**0.5 - 1) / 2)  # m² + m = 1
    assert finite_risk(10, 4, noise=5.0) == pytest.approx(4)
    assert finite_risk(4, 10, signal=5.0) == pytest.approx(3 + 4 / 5)
    assert [finite_risk(10, p) for p in (9, 10, 11)] == [math.inf] * 3
    assert [finite_risk(10, p, noise=0.0) for p in (9, 10, 11)] == pytest.approx([0, 0, 1 / 11])


def test_shapes_and_precision():
    for gamma in (0.5, [0.5], torch.tensor([[0.5, 2.0]])):
        for formula in (risk, optimal_ridge_risk):
            assert formula(gamma).shape == torch.as_tensor(gamma).shape
            assert formula(gamma).dtype == torch.float64


@few
@given(gammas, variances, variances)
def test_the_best_penalty_is_never_worse_than_none_nor_than_saying_nothing(gamma, signal, noise):
    best = optimal_ridge_risk(gamma, signal, noise).item()
    assert -1e-9 <= best <= min(risk(gamma, signal, noise).item(), signal) + 1e-9
    # There is no peak: more to learn with as many examples is harder, and that is all.
    assert best <= optimal_ridge_risk(1.1 * gamma, signal, noise).item() + 1e-9


@few
@given(gammas, st.floats(0.0, 1.0), variances, variances)
def test_what_the_model_cannot_see_is_noise(gamma, captured, signal, noise):
    found = misspecified_risk(gamma, captured, signal, noise).item()
    assert found >= (1 - captured) * signal - 1e-9
    assert misspecified_risk(gamma, 1.0, signal, noise).item() == risk(gamma, signal, noise).item()
    assert misspecified_risk(gamma, 0.0, signal, noise).item() == pytest.approx(
        signal + risk(gamma, 0.0, signal + noise).item()
    )


@pytest.mark.parametrize("gamma", [0.3, 0.9, 1.1, 4.0])
@pytest.mark.parametrize("noise", [0.1, 2.0])
def test_the_best_ridge_is_the_least_of_integrals_over_the_marchenko_pastur_law(gamma, noise):
    signal, low, high = 1.5, (1 - gamma**0.5) ** 2, (1 + gamma**0.5) ** 2

    def law(v):
        return math.sqrt(max(0.0, (high - v) * (v - low))) / (2 * math.pi * gamma * v)

    def mean_risk(penalty):  # bias and variance of each direction, with eigenvalue v of xᵀx / n
        def each(v):
            return law(v) * (signal * penalty**2 + noise * gamma * v) / (v + penalty) ** 2

        return integrate.quad(each, low, high, limit=200)[0] + signal * max(0.0, 1 - 1 / gamma)

    best = noise * gamma / signal
    assert optimal_ridge_risk(gamma, signal, noise).item() == pytest.approx(mean_risk(best), rel=1e-6)
    assert mean_risk(best) < min(mean_risk(0.9 * best), mean_risk(1.1 * best))
    assert risk(gamma, signal, noise).item() == pytest.approx(mean_risk(1e-9), rel=1e-4)


@few
@given(gammas.filter(lambda gamma: abs(gamma - 1) > 0.01), variances, variances)
def test_a_large_problem_has_the_risk_of_an_infinite_one(gamma, signal, noise):
    n = 10**7
    p = round(gamma * n)
    assert finite_risk(n, p, signal, noise) == pytest.approx(risk(p / n, signal, noise).item(), rel=1e-4, abs=1e-12)
    assert finite_risk(100, 90) == pytest.approx(1.1111 * risk(0.9).item(), rel=1e-4)


def test_simulations_agree_with_the_formulas():
    close = {"infinite": 0, "finite": 0, "best": 0}
    for gamma in GAMMAS:
        p = round(gamma * N)
        measured = Estimate.mean(simulate_risk(N, p, 1.0, 0.25, draws=40, seed=p), unit="")
        tuned = Estimate.mean(simulate_risk(N, p, 1.0, 0.25, penalty=0.25 * p, draws=40, seed=p), unit="")
        close["infinite"] += measured.low <= risk(p / N, 1.0, 0.25).item() <= measured.high
        close["finite"] += measured.low <= finite_risk(N, p, 1.0, 0.25) <= measured.high
        close["best"] += tuned.low <= optimal_ridge_risk(p / N, 1.0, 0.25).item() <= tuned.high
    # Each interval misses in one of twenty cases; three of twelve and more would be chance once in fifty.
    assert min(close.values()) >= 10, close


@pytest.mark.parametrize("p", [50, 70])
def test_near_the_threshold_the_finite_formula_holds_and_the_limit_does_not(p):
    measured = simulate_risk(N, p, 0.0, 1.0, draws=400)
    error = measured.std() / 20
    assert abs(measured.mean() - finite_risk(N, p, 0.0)) < 3 * error
    assert finite_risk(N, p, 0.0) > 1.1 * risk(p / N, 0.0).item()


def test_a_simulation_with_inputs_that_the_model_does_not_see():
    n, seen, hidden, risks = 40, 20, 30, []
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        z, beta, chance = (torch.randn(*s, generator=generator).double() for s in ((n, 50), (50,), (n,)))
        beta /= torch.cat([beta[:seen].norm().expand(seen), beta[seen:].norm().expand(hidden)])  # 1 of 2 is captured
        risks.append((ridge(z[:, :seen], z @ beta + 0.5 * chance) - beta[:seen]).square().sum() + 1)
    found = torch.stack(risks)
    finite = 1 + finite_risk(n, seen, 1.0, 1.25)
    assert abs(found.mean() - finite) < 3 * found.std() / 300**0.5
    assert misspecified_risk(seen / n, 0.5, 2.0, 0.25).item() == pytest.approx(1 + risk(seen / n, 1.0, 1.25).item())


def test_simulations_repeat_and_differ():
    first, again, other = (simulate_risk(10, 20, draws=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert len({*first.tolist(), *other.tolist()}) == 6
    assert simulate_risk(10, 5, noise=0.0, draws=2).tolist() == pytest.approx([0, 0], abs=1e-20)
    assert simulate_risk(10, 5, signal=0.0, noise=0.0, draws=2).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: risk(0.0), "gamma must be finite and > 0, got 0.0"),
        (lambda: risk([0.5, -1.0]), r"gamma must be finite and > 0, got \[0.5, -1.0\]"),
        (lambda: optimal_ridge_risk(math.nan), "gamma must be finite and > 0, got nan"),
        (lambda: misspecified_risk(-2.0, 0.5), "gamma must be finite and > 0, got -2.0"),
        (lambda: misspecified_risk(2.0, 1.5), r"captured must be in \[0, 1\], got 1.5"),
        (lambda: risk(0.5, signal=-1.0), "signal must be a finite number >= 0, got -1.0"),
        (lambda: optimal_ridge_risk(0.5, noise=-1.0), "noise must be a finite number >= 0, got -1.0"),
        (lambda: finite_risk(5, 4, noise=math.inf), "noise must be a finite number >= 0, got inf"),
        (lambda: finite_risk(0, 4), "n and p must be >= 1, got n=0, p=4"),
        (lambda: simulate_risk(4, 0), "n and p must be >= 1, got n=4, p=0"),
        (lambda: simulate_risk(4, 4, draws=0), "draws must be >= 1, got 0"),
        (lambda: simulate_risk(4, 4, penalty=-1.0), "penalty must be a finite number >= 0, got -1.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
