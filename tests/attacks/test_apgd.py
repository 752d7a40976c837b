"""Auto-PGD against answers known by hand, and against the paper's algorithm written out for one example."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial

import pytest
import torch

from robustcourse import L1, L2, PGD, Linf, robust_accuracy
from robustcourse.attacks import APGD, cross_entropy, dlr, dlr_targeted, margin_loss, margin_targeted
from robustcourse.attacks.apgd import _checkpoints
from robustcourse.evaluate import counting
from tests.nets import (
    Constant,
    Detached,
    HostReads,
    digits,
    generator,
    hits,
    images,
    linear,
    network,
    precise,
    trained,
    watch_standing,
    watching,
    wrong,
)

EACH = pytest.mark.parametrize("threat", [Linf(0.1), L2(0.3), L1(0.1)], ids=str)
ON_DIGITS = pytest.mark.parametrize("threat", [Linf(0.15), L2(0.8), L1(3.0)], ids=str)
LOSSES = pytest.mark.parametrize("loss", [cross_entropy, dlr, margin_loss, dlr_targeted, margin_targeted])


@EACH
@LOSSES
def test_it_takes_from_a_linear_margin_all_that_any_attack_can(threat, loss):
    model, x, y = linear(torch.randn(2, 6, generator=generator())), images(), torch.arange(50) % 2
    w = model[1].weight.data
    most = threat.eps * threat.dual((w[1] - w[0])[None])
    found = APGD(threat, loss=loss)(model, x, y)
    torch.testing.assert_close(margin_loss(model(found), y), margin_loss(model(x), y) + most, rtol=0, atol=1e-5)


@pytest.mark.parametrize("threat", [Linf(0.01), L2(0.03), L1(0.05)], ids=str)
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
@pytest.mark.parametrize("loss", [dlr_targeted, margin_targeted])
def test_towards_all_targets_it_breaks_what_can_be_broken_in_a_linear_model(threat, classes, loss):
    w = torch.randn(classes, 6, generator=generator())
    model, x = linear(w, -w.sum(1) / 2), images()  # grey is where all classes meet
    y = model(x).argmax(1)
    margins = torch.stack([margin_targeted(model(x), y, torch.full_like(y, k)) for k in range(classes)])
    worst = margins + threat.eps * torch.stack([threat.dual(w[k] - w[y]) for k in range(classes)])
    worst.scatter_(0, y[None], -math.inf)
    breakable, sure = worst.amax(0) > 1e-4, worst.amax(0).abs() > 1e-4
    found = APGD(threat, steps=50, loss=loss, early_exit=True)(model, x, y)
    assert torch.equal(wrong(model, found, y)[sure], breakable[sure])
    assert 0 < breakable.sum() < 50


def test_the_checkpoints_are_those_of_the_paper():
    assert _checkpoints(100) == {22, 41, 57, 70, 80, 87, 93, 99}
    for steps in (1, 7, 20, 50, 1000):
        p = [Fraction(0), Fraction(22, 100)]
        while p[-1] <= 1:
            p.append(p[-1] + max(p[-1] - p[-2] - Fraction(3, 100), Fraction(6, 100)))
        assert _checkpoints(steps) == {math.ceil(share * steps) for share in p[1:-1]}


def paper(threat, look, x, x_adv):
    """Algorithm 1 of the paper, 100 steps for one example; `look` gives the loss and its gradient at a point."""
    size, old, (loss, gradient) = 2 * threat.eps, x_adv, look(x_adv)
    best, best_x, best_gradient = loss, x_adv, gradient
    losses, last_check, last_best, last_size = [loss], 0, loss, size
    for step in range(1, 101):
        z = threat.project(x, x_adv + size * threat.ascent(x_adv, gradient))
        share = 1.0 if step == 1 else 0.75
        old, x_adv = x_adv, threat.project(x, x_adv + share * (z - x_adv) + (1 - share) * (x_adv - old))
        loss, gradient = look(x_adv)
        losses.append(loss)
        if loss > best:
            best, best_x, best_gradient = loss, x_adv, gradient
        if step in {22, 41, 57, 70, 80, 87, 93, 99}:
            went_up = sum(losses[i + 1] > losses[i] for i in range(last_check, step))
            stuck = went_up <= 0.75 * (step - last_check)
            stuck |= last_check > 0 and last_size == size and last_best == best
            last_check, last_best, last_size = step, best, size
            if stuck:
                size, x_adv, gradient = size / 2, best_x, best_gradient
    return best_x


def looks(model, loss, y):
    """Looks at a model: a point to its loss and the gradient there."""

    def look(x_adv):
        x_adv = x_adv.clone().requires_grad_()
        value = loss(model(x_adv), y)
        return value.item(), torch.autograd.grad(value, x_adv)[0]

    return look


@ON_DIGITS
def test_it_is_the_algorithm_of_the_paper(threat):
    model = precise()
    for i in range(8):
        x, y = digits().x[i : i + 1].double(), digits().y[i : i + 1]
        with watching(model) as seen:
            found = APGD(threat)(model, x, y)
        start = seen[1]  # after the first look, at x
        expected = paper(threat, looks(model, cross_entropy, y), x, start)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_it_also_follows_the_paper_over_rough_ground():
    # The loss jumps down now and then, and climbs nearly always: a walk may climb, and find nothing better.
    model, threat, y = precise(), L2(0.8), digits().y[:1]
    for seed in range(8):
        drawn = generator(seed)
        steps = torch.rand(101, generator=drawn) - 15 * (torch.rand(101, generator=drawn) < 0.05)
        here, there = (iter(steps.cumsum(0).tolist()) for _ in range(2))

        def rough(logits, y, heights):
            return 1e-3 * cross_entropy(logits, y) + next(heights)

        x = digits().x[:1].double()
        with watching(model) as seen:
            found = APGD(threat, loss=partial(rough, heights=here))(model, x, y)
        expected = paper(threat, looks(model, partial(rough, heights=there), y), x, seen[1])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@EACH
def test_it_starts_on_the_surface_of_the_ball(threat):
    with watching(model := network(6)) as seen:
        APGD(threat, steps=1)(model, images(), torch.arange(50) % 3)
    torch.testing.assert_close(threat.distance(images(), seen[1]), torch.full((50,), threat.eps))
    assert not torch.equal(seen[1], seen[0])


@ON_DIGITS
@pytest.mark.parametrize("every", [1, 10])
def test_it_returns_the_worst_point_of_its_walk_or_the_one_that_broke_it(threat, every, monkeypatch):
    model, x, y = precise(), digits().x.double(), digits().y
    with watching(model) as walk:
        found = APGD(threat, steps=30)(model, x, y)
    with torch.no_grad():
        losses = torch.stack([cross_entropy(model(at), y) for at in walk[1:]])
    each = torch.arange(len(x))
    assert torch.equal(found, torch.stack(walk[1:])[losses.argmax(0), each])
    broken = torch.stack([wrong(model, at, y) for at in walk[1:]])
    first, fell = broken.int().argmax(0), broken.any(0)
    expected = torch.where(fell, first, losses.argmax(0))
    watch_standing(monkeypatch, every)
    with counting(model) as passes:
        early = APGD(threat, steps=30, early_exit=True)(model, x, y)
    torch.testing.assert_close(early, torch.stack(walk[1:])[expected, each], rtol=0, atol=1e-6)
    assert 0 < fell.sum() < len(x)
    walked = torch.where(fell, (first // every + 1) * every, 31).clamp_max(31).sum()
    assert passes.backward == walked
    assert passes.forward == walked + len(x)


@ON_DIGITS
@pytest.mark.parametrize("kind", ["standard", "robust"])
def test_it_is_not_weaker_than_pgd(threat, kind):
    # From other random starts either may find a point that the other does not: two of 120 of grace.
    by = {attack: robust_accuracy(trained(kind), digits(), attack).value for attack in (PGD(threat), APGD(threat))}
    assert by[APGD(threat)] <= by[PGD(threat)] + 2 / 120
    targeted = robust_accuracy(trained(kind), digits(), APGD(threat, loss=dlr_targeted)).value
    assert targeted <= by[APGD(threat)] + 2 / 120


@pytest.mark.parametrize(
    ("loss", "targets", "walks"), [(cross_entropy, 9, 1), (dlr_targeted, 1, 1), (dlr_targeted, 9, 2)]
)
@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("early_exit", [False, True])
def test_what_nothing_breaks_is_walked_once_a_target_and_restart(loss, targets, walks, restarts, early_exit):
    model = Constant().eval()  # of three classes: there are no more than two targets
    attack = APGD(Linf(0.1), steps=5, loss=loss, targets=targets, restarts=restarts, early_exit=early_exit)
    with counting(model) as passes:
        attack(model, images(n=7), torch.zeros(7, dtype=torch.int64))
    assert passes.backward == 7 * 6 * walks * restarts
    assert passes.forward == passes.backward + 7 * (1 if early_exit else 1 + walks * restarts)


@pytest.mark.parametrize("early_exit", [False, True])
def test_the_likeliest_targets_are_tried_first_and_none_when_nothing_is_left(early_exit):
    model, x = linear(torch.eye(4, 6), torch.tensor([0.2, 0.0, 0.19, 0.1])), torch.full((5, 6), 0.5)
    asked = []

    def loss(logits, y, target):
        asked.append(target.tolist())
        return margin_targeted(logits, y, target)

    attack = {"steps": 3, "loss": loss, "restarts": 2, "early_exit": early_exit}
    APGD(Linf(1e-3), **attack)(model, x, torch.zeros(5, dtype=torch.int64))  # nothing breaks
    assert asked == [[target] * 5 for target in (2, 3, 1) * 2 for _ in range(4)]
    asked.clear()
    APGD(Linf(0.05), **attack)(model, x, torch.zeros(5, dtype=torch.int64))  # the second of all classes is near enough
    assert {tuple(set(targets)) for targets in asked} == {(2,)}
    assert len(asked) <= 4


def test_restarts_go_on_where_the_walk_before_failed():
    # One step from a random start: luck decides, and each point has three chances.
    model, x, y = network(6, scale=4), images(n=400, low=0, high=1), torch.arange(400) % 3
    once, thrice = (APGD(Linf(0.2), steps=1, restarts=restarts, early_exit=True)(model, x, y) for restarts in (1, 3))
    broken = wrong(model, once, y)
    assert torch.equal(thrice[broken], once[broken])
    assert wrong(model, thrice, y).sum() > broken.sum() > 0


@EACH
def test_a_walk_asks_nothing_of_a_gpu_until_it_ends(threat):
    def reads(steps):
        with HostReads() as found:
            APGD(threat, steps=steps)(network(6), images(), torch.arange(50) % 3)
        return found.count

    assert reads(10) == reads(30)


@pytest.mark.parametrize("every", [1, 10])
def test_what_half_precision_calls_broken_goes_on(every, monkeypatch):
    # As in the tests of PGD: half precision takes the first logit at x for −0.0039, below the other one.
    model = linear(torch.tensor([[1.0038, -1.0041], [0.0, 0.0]]), torch.tensor([0.0, -0.002]))
    claims, x, y = watch_standing(monkeypatch, every), torch.full((50, 2), 0.5), torch.zeros(50, dtype=torch.int64)
    found = APGD(Linf(0.01), steps=20, early_exit=True, bf16=True)(model, x, y)
    assert wrong(model, found, y).all()
    assert claims[0].fell.all()
    APGD(Linf(1e-4), steps=20, early_exit=True, bf16=True)(model, x, y)
    assert not any(claim.fell.any() for claim in claims[1:])


def test_what_half_precision_calls_broken_is_tried_again():
    # One step from a random start: luck decides, and half precision is content with the first walk of almost all.
    model = linear(torch.tensor([[1.0038, -1.0041], [0.0, 0.0]]), torch.tensor([0.0, -0.002]))
    x, y = torch.full((400, 2), 0.5), torch.zeros(400, dtype=torch.int64)
    once, often = (APGD(Linf(1.2e-3), steps=1, restarts=restarts, bf16=True)(model, x, y) for restarts in (1, 20))
    assert wrong(model, often, y).sum() > wrong(model, once, y).sum()


@pytest.mark.parametrize("loss", [cross_entropy, dlr_targeted])
def test_half_precision_claims_nothing_that_full_precision_denies(loss, monkeypatch):
    claims, (x, y) = watch_standing(monkeypatch), (digits().x[:60], digits().y[:60])
    attack = {"threat": Linf(0.15), "steps": 20, "loss": loss, "early_exit": True}
    half, full = (APGD(**attack, bf16=bf16)(trained(), x, y) for bf16 in (True, False))
    assert claims[0].fell.any()
    for claim in claims:
        assert not hits(trained(), claim.found[claim.fell], claim.y[claim.fell]).any()
    left = [float(hits(trained(), found, y).float().mean()) for found in (half, full)]
    assert left[0] == pytest.approx(left[1], abs=0.05)


@EACH
def test_a_gradient_that_is_not_a_number_stops_the_attack(threat):
    steep = APGD(threat, steps=3, loss=lambda logits, y: (0 * logits).sum(1).sqrt())  # the slope of a root at zero
    with pytest.raises(FloatingPointError, match="the gradient of the loss has NaN or infinite values"):
        steep(network(6), images(), torch.arange(50) % 3)


def test_a_model_that_detaches_its_input_is_called_blind():
    with pytest.raises(ValueError, match="model gives no gradient with respect to its input, so this attack is blind"):
        APGD(Linf(0.1))(Detached(network(6)), images(), torch.arange(50) % 3)


def test_a_loss_may_have_options_and_is_towards_no_target_for_that():
    def tempered(logits, y, temperature=1.0):
        return cross_entropy(logits / temperature, y)

    x, y = images(), torch.arange(50) % 3
    expected = APGD(Linf(0.1), steps=3, loss=lambda logits, y: cross_entropy(logits / 2, y))(network(6), x, y)
    found = APGD(Linf(0.1), steps=3, loss=partial(tempered, temperature=2.0))(network(6), x, y)
    assert torch.equal(found, expected)
    assert torch.equal(
        APGD(Linf(0.1), steps=3, loss=tempered)(network(6), x, y), APGD(Linf(0.1), steps=3)(network(6), x, y)
    )


@pytest.mark.parametrize("name", ["steps", "targets", "restarts"])
def test_settings_that_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be >= 1, got 0"):
        APGD(Linf(0.1), **{name: 0})
