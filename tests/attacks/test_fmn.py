"""The fast minimum-norm attack against distances known by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from robustcourse import L1, L2, Linf
from robustcourse.attacks import FMN, MinimumNorm
from robustcourse.evaluate import counting
from tests.nets import (
    Constant,
    Detached,
    case,
    digits,
    hits,
    images,
    linear,
    network,
    precise,
    trained,
    truth,
    watch_standing,
    watching,
    wrong,
)

EACH = pytest.mark.parametrize("threat", [Linf(0.01), L2(0.03), L1(0.05)], ids=str)
ON_DIGITS = pytest.mark.parametrize("threat", [Linf(0.15), L2(0.8), L1(3.0)], ids=str)


@EACH
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_it_finds_the_nearest_boundary_of_a_linear_model(threat, classes):
    model, x, y = case(classes)
    found = FMN(threat, steps=100).closest(model, x, y)
    nearest = truth(model, x, y, threat)
    assert not hits(model, found, y).any()
    share = threat.distance(x, found)[nearest > 1e-3] / nearest[nearest > 1e-3]
    assert share.min() > 0.999
    assert share.max() < 1.02


@EACH
def test_a_mask_leaves_the_distance_in_what_is_free(threat):
    model, x, y = case(2)
    masked = type(threat)(threat.eps, torch.tensor([[[True, True, False, False, True, False]]]))
    found, nearest = FMN(masked, steps=100).closest(model, x, y), truth(model, x, y, masked)
    inside = (nearest > 1e-3) & (nearest < 0.2)  # farther ones meet the box
    assert inside.sum() > 10
    share = masked.distance(x, found)[inside] / nearest[inside]
    assert 0.999 < share.min() <= share.max() < 1.02
    assert torch.equal(found[..., [2, 3, 5]], x[..., [2, 3, 5]])


def test_towards_the_box_it_takes_what_room_there_is():
    # The second pixel counts most, and is black already; the way over the first one is free.
    model = linear(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([-0.3, 0.0]))
    x, y = torch.tensor([[0.4, 0.0]]), torch.tensor([0])
    for threat in (Linf(0.5), L2(0.5), L1(0.5)):
        found = FMN(threat, steps=200).closest(model, x, y)
        torch.testing.assert_close(found, torch.tensor([[0.3, 0.0]]), rtol=0, atol=2e-3)
        assert not hits(model, found, y).any()


@EACH
def test_a_misread_point_is_its_own_nearest_break(threat):
    model, x, y = case(3)
    right = torch.arange(50) % 2 == 0
    y = torch.where(right, y, (y + 1) % 3)
    with counting(model) as passes:
        found = FMN(threat, steps=20).closest(model, x, y)
    assert torch.equal(found[~right], x[~right])
    assert (threat.distance(x, found)[right] > 0).all()
    assert passes.backward == 25 * 21 * 2  # nothing is asked of the others


@EACH
@pytest.mark.parametrize("early_exit", [False, True])
def test_where_nothing_is_found_it_returns_the_image(threat, early_exit):
    attack, y = FMN(threat, steps=5, early_exit=early_exit), torch.zeros(50, dtype=torch.int64)
    assert torch.equal(attack.closest(Constant().eval(), images(), y), images())
    assert torch.equal(attack(Constant().eval(), images(), y), images())


@EACH
def test_a_call_brings_the_nearest_break_into_the_set(threat):
    model, x, y = case(10)
    attack, nearest = FMN(threat, steps=100), truth(model, x, y, threat)
    called, closest = attack(model, x, y), attack.closest(model, x, y)
    torch.testing.assert_close(called, threat.project(x, closest))
    clear = (nearest / threat.eps - 1).abs() > 0.02
    assert torch.equal(wrong(model, called, y)[clear], (nearest < threat.eps)[clear])
    assert 0 < (nearest < threat.eps).sum() < 50


def walk(threat, x, y):
    """The points of a search for the likeliest target, (31, B, ...); how far each is, and ∞ where it is no break."""
    with watching(precise()) as seen:
        FMN(threat, steps=30, targets=1).closest(precise(), x, y)
    points = torch.stack(seen[1:])  # after the first look
    broken = torch.stack([wrong(precise(), point, y) for point in points])
    return points, torch.stack([threat.distance(x, point) for point in points]).where(broken, math.inf)


@ON_DIGITS
def test_it_returns_the_nearest_break_that_it_saw(threat):
    x, y = digits().x.double(), digits().y
    right = hits(precise(), x, y)
    x, y = x[right], y[right]
    points, away = walk(threat, x, y)
    expected = points[away.argmin(0), torch.arange(len(x))].where(away.amin(0).isfinite()[:, None, None, None], x)
    torch.testing.assert_close(FMN(threat, steps=30, targets=1).closest(precise(), x, y), expected, rtol=0, atol=1e-9)
    found = away.isfinite()
    last = found.shape[0] - 1 - found.flip(0).int().argmax(0)
    assert (away.argmin(0) != last)[found.any(0)].any()  # the nearest is not always the last


@ON_DIGITS
@pytest.mark.parametrize("every", [1, 10])
def test_early_exit_is_content_with_the_first_break_within_the_radius(threat, every, monkeypatch):
    x, y = digits().x.double(), digits().y
    right = hits(precise(), x, y)
    x, y = x[right], y[right]
    points, away = walk(threat, x, y)
    near = away <= threat.eps
    first, content = near.int().argmax(0), near.any(0)
    watch_standing(monkeypatch, every)
    with counting(precise()) as passes:
        found = FMN(threat, steps=30, targets=1, early_exit=True).closest(precise(), x, y)
    expected = points[first, torch.arange(len(x))]
    torch.testing.assert_close(found[content], expected[content], rtol=0, atol=1e-9)
    assert (threat.distance(x, found)[~content] > threat.eps).any()  # the others keep what was found farther out
    assert 0 < content.sum() < len(x)
    # The last look of a walk is followed by no step, and nobody leaves there.
    walked = torch.where(content & (first < 30), (first // every + 1) * every, 31).clamp_max(31)
    assert passes.backward == walked.sum()
    assert passes.forward == passes.backward + len(x)


@EACH
def test_who_is_content_with_one_target_tries_no_other(threat):
    model, x, y = case(10)
    nearest = truth(model, x, y, threat)
    with counting(model) as full:
        FMN(threat, steps=100).closest(model, x, y)
    with counting(model) as early:
        found = FMN(threat, steps=100, early_exit=True).closest(model, x, y)
    near, far = nearest < 0.98 * threat.eps, nearest > threat.eps
    assert (threat.distance(x, found)[near] <= threat.eps).all()
    assert full.backward == 50 * 101 * 9
    assert full.forward == full.backward + 50
    assert far.sum() * 101 * 9 <= early.backward <= far.sum() * 101 * 9 + (~far).sum() * 101 * 3


def test_a_target_out_of_reach_does_not_hide_the_next_one():
    # The likeliest of the wrong classes is always at 0.9. The other one passes the right one where the pixel is 0.6.
    model = linear(torch.tensor([[0.0], [0.0], [1.0]]), torch.tensor([1.0, 0.9, 0.4]))
    x, y = torch.full((5, 1), 0.45), torch.zeros(5, dtype=torch.int64)
    for early_exit in (False, True):
        found = FMN(Linf(0.3), steps=60, early_exit=early_exit).closest(model, x, y)
        assert not hits(model, found, y).any()
    assert torch.equal(FMN(Linf(0.3), targets=1).closest(model, x, y), x)


@ON_DIGITS
def test_early_exit_breaks_the_same_points_as_the_full_search(threat):
    x, y = digits().x, digits().y
    full, early = (FMN(threat, steps=30, early_exit=early)(trained(), x, y) for early in (False, True))
    assert torch.equal(wrong(trained(), full, y), wrong(trained(), early, y))
    assert 0 < wrong(trained(), full, y).sum() < len(x)


@ON_DIGITS
def test_more_targets_find_nearer_breaks(threat):
    x, y = digits().x, digits().y
    one, all_of_them = (
        threat.distance(x, FMN(threat, steps=30, targets=targets).closest(trained(), x, y)) for targets in (1, 99)
    )
    assert (all_of_them <= one).all()
    assert (all_of_them < one).any()


def test_the_distance_does_not_depend_on_the_radius():
    x, y = digits().x[:30], digits().y[:30]
    near, far = (FMN(Linf(eps), steps=20).closest(trained(), x, y) for eps in (0.01, 1.0))
    assert torch.equal(near, far)


def test_any_search_for_the_nearest_break_is_an_attack():
    @dataclass(frozen=True)
    class Blackens(MinimumNorm):
        def shrink(self, model, x, y, generator):
            return torch.zeros_like(x)

    x, y = images(), torch.arange(50) % 3
    attack = Blackens(Linf(0.1))
    assert attack.closest(network(6), x, y).eq(0).all()
    torch.testing.assert_close(attack(network(6), x, y), x - 0.1)
    with pytest.raises(ValueError, match="model is in training mode"):
        attack.closest(network(6).train(), x, y)


@EACH
def test_the_nearest_points_are_broken_for_sure(threat):
    # Beside logits of 10, the last digits of float32 are worth 1e-5: a break must be farther out than that.
    model = linear(torch.tensor([[1.0, -1.0], [0.0, 0.0]]), torch.tensor([10.0, 10.0]))
    x, y = torch.full((50, 2), 0.5), torch.zeros(50, dtype=torch.int64)
    x[:, 0] += torch.logspace(-5, -1, 50)
    found, nearest = FMN(threat, steps=60).closest(model, x, y), truth(model, x, y, threat)
    assert wrong(model, found, y).all()
    assert (threat.distance(x, found) <= 1.02 * nearest + 2e-3).all()


def test_a_gradient_that_is_not_a_number_stops_the_search():
    class Root(torch.nn.Module):
        def forward(self, x):
            x = x.flatten(1)
            return torch.stack([1 + 0 * x[:, 0], (0 * x).sum(1).sqrt()], 1)

    with pytest.raises(FloatingPointError, match="the gradient of the loss has NaN or infinite values"):
        FMN(Linf(0.1), steps=3)(Root().eval(), images(), torch.zeros(50, dtype=torch.int64))


def test_a_model_that_detaches_its_input_is_called_blind():
    y = network(6)(images()).argmax(1)
    with pytest.raises(ValueError, match="model gives no gradient with respect to its input, so this attack is blind"):
        FMN(Linf(0.1))(Detached(network(6)), images(), y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps and targets must be >= 1, got steps=0, targets=9"),
        ({"targets": 0}, "steps and targets must be >= 1, got steps=50, targets=0"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FMN(Linf(0.1), **settings)
