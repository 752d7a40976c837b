"""Distances to the nearest break, and the curve over ε that they give, against answers known by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustcourse import (
    FMN,
    L1,
    L2,
    PGD,
    DeepFool,
    Estimate,
    Linf,
    accuracy,
    break_distance,
    report,
    robustness_curve,
)
from robustcourse.attacks import MinimumNorm
from robustcourse.data import Split
from tests import nets
from tests.nets import Constant, Noisy, digits, hits, images, linear, trained

NORMS = pytest.mark.parametrize("norm", [Linf, L2, L1])


def case(classes=3):
    """A linear model, and images with the labels that it gives them."""
    model, x, y = nets.case(classes)
    return model, Split(x, y)


def truth(model, split, threat):
    return nets.truth(model, split.x, split.y, threat)


@dataclass(frozen=True)
class Brighter(MinimumNorm):
    """Adds the same to every pixel of each image, and notes how many images it got at a time."""

    by: float = 0.0
    sizes: list = field(default_factory=list)

    def shrink(self, model, x, y, generator):
        self.sizes.append(len(x))
        return x + self.by


@dataclass(frozen=True)
class Watched(MinimumNorm):
    """FMN, which keeps what it found."""

    found: list = field(default_factory=list)

    def shrink(self, model, x, y, generator):
        self.found.append(FMN(self.threat, steps=20).shrink(model, x, y, generator))
        return self.found[-1]


@NORMS
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_distance_of_a_linear_model_is_its_margin_over_the_dual_norm(norm, classes):
    model, split = case(classes)
    found, nearest = break_distance(model, split, norm(0.0)), truth(model, split, norm(0.0))
    share = found[nearest > 1e-3] / nearest[nearest > 1e-3]
    assert len(share) >= 40
    assert 0.999 < share.min() <= share.max() < 1.02


@NORMS
def test_the_radius_of_the_threat_has_no_say(norm):
    model, split = case()
    assert torch.equal(break_distance(model, split, norm(0.9)), break_distance(model, split, norm(0.001)))


@NORMS
def test_only_what_a_mask_leaves_free_is_moved(norm):
    model, split = case(2)
    masked = norm(0.1, torch.tensor([[[True, True, False, False, True, False]]]))
    found, nearest = break_distance(model, split, masked), truth(model, split, masked)
    inside = (nearest > 1e-3) & (nearest < 0.2)  # farther ones meet the box
    assert inside.sum() > 10
    share = found[inside] / nearest[inside]
    assert 0.999 < share.min() <= share.max() < 1.02
    assert (found >= 0.999 * nearest).all()


def test_an_image_that_is_misread_as_it_is_has_distance_zero_and_no_other():
    model, split = case()
    other = Split(split.x, torch.where(torch.arange(50) % 2 == 0, split.y, (split.y + 1) % 3))
    found = break_distance(model, other, L2(0.1))
    assert torch.equal(found == 0, ~hits(model, other.x, other.y))
    assert torch.equal(found[::2], break_distance(model, split, L2(0.1))[::2])


def test_a_model_that_nothing_breaks_is_infinitely_far_from_it():
    split = Split(images(), torch.arange(50) % 2)  # it says 0 to everything, and has a gradient of zero
    expected = torch.where(split.y == 0, math.inf, 0.0)
    for threat in (Linf(0.1), L2(0.1), L1(0.1)):
        assert torch.equal(break_distance(Constant().eval(), split, threat), expected)


def test_a_distance_that_the_box_cuts_off_is_infinite():
    # One pixel, at most 1: the second class needs 1.5 of it.
    model = linear(torch.tensor([[0.0], [1.0]]), torch.tensor([1.5, 0.0]))
    split = Split(torch.tensor([0.2, 0.9]).view(-1, 1, 1, 1), torch.tensor([0, 0]))
    assert break_distance(model, split, Linf(0.5)).tolist() == [math.inf] * 2


@pytest.mark.parametrize("threat", [Linf(0.15), L2(0.8), L1(3.0)], ids=str)
@pytest.mark.parametrize("kind", ["standard", "robust"])
def test_what_a_walk_breaks_within_eps_is_not_farther_than_that(kind, threat):
    found = break_distance(trained(kind), digits(), threat)
    fell = ~report(trained(kind), digits(), PGD(threat)).right
    assert fell.sum() >= 30
    # Each search may lose its way now and then, but not often.
    assert (found[fell] <= 1.03 * threat.eps).float().mean() >= 0.95
    # Those at distance zero are those that are misread as they are.
    assert torch.equal(found > 0, hits(trained(kind), digits().x, digits().y))


@NORMS
def test_a_distance_is_that_of_a_point_which_is_misread(norm):
    attack = Watched(norm(0.1))
    distance = break_distance(trained(), digits(), norm(0.1), attack)
    (x_adv,) = attack.found
    broken = ~hits(trained(), x_adv, digits().y)
    assert broken.sum() >= 100
    assert torch.equal(distance[broken], norm(0.1).distance(digits().x, x_adv)[broken])
    assert distance[~broken].isinf().all()


def test_another_attack_may_look_instead():
    model, split = case(2)
    nearest = truth(model, split, L2(0.1))
    found = break_distance(model, split, L2(0.1), DeepFool(L2(0.1)))
    torch.testing.assert_close(found, nearest, rtol=0.05, atol=1e-3)
    assert not torch.equal(found, break_distance(model, split, L2(0.1)))
    # One that adds 0.3 to both pixels, and one that adds too little to break anything.
    bright = linear(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([1.0, 0.0]))
    pair = Split(torch.full((1, 1, 1, 2), 0.4), torch.tensor([0]))
    for threat, length in ((Linf(0.1), 0.3), (L2(0.1), 0.3 * math.sqrt(2)), (L1(0.1), 0.6)):
        assert break_distance(bright, pair, threat, Brighter(threat, 0.3)).item() == pytest.approx(length)
        assert break_distance(bright, pair, threat, Brighter(threat, 0.05)).item() == math.inf


def test_examples_come_in_batches():
    model, split = case()
    attack = Brighter(L2(0.1))
    found = break_distance(model, split, L2(0.1), attack, batch_size=20)
    assert attack.sizes == [20, 20, 10]
    assert found.shape == (50,)
    one = break_distance(model, split, L2(0.1))
    torch.testing.assert_close(break_distance(model, split, L2(0.1), batch_size=7), one, rtol=1e-3, atol=1e-4)


def test_a_random_model_depends_on_the_seed_alone():
    model = Noisy(trained(), size=0.3)

    def ask(seed, world):
        torch.manual_seed(world)
        state = torch.get_rng_state()
        found = break_distance(model, digits()[:30], L2(0.5), FMN(L2(0.5), steps=5), seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        return found

    first = ask(0, 1)
    assert torch.equal(ask(0, 2), first)
    assert not torch.equal(ask(1, 1), first)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(6, 3))}, ValueError, "model is in training mode"),
        ({"model": len}, TypeError, r"model must be a torch.nn.Module, got builtin_function_or_method"),
        ({"split": Split(images(), torch.full((50,), 3))}, ValueError, r"y must hold labels in 0 … 2, got labels in 3"),
    ],
)
def test_a_wrong_input_is_refused(change, error, message):
    model, split = case()
    asked = {"model": model, "split": split, "threat": L2(0.1)} | change
    with pytest.raises(error, match=message):
        break_distance(**asked)


# The curve


def test_the_curve_counts_those_who_break_farther_away():
    distance = torch.tensor([0.0, 0.1, 0.2, 0.2, math.inf])
    curve = robustness_curve(distance, [0, 0.05, 0.1, 0.15, 0.2, 7])
    # At its own distance, a point is broken.
    shares = [4, 4, 3, 3, 1, 1]
    assert curve == [Estimate.proportion([True] * k + [False] * (5 - k)) for k in shares]
    assert robustness_curve(distance, []) == []


def test_the_radii_keep_their_order():
    values = [estimate.value for estimate in robustness_curve(torch.tensor([0.1, 0.3]), [0.2, 0.0, 0.4])]
    assert values == [0.5, 1.0, 0.0]


@given(st.lists(st.floats(0, 4) | st.just(math.inf), min_size=1, max_size=20), st.lists(st.floats(0, 5), min_size=2))
def test_the_curve_never_rises(distances, radii):
    values = [e.value for e in robustness_curve(torch.tensor(distances, dtype=torch.float64), sorted(radii))]
    assert values == sorted(values, reverse=True)
    assert values == [sum(d > r for d in distances) / len(distances) for r in sorted(radii)]


def test_at_zero_it_is_the_accuracy_and_further_on_at_most_that_of_a_walk():
    distance = break_distance(trained("robust"), digits(), Linf(0.15))
    radii = (0, 0.05, 0.1, 0.15, 0.3)
    curve = robustness_curve(distance, radii)
    assert curve[0] == accuracy(trained("robust"), digits())
    for eps, estimate in list(zip(radii, curve, strict=True))[1:]:
        assert estimate.value <= report(trained("robust"), digits(), PGD(Linf(eps))).accuracy.value + 0.02


@pytest.mark.parametrize("eps", [[-0.1], [0.1, -1e-9], [float("nan")]])
def test_a_radius_is_not_negative(eps):
    with pytest.raises(ValueError, match=r"eps must be >= 0, got \[") as error:
        robustness_curve(torch.tensor([0.1]), eps)
    assert str(eps) in str(error.value)


def test_a_distance_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="distance must not be NaN"):
        robustness_curve(torch.tensor([0.1, float("nan")]), [0.1])
