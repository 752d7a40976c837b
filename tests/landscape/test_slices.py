"""Slices: the loss by hand, how long directions are, what rescaling cannot change, and what stays untouched."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustcourse import Standard
from robustcourse.landscape import (
    connect,
    filter_normalized,
    hessian,
    hessian_product,
    lanczos,
    matched,
    random_direction,
    sharpness,
    slice1d,
    slice2d,
    slices,
    trace,
    weights,
    with_weights,
)
from robustcourse.models import lipschitz_mlp
from robustcourse.runtime import seeded
from robustcourse.train import AWP
from tests.landscape.cases import AT, ATTACKED, DATA, SPLIT, convolutional, permuted, rescaled, small
from tests.nets import Noisy

FACTORS = st.lists(st.floats(0.05, 20), min_size=2, max_size=2)


def by_hand(theta, x, y):
    """The cross-entropy of `small()` from one vector: 16 pixels, 6 hidden units, 4 classes."""
    w1, b1, w2, b2 = theta.split([96, 6, 24, 4])
    pixels = small()[0](x.double()).flatten(1)
    logits = (pixels @ w1.view(6, 16).T + b1).relu() @ w2.view(4, 6).T + b2
    return (logits.logsumexp(1) - logits[torch.arange(len(y)), y]).mean()


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_losses_are_those_by_hand(seed):
    model = small(seed=seed)
    d1, d2 = random_direction(model, seed), filter_normalized(model, seed + 1)
    line, plane = slice1d(model, SPLIT, d1, AT), slice2d(model, SPLIT, [d1, d2], (AT, AT[:2]))
    assert plane.shape == (5, 2)
    for i, a in enumerate(AT):
        assert line[i] == pytest.approx(float(by_hand(weights(model) + a * d1, SPLIT.x, SPLIT.y)), rel=1e-9)
        for j, b in enumerate(AT[:2]):
            expected = by_hand(weights(model) + a * d1 + b * d2, SPLIT.x, SPLIT.y)
            assert plane[i, j] == pytest.approx(float(expected), rel=1e-9)


def test_one_axis_serves_for_both_directions():
    model = small()
    both = torch.stack([random_direction(model, seed) for seed in (0, 1)])
    assert slice2d(model, SPLIT, both, AT).equal(slice2d(model, SPLIT, list(both), (AT, AT)))


@pytest.mark.parametrize("build", [small, convolutional])
def test_the_part_of_each_neuron_is_as_long_as_its_weights_and_biases_stay(build):
    model = build()
    model[-1].weight.data[1] = 0  # a neuron that is dead stays dead
    moved = with_weights(model, filter_normalized(model, seed=3))
    plain = with_weights(model, random_direction(model, seed=3))
    for weight, way, noise in zip(model.parameters(), moved.parameters(), plain.parameters(), strict=True):
        if weight.dim() == 1:
            assert not way.any()
        else:
            torch.testing.assert_close(way.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1))
            cosine = F.cosine_similarity(way.flatten(1), noise.flatten(1))
            torch.testing.assert_close(cosine, way.flatten(1).any(1).double())


def test_a_random_direction_has_length_one_and_depends_on_the_seed_alone():
    first, second = random_direction(small()), random_direction(small(seed=1))
    assert first.equal(second)
    assert first.norm() == pytest.approx(1)
    assert not first.equal(random_direction(small(), seed=1))


@given(factors=FACTORS, seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_rescaling_layers_changes_no_filter_normalized_slice(factors, seed):
    for model in (small(depth=2, seed=seed), convolutional(seed)):
        other = rescaled(model, factors)
        ways = [[filter_normalized(m, seed + i) for i in (0, 1)] for m in (model, other)]
        one, same = (slice2d(m, SPLIT, d, AT) for m, d in zip((model, other), ways, strict=True))
        torch.testing.assert_close(one, same, rtol=1e-9, atol=1e-9)


def test_nor_does_it_under_attack():
    model = small(depth=2)
    other = rescaled(model, [4.0, 0.25])  # powers of two round to the same digits, so the attacks agree in every step
    one, same = (slice1d(m, SPLIT, filter_normalized(m), AT, ATTACKED) for m in (model, other))
    torch.testing.assert_close(one, same, rtol=1e-12, atol=0)


def test_without_normalization_the_same_function_looks_sharp_or_flat():
    rises = []
    for factor in (1, 10, 100):
        model = rescaled(small(), [factor])
        losses = slice1d(model, SPLIT, random_direction(model), torch.tensor([-1.0, 0, 1]))
        rises.append(float((losses - losses[1]).abs().max()))
    assert rises[2] > 2 * rises[1] > 4 * rises[0]


def test_each_point_is_attacked_anew_from_the_same_starts():
    model = small()
    d = filter_normalized(model)
    losses = slice1d(model, SPLIT, d, AT, ATTACKED, seed=5)
    for a, loss in zip(AT, losses, strict=True):
        there = with_weights(model, weights(model) + a * d)
        with seeded(5):
            assert loss == ATTACKED(there, SPLIT.x.double(), SPLIT.y)
    assert (losses > slice1d(model, SPLIT, d, AT)).all()
    assert not losses.equal(slice1d(model, SPLIT, d, AT, ATTACKED, seed=6))


def test_a_random_model_draws_the_same_at_each_point():
    model = Noisy(small())
    at = torch.tensor([0.5, 0.0, 0.5])
    losses = slice1d(model, SPLIT, random_direction(model), at)
    assert losses[0] == losses[2] != slice1d(model, SPLIT, random_direction(model), at, seed=1)[0]


def test_any_objective_will_do():
    model, square = small(), lambda model, x, y: sum((p**2).sum() for p in model.parameters())
    d = random_direction(model)
    expected = [(weights(model) + a * d).square().sum() for a in AT]
    torch.testing.assert_close(slice1d(model, SPLIT, d, AT, square), torch.stack(expected))
    with torch.no_grad():  # one that asks for gradients of the weights gets them
        pushed = slice1d(model, SPLIT, d, AT, AWP(ATTACKED))
    assert (pushed > slice1d(model, SPLIT, d, AT, ATTACKED)).all()


@pytest.mark.parametrize("objective", [None, Standard(), lambda model, x, y: (model(x) ** 2).mean()])
def test_batches_and_chunks_change_nothing(objective, monkeypatch):
    model = small()
    d = random_direction(model)
    whole = slice1d(model, SPLIT, d, AT, objective)
    torch.testing.assert_close(slice1d(model, SPLIT, d, AT, objective, batch_size=7), whole)
    monkeypatch.setattr(slices, "CHUNK", 1)
    torch.testing.assert_close(slice1d(model, SPLIT, d, AT, objective), whole)


def test_weights_that_are_made_of_others_are_moved_where_they_are_kept():
    model = lipschitz_mlp(DATA, width=4, depth=1).requires_grad_(False)
    losses = slice1d(model, SPLIT, filter_normalized(model), torch.tensor([0.0, 1.0]))
    assert losses[0] == pytest.approx(float(F.cross_entropy(model(SPLIT.x), SPLIT.y)))
    assert losses[1] != losses[0]


CALLS = {
    "slice1d": lambda m: slice1d(m, SPLIT, filter_normalized(m), AT, ATTACKED),
    "slice2d": lambda m: slice2d(m, SPLIT, [random_direction(m)] * 2, AT),
    "hessian": lambda m: hessian(m, SPLIT, ATTACKED),
    "lanczos": lambda m: lanczos(hessian_product(m, SPLIT), len(weights(m))),
    "trace": lambda m: trace(hessian_product(m, SPLIT), len(weights(m)), probes=2),
    "sharpness": lambda m: sharpness(m, SPLIT, 0.1, ATTACKED),
    "connect": lambda m: connect(m, permuted(m, 0), SPLIT, 3, ATTACKED),
    "matched": lambda m: matched(permuted(m, 0), m),
    "with_weights": lambda m: with_weights(m, 0 * weights(m)),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_model_and_the_random_state_stay_as_they_are_and_results_repeat(call):
    model = small()
    model[2].weight.requires_grad_(False)
    model[2].bias.grad = torch.ones(6).double()
    before, state = weights(model), torch.get_rng_state()
    places = [p.data_ptr() for p in model.parameters()]
    first, second = CALLS[call](model), CALLS[call](model)
    assert weights(model).equal(before)
    assert [p.data_ptr() for p in model.parameters()] == places
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]
    assert [p.grad is None for p in model.parameters()] == [True, False, True, True]
    assert (model[2].bias.grad == 1).all()
    assert not any(layer.training for layer in model.modules())
    assert torch.get_rng_state().equal(state)
    assert str(first) == str(second)


def test_weights_go_into_a_copy_and_out_again():
    model = small().train()
    theta = torch.arange(130.0)
    copy = with_weights(model, theta)
    assert weights(copy).equal(theta.double())
    assert copy.training
    copy[2].weight.data += 1
    assert theta.equal(torch.arange(130.0))


def test_wrong_input_is_named():
    model, d = small(), random_direction(small())
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got function"):
        weights(by_hand)
    with pytest.raises(ValueError, match="model has no weights, so its loss has no landscape"):
        weights(nn.Flatten())
    with pytest.raises(ValueError, match=r"theta must be of shape \(130,\), one number a weight, got \(3,\)"):
        with_weights(model, torch.zeros(3))
    with pytest.raises(ValueError, match=r"direction must be of shape \(130,\), one number a weight, got \(129,\)"):
        slice1d(model, SPLIT, d[1:], AT)
    with pytest.raises(ValueError, match=r"direction must be of shape \(130,\), one number a weight, got \(1, 130\)"):
        slice2d(model, SPLIT, [d, d[None]], AT)
    with pytest.raises(ValueError, match="directions must be two vectors, got 3"):
        slice2d(model, SPLIT, [d, d, d], AT)
    with pytest.raises(ValueError, match=r"at must be one or more steps, of shape \(T,\), got shape \(0,\)"):
        slice1d(model, SPLIT, d, AT[:0])
    with pytest.raises(ValueError, match=r"at must be one or more steps, of shape \(T,\), got shape \(1, 5\)"):
        slice2d(model, SPLIT, [d, d], (AT, AT[None]))
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        slice1d(model, SPLIT, d, AT, batch_size=0)
    with pytest.raises(ValueError, match="model is in training mode"):
        slice1d(small().train(), SPLIT, d, AT)
    with pytest.raises(ValueError, match="model has no filters to normalize by"):
        filter_normalized(nn.BatchNorm2d(3))
