"""Training methods as losses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from robustcourse import FGSM, L2, PGD, AdversarialTraining, Linf, Standard, fit, load, mlp, robust_accuracy
from robustcourse.data import Dataset, Split


def points(n=64):
    x = torch.rand(n, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    split = Split(x, (x.mean((1, 2, 3)) > 0.5).long())
    return Dataset("points", split, split, 2, "drawn here")


DATA = points()
X, Y = DATA.train.x, DATA.train.y


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_standard_is_the_mean_cross_entropy():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    for parameter in model.parameters():
        parameter.data.zero_()
    assert Standard()(model, X, Y).item() == pytest.approx(math.log(2))


def test_adversarial_training_is_the_mean_cross_entropy_at_the_worst_point():
    model, attack = mlp(DATA, width=8), FGSM(Linf(0.1))
    loss = AdversarialTraining(attack)(model, X, Y)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(model(attack(model, X, Y)), Y))
    assert loss > Standard()(model, X, Y)


def test_training_towards_the_true_labels_is_refused():
    with pytest.raises(ValueError, match="attack must not be targeted"):
        AdversarialTraining(PGD(Linf(0.1), steps=7, targeted=True))


@pytest.mark.parametrize("attack", [FGSM(Linf(0.0)), PGD(L2(0.0), steps=2)], ids=["FGSM", "PGD"])
def test_against_an_attacker_who_may_do_nothing_it_is_standard_training(attack):
    standard, adversarial = mlp(DATA, width=8), mlp(DATA, width=8)
    fit(standard, DATA, Standard(), epochs=3, batch_size=16)
    fit(adversarial, DATA, AdversarialTraining(attack), epochs=3, batch_size=16)
    for a, b in zip(standard.parameters(), adversarial.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_inner_attack_moves_no_statistics_and_leaves_no_gradient():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))
    model[3].eval()  # somebody's choice, to be kept
    watched = []

    def attack(model, x, y, generator):
        watched.append([part.training for part in model.modules()])
        before = state(model)
        x_adv = PGD(Linf(0.1), steps=3)(model, x, y, generator)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())
        return x_adv

    before = state(model)
    AdversarialTraining(attack)(model, X, Y).backward()
    assert watched == [[False] * 6]
    assert [part.training for part in model.modules()] == [True, True, True, True, False, True]
    # One training pass, that of the loss, has moved the statistics.
    assert model[2].num_batches_tracked == before["2.num_batches_tracked"] + 1


def test_each_step_starts_the_attack_somewhere_else_and_the_seed_decides_where():
    def starts(seed):
        seen = []

        def attack(model, x, y, generator):
            seen.append(float(torch.rand((), generator=generator)))
            return x

        fit(mlp(DATA, width=4), DATA, AdversarialTraining(attack), epochs=2, batch_size=16, seed=seed)
        return seen

    assert len(set(starts(0))) == 8
    assert starts(0) == starts(0) != starts(1)


def test_adversarial_training_makes_a_model_more_robust():
    data, threat = load("digits"), Linf(0.1)
    models = [mlp(data, width=64), mlp(data, width=64)]
    for model, objective in zip(models, (Standard(), AdversarialTraining(PGD(threat, steps=2))), strict=True):
        fit(model, data, objective, epochs=10)
    standard, robust = (robust_accuracy(model, data.test, PGD(threat, steps=10)) for model in models)
    assert standard.high < robust.low
