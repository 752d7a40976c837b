"""Training for votes: against the definitions, and both make a network that can be certified further."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustcourse import L2, PGD, fit, load, mlp
from robustcourse.certify import smooth
from robustcourse.evaluate import counting
from robustcourse.runtime import described
from robustcourse.train import Consistency, GaussianNoise, SmoothAdv, Standard
from tests.nets import points

DATA = points(classes=3)
X, Y = DATA.train.x, DATA.train.y
WALK = PGD(L2(0.5), steps=3)


def drawn(copies, sigma, seed=0):
    torch.manual_seed(seed)
    return sigma * torch.randn(copies, *X.shape)


def test_consistency_by_hand():
    model, noise = mlp(DATA, width=8), drawn(3, 0.4)
    torch.manual_seed(0)
    loss = Consistency(0.4, weight=2.0, entropy=0.7, copies=3)(model, X, Y)
    predictions = [model(X + one).softmax(1) for one in noise]
    mean = sum(predictions) / 3
    read = sum(nn.functional.cross_entropy(model(X + one), Y) for one in noise) / 3
    apart = sum(nn.functional.kl_div(p.log(), mean, reduction="batchmean") for p in predictions) / 3
    entropy = -(mean * mean.log()).sum(1).mean()
    torch.testing.assert_close(loss, read + 2 * apart + 0.7 * entropy)


def test_smoothadv_is_the_loss_on_noisy_copies_of_the_worst_images():
    model, noise = mlp(DATA, width=8), drawn(2, 0.3)
    torch.manual_seed(0)
    loss = SmoothAdv(WALK, 0.3)(model, X, Y)
    clean = sum(nn.functional.cross_entropy(model(X + one), Y) for one in noise) / 2
    assert loss > clean
    torch.manual_seed(0)
    still = SmoothAdv(PGD(L2(0.5), steps=0, random_start=False), 0.3)(model, X, Y)
    torch.testing.assert_close(still, clean)


def test_the_attack_sees_the_mean_of_the_predictions_under_one_noise():
    model, noise, seen = mlp(DATA, width=8), drawn(2, 0.3), []

    class Watching(PGD):
        def search(self, model, x, y, generator):
            seen.append((model(x), model.training, [w.requires_grad for w in model.parameters()]))
            return x

    torch.manual_seed(0)
    SmoothAdv(Watching(L2(0.5)), 0.3)(model.train(), X, Y)
    mean = sum(model(X + one).softmax(1) for one in noise) / 2
    ((logits, training, graph),) = seen
    torch.testing.assert_close(logits.softmax(1), mean)
    assert not training
    assert not any(graph)
    assert model.training
    assert all(weight.requires_grad for weight in model.parameters())


def test_without_noise_they_are_what_they_grew_from():
    model = mlp(DATA, width=8)
    torch.testing.assert_close(Consistency(0.0, entropy=0.0)(model, X, Y), Standard()(model, X, Y))
    one = SmoothAdv(PGD(L2(0.0)), 0.0, copies=1)
    torch.testing.assert_close(one(model, X, Y), Standard()(model, X, Y))


@pytest.mark.parametrize(
    ("objective", "passes"), [(Consistency(0.1, copies=4), 4), (SmoothAdv(WALK, 0.1, copies=2), 8)], ids=described
)
def test_it_costs_the_forward_passes_that_it_says(objective, passes):
    model = mlp(DATA, width=8)
    with counting(model) as counted:
        objective(model, X, Y)
    assert counted.forward == passes * len(X)


def test_both_are_certified_further_than_with_noise_alone():
    data, shares = load("digits"), []
    for objective in (GaussianNoise(0.25), Consistency(0.25), SmoothAdv(PGD(L2(0.5), steps=2), 0.25)):
        model = mlp(data, width=32)
        fit(model, data, objective, epochs=12)
        said = smooth(model, 0.25, shared=True).certify(data.test.x, n=1000)
        shares.append(float(said.certified(data.test.y, 0.5).float().mean()))
    noise, consistency, attacked = shares
    assert consistency > noise + 0.03
    assert attacked > noise + 0.03


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Consistency(-1.0), "sigma must be a finite number >= 0, got -1.0"),
        (lambda: Consistency(0.1, weight=-1.0), "weight must be a finite number >= 0, got -1.0"),
        (lambda: Consistency(0.1, entropy=float("nan")), "entropy must be a finite number >= 0, got nan"),
        (lambda: Consistency(0.1, copies=1), "copies must be >= 2, got 1"),
        (lambda: SmoothAdv(WALK, -1.0), "sigma must be a finite number >= 0, got -1.0"),
        (lambda: SmoothAdv(WALK, 0.1, copies=0), "copies must be >= 1, got 0"),
        (lambda: SmoothAdv(PGD(L2(0.5), restarts=2), 0.1), "attack must be one whole walk"),
        (lambda: SmoothAdv(PGD(L2(0.5), early_exit=True), 0.1), "attack must be one whole walk"),
        (lambda: SmoothAdv(PGD(L2(0.5), targeted=True), 0.1), "attack must not be targeted"),
    ],
)
def test_wrong_settings_are_errors(wrong, said):
    with pytest.raises(ValueError, match=said):
        wrong()
