"""The Hessian beside a closed form and a second way to compute it; eigenvalues and traces beside those of matrices."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from robustcourse import fit, mlp
from robustcourse.landscape import hessian, hessian_product, lanczos, slice1d, trace, weights
from robustcourse.runtime import seeded
from robustcourse.train import TRADES
from tests.landscape.cases import ATTACKED, DATA, SPLIT, convolutional, small


def symmetric(size: int, seed: int) -> torch.Tensor:
    table = torch.randn(size, size, generator=torch.Generator().manual_seed(seed)).double()
    return table + table.T


def test_softmax_regression_has_a_closed_form():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).double().eval()
    x = torch.cat([SPLIT.x.double().flatten(1), torch.ones(len(SPLIT), 1)], 1)
    p = model(SPLIT.x.double()).softmax(1).detach()
    curve = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    full = torch.einsum("nkl,ni,nj->kilj", curve, x, x) / len(SPLIT)
    at_weights, at_bias = full[:, :16, :, :16].reshape(64, 64), full[:, 16, :, 16]
    found = hessian(model, SPLIT)
    torch.testing.assert_close(found[:64, :64], at_weights)
    torch.testing.assert_close(found[64:, 64:], at_bias)
    torch.testing.assert_close(found[:64, 64:], full[:, :16, :, 16].reshape(64, 4))


@pytest.mark.parametrize("build", [small, convolutional])
@pytest.mark.parametrize("objective", [None, ATTACKED, TRADES(ATTACKED.attack)], ids=["standard", "attacked", "TRADES"])
def test_it_is_that_of_the_loss_at_fixed_images(build, objective):
    model = build()
    x, names = SPLIT.x.double(), {name: p.detach() for name, p in model.named_parameters()}
    with seeded(3):
        x_adv = objective.worst(model, x, SPLIT.y) if objective else x

    def loss(theta):
        parts = theta.split([p.numel() for p in names.values()])
        moved = {name: part.view_as(p) for (name, p), part in zip(names.items(), parts, strict=True)}
        network = lambda inputs: functional_call(model, moved, (inputs,))  # noqa: E731
        return (objective or ATTACKED).loss(network, x, x_adv, SPLIT.y)

    theta = weights(model)
    expected, found = torch.func.hessian(loss)(theta), hessian(model, SPLIT, objective, seed=3)
    torch.testing.assert_close(found, expected)
    assert found.equal(found.T)
    vector = torch.randn(len(theta), generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(hessian_product(model, SPLIT, objective, seed=3)(vector), expected @ vector)


@given(seed=st.integers(0, 1000), size=st.integers(2, 60), data=st.data())
@settings(max_examples=30, deadline=None)
def test_eigenvalues_of_any_symmetric_matrix(seed, size, data):
    k = data.draw(st.integers(1, min(5, size - 1)))
    matrix = symmetric(size, seed)
    true = torch.linalg.eigvalsh(matrix)
    for lowest, expected in ((False, true.flip(0)[:k]), (True, true[:k])):
        values, vectors = lanczos(lambda v: matrix @ v, size, k, lowest)
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-4 * float(true.abs().max()))
        torch.testing.assert_close(vectors @ vectors.T, torch.eye(k).double(), rtol=0, atol=1e-6)
        away = (vectors @ matrix - values[:, None] * vectors).norm(dim=1)
        assert (away < 1e-3 * true.abs().max()).all()


@pytest.mark.parametrize("objective", [None, ATTACKED], ids=["standard", "attacked"])
def test_single_precision_agrees_with_the_dense_hessian(objective):
    model = mlp(DATA, width=16)
    fit(model, DATA, epochs=20)
    values = torch.linalg.eigvalsh(hessian(model, SPLIT, objective).double())
    product = hessian_product(model, SPLIT, objective)
    for lowest, expected in ((False, values.flip(0)[:4]), (True, values[:4])):
        found, _ = lanczos(product, len(values), 4, lowest)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(values[-1]))
    assert lanczos(product, len(values))[0] == pytest.approx(float(values[-1]), rel=1e-4)
    doubled = hessian_product(deepcopy(model).double(), SPLIT)
    assert doubled(torch.ones(len(values))).dtype == torch.float64


def test_an_eigenvalue_is_the_curvature_of_the_slice_along_its_eigenvector():
    model = small()
    values, vectors = lanczos(hessian_product(model, SPLIT), len(weights(model)), 2)
    for value, vector in zip(values, vectors, strict=True):
        low, middle, high = slice1d(model, SPLIT, vector, torch.tensor([-1e-4, 0, 1e-4]).double())
        assert (low - 2 * middle + high) / 1e-8 == pytest.approx(float(value), rel=1e-4)


def test_a_flat_loss_has_no_curvature():
    product = hessian_product(small(), SPLIT, lambda model, x, y: model[2].weight.sum() + (model[2].bias ** 2).sum())
    vector = torch.zeros(130).double()
    vector[95:98] = 1  # the last weight of the first layer, and two of its biases
    assert product(vector).nonzero().flatten().tolist() == [96, 97]
    assert product(vector)[96] == 2


def test_the_trace_of_a_diagonal_matrix_needs_no_luck():
    diagonal = torch.arange(5.0).double()
    found = trace(lambda v: diagonal * v, 5, probes=3)
    assert (found.value, found.low, found.high) == (10, 10, 10)
    assert str(found) == "10 [10, 10] (n = 3 probes)"


def test_the_interval_of_the_trace_covers_it_as_often_as_it_says():
    matrix = symmetric(20, 0)
    found = [trace(lambda v: matrix @ v, 20, probes=30, seed=seed) for seed in range(200)]
    assert 0.9 <= sum(e.low <= matrix.trace() <= e.high for e in found) / 200 <= 0.99


def test_wrong_input_is_named():
    model = small()
    for k in (0, 130):
        with pytest.raises(
            ValueError, match=f"k must be in 1 … 129 for a matrix of size 130, got {k}; all are in `hessian`"
        ):
            lanczos(hessian_product(model, SPLIT), 130, k)
    with pytest.raises(ValueError, match="probes must be >= 2, for one gives no interval, got 1"):
        trace(hessian_product(model, SPLIT), 130, probes=1)
    with pytest.raises(ValueError, match=r"vector must be of shape \(130,\), one number a weight, got \(131,\)"):
        hessian_product(model, SPLIT)(torch.zeros(131))
    with pytest.raises(ValueError, match="model is in training mode"):
        hessian_product(small().train(), SPLIT)
    with pytest.raises(ValueError, match=r"at most 10,000 weights .* got 4,044,004, which would take 60,923.3 GiB"):
        hessian(mlp(DATA, width=2000), SPLIT)
