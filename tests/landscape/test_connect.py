"""The way between two networks by hand; and units put in order, beside all orders."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustcourse import correct, mlp
from robustcourse.landscape import Way, connect, matched, weights, with_weights
from tests.landscape.cases import ATTACKED, DATA, SPLIT, convolutional, permuted, small


def test_losses_and_hits_are_those_of_the_networks_on_the_way():
    first, second = small(), small(seed=1)
    way = connect(first, second, SPLIT, 5)
    assert way.at.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert way.hits.shape == (5, len(SPLIT))
    for t, loss, hits in zip(way.at, way.loss, way.hits, strict=True):
        there = with_weights(first, (1 - t) * weights(first) + t * weights(second))
        with torch.no_grad():
            logits = there(SPLIT.x.double())
        assert loss == pytest.approx(float(F.cross_entropy(logits, SPLIT.y)))
        assert hits.equal(logits.argmax(1) == SPLIT.y)
    assert way.hits[-1].equal(correct(second, SPLIT))


def test_the_loss_is_that_of_the_objective():
    way = connect(small(), small(seed=1), SPLIT, 3, ATTACKED)
    assert (way.loss > connect(small(), small(seed=1), SPLIT, 3).loss).all()


def test_the_barrier_stands_above_the_mean_of_the_ends():
    at, hits = torch.linspace(0, 1, 4), torch.ones(4, 1, dtype=torch.bool)
    assert Way(at, torch.tensor([1.0, 2.0, 5.0, 2.0]), hits).barrier == 3.5
    assert Way(at, torch.tensor([1.0, 0.0, 0.5, 1.0]), hits).barrier == 0


@given(seed=st.integers(0, 1000), depth=st.integers(1, 2))
@settings(max_examples=20, deadline=None)
def test_units_in_another_order_are_put_back(seed, depth):
    model = small(depth, seed)
    found = matched(model, permuted(model, seed))
    assert weights(found).equal(weights(model))


@pytest.mark.parametrize("seed", range(3))
def test_no_order_is_nearer(seed):
    first, second = (mlp(DATA, width=4, depth=1, seed=s).double() for s in (seed, seed + 10))
    near = float((weights(matched(first, second)) - weights(first)).norm())
    distances = []
    for order in map(list, permutations(range(4))):
        parts = [second[2].weight[order], second[2].bias[order], second[4].weight[:, order], second[4].bias]
        distances.append(float((torch.cat([part.detach().flatten() for part in parts]) - weights(first)).norm()))
    assert near == pytest.approx(min(distances))
    assert near < max(distances)


@given(seed=st.integers(0, 1000), depth=st.integers(1, 3), bias=st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_function_stays_and_the_weights_come_nearer(seed, depth, bias):
    first, second = small(depth, seed), small(depth, seed + 1)
    if not bias:
        for layer in (*first, *second):
            if isinstance(layer, nn.Linear):
                layer.bias = None
    found = matched(first, second)
    torch.testing.assert_close(found(SPLIT.x.double()), second(SPLIT.x.double()))
    assert (weights(found) - weights(first)).norm() <= (weights(second) - weights(first)).norm()


def test_wrong_input_is_named():
    model = small()
    with pytest.raises(ValueError, match="points must be >= 3, the two ends and one between, got 2"):
        connect(model, model, SPLIT, 2)
    shifted = small()
    shifted[0].mean += 1
    for call in (matched, lambda a, b: connect(a, b, SPLIT)):
        with pytest.raises(ValueError, match=r"must be built alike, got Linear\(.*=6, b.* and Linear\(.*=7, b"):
            call(model, mlp(DATA, width=7, depth=1).double())
        with pytest.raises(ValueError, match=r"must be built alike, got Linear\(.*=6, b.* and Linear\(.*=4, b"):
            call(small(2), model)
        with pytest.raises(ValueError, match=r"must be built alike, got nothing and Linear\("):
            call(model[:-1], model)
        with pytest.raises(ValueError, match=r"must differ in their weights alone, but not in '0\.mean'"):
            call(model, shifted)
        with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got Split"):
            call(model, SPLIT)
    with pytest.raises(ValueError, match="model is in training mode"):
        connect(small().train(), small().train(), SPLIT)
    for strange in (convolutional(), nn.Sequential(nn.Linear(2, 4), nn.Softmax(1), nn.Linear(4, 2))):
        with pytest.raises(
            ValueError, match=r"model must be an MLP, Linear layers with ReLU between, .* got Sequential"
        ):
            matched(strange, strange)
    for shallow in (small(0), nn.Sequential(nn.Flatten())):
        with pytest.raises(
            ValueError, match="model must have a hidden layer, whose units can be matched, got Sequential"
        ):
            matched(shallow, shallow)
