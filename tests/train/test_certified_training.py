"""Certified training: the losses by their definitions, their limits, and the ramp."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustcourse import PGD, AdversarialTraining, Linf, Standard, crown_ibp, fit, ibp, load, mlp, robust_accuracy
from robustcourse.certify import certified_accuracy
from robustcourse.certify.bounds import Net
from robustcourse.checks import evaluating
from robustcourse.train import IBP, MTLIBP, SABR, CrownIBP, Ramp
from tests.nets import points

DATA, THREAT = points(), Linf(0.05)
X, Y = DATA.train.x, DATA.train.y
WALK = PGD(THREAT, steps=3, random_start=False)
METHODS = {"IBP": IBP(THREAT), "CROWN-IBP": CrownIBP(THREAT), "SABR": SABR(WALK), "MTL-IBP": MTLIBP(WALK)}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def model(seed=0):
    return mlp(DATA, width=8, seed=seed)


def worst(net, x, threat, bound=ibp):
    with evaluating(net):
        return F.cross_entropy(-bound(net, x, Y, threat), Y)


def same_step(net, one, other):
    """Equal values, and equal gradients of all weights."""
    losses = [objective(net, X, Y) for objective in (one, other)]
    ours, theirs = (torch.autograd.grad(loss, list(net.parameters())) for loss in losses)
    return torch.equal(*losses) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


# The definitions


@pytest.mark.parametrize("kappa", [0.0, 0.3])
def test_ibp_mixes_the_clean_loss_and_that_of_the_proved_margins(kappa):
    net = model()
    want = kappa * Standard()(net, X, Y) + (1 - kappa) * worst(net, X, THREAT)
    torch.testing.assert_close(IBP(THREAT, kappa)(net, X, Y), want)


def test_crown_ibp_mixes_the_margins_of_boxes_and_of_lines():
    net = model()
    bounds = Net(net, X, Y, THREAT, tight=False)
    mixed = 0.25 * bounds.box_margins(Y) + 0.75 * bounds.lowest(bounds.differences(Y))
    torch.testing.assert_close(CrownIBP(THREAT, kappa=0, beta=0.75)(net, X, Y), F.cross_entropy(-mixed, Y))
    assert worst(net, X, THREAT, crown_ibp) <= CrownIBP(THREAT, kappa=0, beta=0.75)(net, X, Y)


def test_crown_ibp_without_lines_is_ibp():
    assert same_step(model(), CrownIBP(THREAT), IBP(THREAT))


def test_mtl_ibp_mixes_the_attacked_loss_and_the_proved_one():
    net = model()
    attacked = F.cross_entropy(net(WALK(net, X, Y)), Y)
    torch.testing.assert_close(MTLIBP(WALK, 0.2)(net, X, Y), 0.8 * attacked + 0.2 * worst(net, X, THREAT))


def test_sabr_proves_a_small_box_around_a_bad_point_inside_of_the_large_one():
    net = model()
    centre = PGD(Linf(0.04), steps=3, random_start=False)(net, X, Y)
    torch.testing.assert_close(SABR(WALK, size=0.2)(net, X, Y), worst(net, centre, Linf(0.01)))
    low, high = Linf(0.01).hull(centre)
    outer_low, outer_high = THREAT.hull(X)
    assert (low >= outer_low - 1e-6).all()
    assert (high <= outer_high + 1e-6).all()


def test_the_attack_takes_shorter_steps_on_a_shorter_way():
    net = model()
    half, whole = (
        PGD(Linf(eps), steps=2, step_size=step, random_start=False) for eps, step in ((0.1, 0.06), (0.2, 0.12))
    )
    torch.testing.assert_close(SABR(whole, size=0.5)(net, X, Y), worst(net, half(net, X, Y), Linf(0.1)))


# The limits


@each_method
def test_at_the_foot_of_the_ramp_each_is_standard_training(method):
    assert same_step(model(), method.at(0.0), Standard())
    assert not same_step(model(), method.at(0.3), Standard())


@each_method
def test_at_the_top_of_the_ramp_each_has_its_full_size(method):
    net = model()
    assert torch.equal(method.at(0.6)(net, X, Y), method(net, X, Y))
    assert torch.equal(method.at(0.99)(net, X, Y), method(net, X, Y))
    assert method.at(0.3)(net, X, Y) != method(net, X, Y)


@each_method
def test_against_an_attacker_who_may_do_nothing_each_is_standard_training(method):
    nothing = {"threat": Linf(0.0)} if hasattr(method, "threat") else {"attack": PGD(Linf(0.0), steps=3)}
    assert same_step(model(), type(method)(**nothing), Standard())


@pytest.mark.parametrize("method", [MTLIBP(WALK, alpha=0), SABR(WALK, size=0)], ids=["MTL-IBP", "SABR"])
def test_with_nothing_to_prove_they_are_adversarial_training(method):
    assert same_step(model(), method, AdversarialTraining(WALK))


@pytest.mark.parametrize("method", [MTLIBP(WALK, alpha=1), SABR(WALK, size=1)], ids=["MTL-IBP", "SABR"])
def test_with_all_to_prove_they_are_ibp(method):
    assert same_step(model(), method, IBP(THREAT, kappa=0))


def test_with_all_weight_on_clean_images_ibp_is_standard_training():
    assert same_step(model(), IBP(THREAT, kappa=1), Standard())


@given(st.integers(0, 50), st.floats(0, 0.2))
def test_the_proved_loss_lies_above_the_loss_under_attack(seed, eps):
    net, threat = model(seed), Linf(eps)
    attacked = F.cross_entropy(net(PGD(threat, steps=4)(net, X, Y)), Y)
    assert IBP(threat, kappa=0)(net, X, Y) >= attacked - 1e-5


# The ramp, ε and κ on it


def test_the_ramp_is_a_straight_line_between_two_moments():
    ramp = Ramp(0.2, 0.6)
    assert [round(ramp(t), 6) for t in (0, 0.2, 0.3, 0.4, 0.6, 1)] == [0, 0, 0.25, 0.5, 1, 1]
    assert [Ramp(0.5, 0.5)(t) for t in (0.4, 0.5, 0.6)] == [0, 1, 1]
    assert [Ramp(0, 0)(t) for t in (0, 0.5)] == [1, 1]
    assert [Ramp(1, 1)(t) for t in (0, 0.999)] == [0, 0]


def test_epsilon_and_kappa_move_along_the_ramp():
    net, middle = model(), (0.05 + 0.6) / 2
    want = 0.75 * Standard()(net, X, Y) + 0.25 * worst(net, X, Linf(0.025))
    torch.testing.assert_close(IBP(THREAT).at(middle)(net, X, Y), want)
    assert torch.equal(IBP(THREAT, ramp=Ramp(0, 0)).at(0.0)(net, X, Y), IBP(THREAT)(net, X, Y))


# In training


def test_ibp_training_makes_a_proof_possible():
    data, threat = load("digits"), Linf(0.05)
    standard, proved = mlp(data, width=64), mlp(data, width=64)
    fit(standard, data, epochs=10)
    fit(proved, data, IBP(threat), epochs=20)
    before, after = (certified_accuracy(m, data.test, ibp, threat) for m in (standard, proved))
    assert before.value == 0
    assert after.low > 0.5
    assert after.value <= robust_accuracy(proved, data.test, PGD(threat)).value


@each_method
def test_a_model_in_training_stays_in_training_and_dropout_is_off_for_the_bound(method):
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4)).train()
    net[3].eval()  # somebody's choice, to be kept
    assert torch.equal(method(net, X, Y), method(net, X, Y))
    assert [part.training for part in net] == [True, True, True, False, True]
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


# What is refused


@each_method
def test_batch_normalization_is_refused_from_the_first_step(method):
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    with pytest.raises(ValueError, match="model has batch normalization, whose statistics in training are not"):
        fit(net, DATA, method, epochs=1)


@each_method
def test_a_layer_without_bounds_is_named(method):
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4))
    with pytest.raises(TypeError, match="model has a layer without bounds, Tanh"):
        method(net, X, Y)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IBP(THREAT, kappa=1.5), r"kappa must be in \[0, 1\], got 1.5"),
        (lambda: CrownIBP(THREAT, kappa=-1), r"kappa must be in \[0, 1\], got -1"),
        (lambda: CrownIBP(THREAT, beta=2), r"beta must be in \[0, 1\], got 2"),
        (lambda: SABR(WALK, size=float("nan")), r"size must be in \[0, 1\], got nan"),
        (lambda: MTLIBP(WALK, alpha=-0.1), r"alpha must be in \[0, 1\], got -0.1"),
        (lambda: SABR(PGD(THREAT, targeted=True)), "attack must not be targeted"),
        (lambda: MTLIBP(PGD(THREAT, targeted=True)), "attack must not be targeted"),
        (lambda: Ramp(0.7, 0.6), "start and end must be 0 <= start <= end <= 1, got 0.7 and 0.6"),
        (lambda: Ramp(-0.1, 0.6), "start and end must be"),
        (lambda: Ramp(0, 1.1), "start and end must be"),
    ],
)
def test_what_is_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
