"""Sharpness where the highest point is known, and what rescaling does to it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcourse.landscape import sharpness, weights, with_weights
from tests.landscape.cases import ATTACKED, SPLIT, rescaled, small

SLOPE = torch.randn(130, generator=torch.Generator().manual_seed(0)).double()


def vector(model):
    return torch.cat([p.flatten() for p in model.parameters()])


@pytest.mark.parametrize("steps", [1, 3])
def test_a_plane_rises_by_the_length_of_its_slope(steps):
    plane = lambda model, x, y: SLOPE @ vector(model)  # noqa: E731
    assert sharpness(small(), SPLIT, 0.3, plane, steps=steps) == pytest.approx(0.3 * float(SLOPE.norm()))
    relative = 0.3 * float((SLOPE * weights(small()).abs()).norm())
    assert sharpness(small(), SPLIT, 0.3, plane, adaptive=True, steps=steps) == pytest.approx(relative)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_bowl_is_highest_straight_away_from_its_middle(steps):
    bowl = lambda model, x, y: (vector(model) ** 2).sum() / 2  # noqa: E731
    far = float(weights(small()).norm())
    assert sharpness(small(), SPLIT, 0.3, bowl, steps=steps) == pytest.approx(0.3 * far + 0.3**2 / 2)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_search_stays_in_the_ball_and_finds_more_with_more_steps(adaptive):
    model, seen = small(), []

    def watched(network, x, y):
        seen.append(weights(network))
        return ATTACKED(network, x, y)

    found = [sharpness(model, SPLIT, 2.0, watched, adaptive=adaptive, steps=steps) for steps in (1, 20)]
    assert 0 < found[0] < found[1]
    own = weights(model)
    ways = torch.stack(seen) - own
    assert ((ways / own if adaptive else ways).norm(dim=1) <= 2.0 + 1e-9).all()


def test_under_attack_both_ends_are_attacked():
    model = small()
    seen = []

    def watched(network, x, y):
        seen.append(weights(network))
        return ATTACKED(network, x, y)

    rise = sharpness(model, SPLIT, 0.5, watched)
    assert rise == sharpness(model, SPLIT, 0.5, ATTACKED)
    x = SPLIT.x.double()
    with torch.random.fork_rng():
        heights = []
        for theta in (seen[0], seen[-1]):
            torch.manual_seed(0)
            heights.append(ATTACKED(with_weights(model, theta), x, SPLIT.y).item())
    assert rise == pytest.approx(heights[1] - heights[0])


@given(factor=st.floats(0.05, 20), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_rescaling_a_layer_does_not_change_adaptive_sharpness(factor, seed):
    model = small(seed=seed)
    one, same = (sharpness(m, SPLIT, 0.5, adaptive=True, steps=2) for m in (model, rescaled(model, [factor])))
    assert one == pytest.approx(same, rel=1e-8)


def test_rescaling_a_layer_changes_sharpness():
    plain, uneven = (sharpness(m, SPLIT, 0.1) for m in (small(), rescaled(small(), [20.0])))
    assert uneven > 2 * plain


def test_nowhere_to_rise():
    assert sharpness(small(), SPLIT, 0.0) == 0
    assert sharpness(small(), SPLIT, 0.5, lambda model, x, y: 0 * vector(model).sum()) == 0


def test_wrong_input_is_named():
    for rho in (-0.1, float("nan")):
        with pytest.raises(ValueError, match=f"rho must be a finite number >= 0, got {rho}"):
            sharpness(small(), SPLIT, rho)
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        sharpness(small(), SPLIT, steps=0)
    with pytest.raises(ValueError, match="model is in training mode"):
        sharpness(small().train(), SPLIT)
