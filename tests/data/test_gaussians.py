"""Two Gaussians: the formulas against each other, against integrals known by hand, and against attacks on samples."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustcourse import FGSM, L2, PGD, Linf, TwoGaussians, accuracy, robust_accuracy

few = settings(deadline=None, max_examples=60)
seeds = st.integers(0, 2**32)
threats = st.builds(lambda kind, eps: kind(eps), st.sampled_from([Linf, L2]), st.floats(0, 0.05))

MU = torch.tensor([0.1, -0.05, 0.02, 0.0, 0.07, -0.03])
TASK = TwoGaussians(MU, sigma=0.05)


def task(seed, pixels=6):
    mu = 0.05 + 0.05 * torch.rand(pixels, generator=torch.Generator().manual_seed(seed))  # beyond any ε drawn above
    return TwoGaussians(mu * torch.randn(pixels, generator=torch.Generator().manual_seed(seed + 1)).sign(), 0.05)


def best(task, threat):
    """The weights of the best linear classifier: μ without what the attacker can take away (Bhagoji et al. 2019)."""
    mu = task.mu.double()
    return mu - threat.clip(mu[None])[0]


def classifier(w, b=0.0):
    """Logits ∓ (⟨w, x⟩ + b) / 2, with x measured from the middle of the box unless b says otherwise."""
    layer = nn.Linear(len(w), 2)
    layer.weight.data, layer.bias.data = torch.stack([-w, w]).float() / 2, torch.tensor([-b, b]).float() / 2
    return nn.Sequential(nn.Flatten(), layer).eval()


def test_known_errors():
    task = TwoGaussians(torch.tensor([0.03, 0.04]), sigma=0.05)  # ‖μ‖ = σ
    assert task.bayes_error() == pytest.approx(0.158655, abs=1e-6)  # Φ(−1)
    assert task.robust_error(Linf(0.0)) == pytest.approx(task.bayes_error())
    assert task.robust_error(L2(0.025)) == pytest.approx(0.308538, abs=1e-6)  # half of μ is left: Φ(−1/2)
    assert task.robust_error(Linf(0.03)) == pytest.approx(0.420740, abs=1e-6)  # (0, 0.01) is left: Φ(−1/5)
    assert task.robust_error(Linf(0.04)) == task.robust_error(L2(0.05)) == 0.5  # nothing is left: a coin
    # One axis alone, seen by the eye of a linear classifier with an offset: (Φ(−1.6) + Φ(0)) / 2 under ε = 0.
    assert task.linear_error(torch.tensor([0.0, 1.0]), -0.5 + 0.04, Linf(0.0)) == pytest.approx(0.277400, abs=1e-6)


@few
@given(seeds, threats)
def test_the_best_linear_classifier_attains_the_robust_error(seed, threat):
    two = task(seed)
    w = best(two, threat)
    assert two.linear_error(w, -0.5 * float(w.sum()), threat) == pytest.approx(two.robust_error(threat), rel=1e-6)


@few
@given(seeds, threats, st.floats(-0.2, 0.2))
def test_no_linear_classifier_beats_the_robust_error(seed, threat, shift):
    two = task(seed)
    near, anywhere = best(two, threat), torch.randn(6, generator=torch.Generator().manual_seed(seed)).double()
    for w in (anywhere, near + 0.01 * anywhere):
        assert two.linear_error(w, -0.5 * float(w.sum()) + shift, threat) >= two.robust_error(threat) - 1e-9


@few
@given(seeds, threats)
def test_an_attack_never_helps(seed, threat):
    two = task(seed)
    assert two.robust_error(threat) >= two.bayes_error()


@pytest.mark.parametrize("threat", [Linf(0.02), Linf(0.04), L2(0.03), L2(0.08)], ids=str)
@pytest.mark.parametrize("attack", [FGSM, PGD])
def test_attacks_on_samples_measure_what_the_formula_says(threat, attack):
    w = best(TASK, threat)
    split, model = TASK.sample(20_000, seed=1), classifier(20 * w / w.norm(), -10 * float((w / w.norm()).sum()))
    # Steps of ε cross the ball each time, so that the last one ends where the linear loss is largest.
    search = FGSM(threat) if attack is FGSM else PGD(threat, steps=20, step_size=threat.eps)
    e = robust_accuracy(model, split, search)
    assert e.low < 1 - TASK.robust_error(threat) < e.high


@pytest.mark.parametrize("threat", [Linf(0.0), Linf(0.03), L2(0.05)], ids=str)
def test_any_linear_classifier_errs_as_often_as_the_formula_says(threat):
    w, b = torch.tensor([1.0, 0.5, -0.5, 0.2, 1.0, 0.0]), -1.08
    e = robust_accuracy(classifier(20 * w, 20 * b), TASK.sample(20_000, seed=1), FGSM(threat))
    assert e.low < 1 - TASK.linear_error(w, b, threat) < e.high


def test_the_bayes_classifier_errs_as_often_as_the_formula_says():
    e = accuracy(classifier(MU, -0.5 * float(MU.sum())), TASK.sample(20_000, seed=1))
    assert e.low < 1 - TASK.bayes_error() < e.high


def test_samples_are_as_described():
    split, state = TASK.sample(20_000, seed=3), torch.get_rng_state()
    x = split.x.flatten(1)
    assert split.x.shape == (20_000, 1, 1, 6)
    assert split.y.bincount().tolist() == [10_000, 10_000]
    tolerance = 4 * 0.05 / 100  # four standard errors
    torch.testing.assert_close(x[split.y == 1].mean(0), 0.5 + MU, rtol=0.0, atol=tolerance)
    torch.testing.assert_close(x[split.y == 0].mean(0), 0.5 - MU, rtol=0.0, atol=tolerance)
    torch.testing.assert_close(x[split.y == 0].std(0), torch.full((6,), 0.05), rtol=0.0, atol=tolerance)
    assert torch.equal(TASK.sample(20_000, seed=3).x, split.x)
    assert not torch.equal(TASK.sample(20_000, seed=4).x, split.x)
    assert torch.equal(torch.get_rng_state(), state)


def test_training_and_test_examples_are_different_draws():
    data = TASK.dataset(10, seed=2)
    assert (len(data.train), len(data.test), data.classes, data.shape) == (10, 10, 2, (1, 1, 6))
    assert not torch.equal(data.train.x, data.test.x)
    # Neighbouring seeds share nothing either, or runs over seeds would train on each other's test examples.
    assert not torch.equal(TASK.dataset(10, seed=3).train.x, data.test.x)


@pytest.mark.parametrize(
    ("mu", "sigma", "message"),
    [
        (MU[None], 0.05, r"mu must be of shape \(d,\), got \(1, 6\)"),
        (MU, 0.0, "sigma must be > 0, got 0.0"),
        (MU, math.nan, "sigma must be > 0, got nan"),
        (MU, 0.1, r"max \|mu\| \+ 6 sigma must be at most 0.5 so that images stay in \[0, 1\], got 0.7"),
        (MU * math.nan, 0.05, r"max \|mu\| \+ 6 sigma must be at most 0.5"),
    ],
)
def test_distributions_that_are_refused(mu, sigma, message):
    with pytest.raises(ValueError, match=message):
        TwoGaussians(mu, sigma)


@pytest.mark.parametrize("w", [torch.zeros(6), torch.ones(2)])
def test_a_classifier_without_direction_or_of_another_shape_is_refused(w):
    with pytest.raises(ValueError, match=r"w must be a vector of shape \(6,\) other than zero, got"):
        TASK.linear_error(w, 0.0, Linf(0.1))


def test_no_examples_are_refused():
    with pytest.raises(ValueError, match="x must be a non-empty batch"):
        TASK.sample(0)
