"""The geometry of threat sets: known points by hand, and properties that hold for any input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcourse import L2, Linf
from robustcourse.threats import per_example

THREATS = [Linf, L2]
few = settings(deadline=None, max_examples=40)

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(lambda sides: (3, *sides))
seeds = st.integers(0, 2**32)
radii = st.one_of(st.just(0.0), st.floats(1e-6, 1.0))


def noise(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_known_answers_in_the_plane():
    delta = torch.tensor([[3.0, -4.0], [0.0, 0.0]])
    assert Linf(1).norm(delta).tolist() == [4, 0]
    assert L2(1).norm(delta).tolist() == [5, 0]
    assert Linf(1).dual(delta).tolist() == [7, 0]  # the dual of the largest entry is the sum, and L2 is its own
    assert L2(1).dual(delta).tolist() == [5, 0]
    assert Linf(1).steepest(delta).tolist() == [[1, -1], [0, 0]]
    torch.testing.assert_close(L2(1).steepest(delta), torch.tensor([[0.6, -0.8], [0.0, 0.0]]))
    assert Linf(1).clip(delta).tolist() == [[1, -1], [0, 0]]
    torch.testing.assert_close(L2(1).clip(delta), torch.tensor([[0.6, -0.8], [0.0, 0.0]]))
    assert Linf(1).distance(delta, 2 * delta).tolist() == [4, 0]


@few
@given(st.sampled_from(THREATS), shapes, seeds, st.floats(-38, 37))
def test_the_steepest_direction_gains_the_dual_norm_and_no_other_gains_more(threat, shape, seed, exponent):
    threat, gradient = threat(1.0), 10.0**exponent * noise(shape, seed)
    steepest, other = threat.steepest(gradient), noise(shape, seed + 1)
    assert threat.norm(steepest).max() <= 1 + 1e-5
    # In float64, so that the test's own sums neither overflow nor vanish.
    gradient = gradient.double()
    gain, dual = (gradient * steepest).flatten(1).sum(1), threat.dual(gradient)
    torch.testing.assert_close(gain, dual, rtol=1e-4, atol=0.0)
    other = other / per_example(threat.norm(other), other)
    assert ((gradient * other).flatten(1).sum(1) <= dual * (1 + 1e-5)).all()


@few
@given(st.sampled_from(THREATS), shapes, seeds, radii, st.floats(-15, 18))
def test_clip_lands_in_the_ball_and_leaves_its_points_alone(threat, shape, seed, eps, exponent):
    threat, delta = threat(eps), 10.0**exponent * noise(shape, seed)
    clipped = threat.clip(delta)
    assert (threat.norm(clipped) <= eps * (1 + 1e-6)).all()
    torch.testing.assert_close(threat.clip(clipped), clipped, rtol=1e-6, atol=0.0)
    inside = threat.norm(delta) <= eps
    assert torch.equal(clipped[inside], delta[inside])


@few
@given(st.sampled_from(THREATS), shapes, seeds, radii)
def test_clip_finds_the_nearest_point_of_the_ball(threat, shape, seed, eps):
    threat, delta = threat(eps), noise(shape, seed)
    other = threat.clip(noise(shape, seed + 1))
    nearest, distance = L2(1).distance(delta, threat.clip(delta)), L2(1).distance(delta, other)
    assert (nearest <= distance + 1e-5).all()


@few
@given(st.sampled_from(THREATS), shapes, seeds, radii, st.floats(-6, 6))
def test_project_and_random_end_in_the_ball_and_in_the_box(threat, shape, seed, eps, exponent):
    threat, generator = threat(eps), torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=generator).round(decimals=1)  # now and then on the border of the box
    for point in (threat.project(x, x + 10.0**exponent * noise(shape, seed)), threat.random(x, generator)):
        assert point.min() >= 0
        assert point.max() <= 1
        assert threat.distance(x, point).max() <= eps + 1e-6
        assert point.dtype == x.dtype


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.1)])
def test_random_points_are_uniform_in_the_ball(threat):
    x = torch.full((20_000, 1, 1, 2), 0.5)
    distance = threat.distance(x, threat.random(x, torch.Generator().manual_seed(0)))
    # In two dimensions a ball of half the radius holds a quarter of the points; ± 4 standard errors.
    assert float((distance < 0.05).float().mean()) == pytest.approx(0.25, abs=0.0125)
    assert 0.099 < distance.max() <= 0.1 + 1e-6


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.1)])
def test_random_points_follow_the_generator_alone(threat):
    x, state = torch.full((5, 2), 0.5), torch.get_rng_state()
    first, again, other = (threat.random(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("eps", [-0.1, math.nan, math.inf])
def test_a_radius_must_be_a_finite_number_from_zero_up(threat, eps):
    with pytest.raises(ValueError, match=f"eps must be a finite number >= 0, got {eps}"):
        threat(eps)


def test_a_cube_wider_than_the_box_is_a_mistake_of_units():
    with pytest.raises(ValueError, match=r"eps of Linf must be in \[0, 1\], the range of a pixel, got 8; 8/255, not 8"):
        Linf(8)
    assert L2(8).eps == 8  # in L2 the box itself has a longer diagonal


def test_threats_are_values():
    assert Linf(0.1) == Linf(0.1) != L2(0.1)
    assert str(Linf(0.1)) == "Linf(eps=0.1)"
