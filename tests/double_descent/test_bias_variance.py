"""The parts of the error: known ones, that they add up, and those of linear regression, which have formulas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcourse.double_descent import Parts, bias_variance, finite_risk, ridge


def normal(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed)).double()


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 2**32))
def test_the_parts_add_up_to_the_mean_squared_error(draws, labels, seed):
    predictions, truth = normal(draws, labels, 3, 6, 2, seed=seed), normal(6, 2, seed=seed + 1)
    parts = bias_variance(predictions, truth)
    assert parts.bias.shape == (3, 6)
    torch.testing.assert_close(parts.error, (predictions - truth).square().sum(-1).mean((0, 1)))
    torch.testing.assert_close(parts.variance, parts.sampling + parts.noise)


def test_by_hand():
    predictions = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).double().view(2, 2, 1, 1)  # means 2 and 6, grand mean 4
    parts = bias_variance(predictions, torch.ones(1, 1).double())
    # Within a draw the variance is 2; between means it is 8, of which 2 / 2 comes from the labels; bias 3² − 8 / 2.
    assert parts == Parts(torch.tensor([5.0]), torch.tensor([7.0]), torch.tensor([2.0]))
    alone = bias_variance(predictions[:, :1], torch.ones(1, 1).double())
    assert alone == Parts(torch.tensor([2.0**2 - 8 / 2]), torch.tensor([8.0]), torch.tensor([0.0]))


def test_known_parts_are_found_without_bias():
    truth, size = normal(4, 2, seed=5), (3, 2, 20_000, 4, 2)  # few draws, and many times
    sampling, labels = normal(3, 1, *size[2:], seed=6), normal(*size, seed=7)
    parts = bias_variance(truth + 0.5 + 2 * sampling + 3 * labels, truth)
    for part, known in ((parts.bias, 0.25), (parts.sampling, 4.0), (parts.noise, 9.0)):
        assert abs(part.mean() - 2 * known) < 5 * part.mean(1).std() / 20_000**0.5


@pytest.mark.parametrize("p", [5, 30])
def test_the_parts_of_linear_regression(p):
    n, draws, labels, sigma2, m = 12, 400, 3, 0.5, 30
    beta, test = torch.ones(p).double() / p**0.5, normal(m, p, seed=1)
    table = []
    for seed in range(draws):
        x, chance = normal(n, p, seed=10 + seed), normal(n, labels, seed=1000 + seed)
        table.append((test @ ridge(x, (x @ beta)[:, None] + sigma2**0.5 * chance)).T[..., None])
    parts = bias_variance(torch.stack(table), (test @ beta)[:, None])
    # On average the model sees a share n / p of the signal, and which share is chance.
    seen, length, along = min(1.0, n / p), test.square().sum(1), (test @ beta).square()
    torch.testing.assert_close(parts.bias.mean(), ((1 - seen) ** 2 * along).mean(), rtol=0.1, atol=0.02)
    assert parts.noise.mean() == pytest.approx(float(length.mean()) / p * finite_risk(n, p, 0.0, sigma2), rel=0.1)
    if p < n:
        assert abs(float(parts.sampling.mean())) < 0.02
    else:  # a projection on random n of p directions, of which E (⟨t, Pβ⟩ − seen ⟨t, β⟩)² is known
        spread = seen * (1 - seen) / ((p - 1) * (p + 2)) * (p * length + (p - 2) * along)
        assert parts.sampling.mean() == pytest.approx(float(spread.mean()), rel=0.1)


@pytest.mark.parametrize(
    ("predictions", "truth", "message"),
    [
        (normal(3, 4, 2), normal(4, 2), r"of shape \(D, L, ..., m, K\) and truth of \(m, K\), got \(3, 4, 2\) and"),
        (normal(3, 1, 4, 2), normal(4), r"got \(3, 1, 4, 2\) and \(4,\)"),
        (normal(3, 1, 4, 2), normal(5, 2), r"got \(3, 1, 4, 2\) and \(5, 2\)"),
        (normal(1, 5, 4, 2), normal(4, 2), "predictions must be of D >= 2 and L >= 1 draws, got D=1 and L=5"),
        (normal(3, 0, 4, 2), normal(4, 2), "predictions must be of D >= 2 and L >= 1 draws, got D=3 and L=0"),
    ],
    ids=["three axes", "truth of one axis", "other truth", "one draw", "no labels"],
)
def test_what_is_refused(predictions, truth, message):
    with pytest.raises(ValueError, match=message):
        bias_variance(predictions, truth)
