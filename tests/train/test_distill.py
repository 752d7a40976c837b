"""Distillation: the losses by their definitions, and what comes over from the teacher."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustcourse import PGD, AdversarialTraining, Linf, Standard, fit, load, mlp, robust_accuracy
from robustcourse.train import ARD, AWP, RSLAD
from tests.nets import points, trained, watching

DATA = points()
X, Y = DATA.train.x, DATA.train.y
WALK = PGD(Linf(0.1), steps=3, random_start=False)
TEACHER = mlp(DATA, width=16, seed=1)


def model():
    return mlp(DATA, width=8)


def kl(teacher, student, t=1.0):
    """PyTorch's own, from images."""
    return F.kl_div((student / t).log_softmax(1), (teacher / t).softmax(1), reduction="batchmean")


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_ard_is_the_divergence_at_the_attacked_images_and_the_clean_loss(weight):
    net = model()
    want = weight * 25 * kl(TEACHER(X), net(WALK(net, X, Y)), 5) + (1 - weight) * Standard()(net, X, Y)
    torch.testing.assert_close(ARD(WALK, TEACHER, temperature=5, weight=weight)(net, X, Y), want)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_rslad_asks_the_teacher_for_the_attack_too(weight):
    net, taught = model(), TEACHER(X).detach()
    walk = PGD(Linf(0.1), steps=3, random_start=False, loss=lambda z, y: (taught.softmax(1) * -z.log_softmax(1)).sum(1))
    want = weight * kl(taught, net(walk(net, X, Y))) + (1 - weight) * kl(taught, net(X))
    torch.testing.assert_close(RSLAD(WALK, TEACHER, weight=weight)(net, X, Y), want)


def test_rslad_never_looks_at_the_labels():
    net = model()
    assert torch.equal(RSLAD(WALK, TEACHER)(net, X, Y), RSLAD(WALK, TEACHER)(net, X, (Y + 1) % 4))


def test_with_weight_zero_nothing_is_searched():
    for method in (ARD(WALK, TEACHER, weight=0), RSLAD(WALK, TEACHER, weight=0)):
        net = model()
        with watching(net) as seen:
            method(net, X, Y)
        assert len(seen) == 1
        assert torch.equal(seen[0], X)


@pytest.mark.parametrize("method", [ARD(WALK, TEACHER), RSLAD(WALK, TEACHER)], ids=["ARD", "RSLAD"])
def test_a_student_that_knows_it_all_has_nothing_to_learn_on_clean_images(method):
    quiet = type(method)(PGD(Linf(0.0), steps=0, random_start=False), TEACHER)
    assert quiet(TEACHER, X, Y).item() == pytest.approx(0, abs=1e-6)
    assert method(TEACHER, X, Y) > 0


@pytest.mark.parametrize("method", [ARD(WALK, TEACHER), RSLAD(WALK, TEACHER)], ids=["ARD", "RSLAD"])
def test_the_teacher_stays_as_it_is(method):
    before = [weight.clone() for weight in TEACHER.parameters()]
    fit(model(), DATA, method, epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(before, TEACHER.parameters(), strict=True))
    assert all(weight.grad is None and weight.requires_grad for weight in TEACHER.parameters())
    assert not TEACHER.training


def test_they_combine_with_weight_perturbation():
    assert AWP(RSLAD(WALK, TEACHER))(model(), X, Y).requires_grad


def test_robustness_comes_over_only_where_the_teacher_is_asked_near_the_images():
    data, threat, teacher = load("digits"), Linf(0.15), trained("robust")
    clean, near = mlp(data, width=64), mlp(data, width=64)
    fit(clean, data, RSLAD(PGD(threat), teacher, weight=0), epochs=12)
    fit(near, data, RSLAD(PGD(threat, steps=3), teacher), epochs=12)
    plain, robust = (robust_accuracy(m, data.test, PGD(threat, steps=10)) for m in (clean, near))
    assert plain.high + 0.1 < robust.low


@pytest.mark.parametrize("method", [ARD, RSLAD])
def test_what_is_wrong_is_refused(method):
    with pytest.raises(ValueError, match=r"weight must be in \[0, 1\], got 1.5"):
        method(WALK, TEACHER, weight=1.5)
    with pytest.raises(ValueError, match="attack must not be targeted"):
        method(PGD(Linf(0.1), targeted=True), TEACHER)
    with pytest.raises(ValueError, match="model is in training mode"):
        method(WALK, nn.Linear(2, 2).train())
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module, got function"):
        method(WALK, lambda x: x)


def test_what_only_one_of_them_refuses():
    with pytest.raises(ValueError, match="temperature must be a finite number > 0, got 0"):
        ARD(WALK, TEACHER, temperature=0)
    with pytest.raises(ValueError, match="attack must be one whole walk"):
        RSLAD(PGD(Linf(0.1), restarts=2), TEACHER)
    with pytest.raises(ValueError, match="attack must be one whole walk"):
        RSLAD(PGD(Linf(0.1), early_exit=True), TEACHER)
    assert AdversarialTraining(WALK)(model(), X, Y) > 0  # the same walk serves all
