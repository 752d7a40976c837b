"""An ensemble computes what its networks compute, and a padded unit is as good as none."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustcourse import PGD, Linf, cnn, load, mlp
from robustcourse.sweeps import Ensemble

DATA = load("digits")
X = DATA.test.x[:7]
SIZES = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 3)), min_size=1, max_size=6)


def networks(sizes):
    return [mlp(DATA, width, depth, seed) for seed, (width, depth) in enumerate(sizes)]


@given(SIZES)
@settings(max_examples=25, deadline=None)
def test_each_network_answers_as_it_does_alone(sizes):
    models = networks(sizes)
    ensemble = Ensemble(models)
    alone = torch.stack([model(X) for model in models])
    torch.testing.assert_close(ensemble.each(X).mT, alone)
    torch.testing.assert_close(ensemble(X.repeat(len(models), 1, 1, 1)), alone.flatten(0, 1))


def test_with_inputs_of_its_own_each_network_sees_nothing_else():
    models = networks([(5, 1), (9, 2), (5, 1)])
    own = DATA.test.x[:12].unflatten(0, (3, 4))
    alone = torch.stack([model(x) for model, x in zip(models, own, strict=True)])
    ensemble = Ensemble(models)
    torch.testing.assert_close(ensemble.each(own).mT, alone)
    torch.testing.assert_close(ensemble(own.flatten(0, 1)), alone.flatten(0, 1))


def test_networks_of_like_size_share_a_stack():
    ensemble = Ensemble(networks([(2, 1), (7, 1), (8, 1), (9, 1), (16, 1), (16, 2)]))
    assert [len(stack) for stack in ensemble.stacks] == [3, 2, 1]


def test_padding_gets_no_gradient():
    ensemble = Ensemble(networks([(3, 2)]))
    ensemble.each(X).square().sum().backward()
    weight, bias = ensemble.stacks[0].weights[1], ensemble.stacks[0].biases[0]
    assert weight.shape == (1, 8, 8)
    assert weight.grad[0, :3, :3].any()
    assert not weight.grad[0, 3:].any()
    assert not weight.grad[0, :, 3:].any()
    assert not bias.grad[0, 3:].any()


def test_weights_come_back_as_they_were_and_as_they_are():
    models = networks([(5, 1), (3, 2), (16, 0)])
    before = [p.detach().clone() for model in models for p in model.parameters()]
    ensemble = Ensemble(models)
    ensemble.write()
    assert all(torch.equal(a, b) for a, b in zip(before, (p for m in models for p in m.parameters()), strict=True))
    for stack in ensemble.stacks:
        for p in stack.parameters():
            p.data.mul_(2)
    ensemble.write()
    after = [p for model in models for p in model.parameters()]
    assert all(torch.equal(2 * a, b) for a, b in zip(before, after, strict=True))


def test_those_that_are_kept_stay_themselves():
    models = networks([(5, 1), (6, 1), (20, 1), (7, 2), (8, 2)])
    ensemble = Ensemble(models)
    which = torch.tensor([False, True, False, True, True])
    ensemble.keep(which)
    assert len(ensemble) == 3
    alone = torch.stack([model(X) for model, stays in zip(models, which, strict=True) if stays])
    torch.testing.assert_close(ensemble.each(X).mT, alone)


def test_square_norms_are_those_of_the_networks():
    models = networks([(5, 1), (6, 2), (30, 0)])
    norms = torch.stack([sum(p.square().sum() for p in model.parameters()) for model in models])
    torch.testing.assert_close(Ensemble(models).square_norms(), norms)


def test_no_models():
    with pytest.raises(ValueError, match="at least one model, got none"):
        Ensemble([])


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (cnn(DATA, 2), "got Normalize, Conv2d, ReLU, Flatten, Linear"),
        (nn.Linear(2, 2), "got Linear"),
        (nn.Sequential(*mlp(DATA, 4)[:2], nn.Linear(64, 10, bias=False)), "got Normalize, Flatten, Linear"),
        (mlp(DATA, 4)[:-1], "got Normalize, Flatten, Linear, ReLU, Linear, ReLU"),
    ],
)
def test_only_networks_from_mlp(model, said):
    with pytest.raises(TypeError, match=f"as mlp makes; {said}"):
        Ensemble([model])


def test_networks_of_two_data_sets():
    other = dataclasses.replace(DATA, train=DATA.train[:100])
    with pytest.raises(ValueError, match="model 1 and model 0 differ; make all of them from one data set"):
        Ensemble([mlp(DATA, 4), mlp(other, 4)])


def test_rows_that_cannot_be_shared():
    with pytest.raises(ValueError, match="an ensemble of 2 models needs as many rows for each, got 7 in all"):
        Ensemble(networks([(3, 1), (3, 1)]))(X)


def test_an_attack_that_lets_points_go_is_found_out():
    ensemble = Ensemble(networks([(3, 1), (3, 1)])).eval()
    attack = PGD(Linf(0.3), steps=5, early_exit=True)
    y = ensemble.each(X).argmax(1).flatten()
    with (
        ensemble.rows(X, [torch.Generator().manual_seed(m) for m in range(2)]) as rows,
        pytest.raises(ValueError, match=r"needs 7 rows for each, got .* let points go"),
    ):
        attack(ensemble, rows, y)
