"""The geometry of threat sets: known points by hand, and properties that hold for any input."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from robustcourse import L1, L2, Linf
from robustcourse.threats import passable, per_example

THREATS = [Linf, L2, L1]
few = settings(deadline=None, max_examples=60)
each = pytest.mark.parametrize("threat", THREATS)

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(lambda sides: (3, *sides))
seeds = st.integers(0, 2**32)
radii = st.one_of(st.just(0.0), st.floats(1e-6, 1.0))


def noise(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def half(shape, seed):
    """A mask that leaves at least one entry free."""
    mask = noise(shape, seed) > 0
    mask.view(-1)[0] = True
    return mask


def test_known_answers_in_the_plane():
    delta = torch.tensor([[3.0, -4.0], [0.0, 0.0]])
    assert Linf(1).norm(delta).tolist() == [4, 0]
    assert L2(1).norm(delta).tolist() == [5, 0]
    assert L1(1).norm(delta).tolist() == [7, 0]
    assert Linf(1).dual(delta).tolist() == [7, 0]  # the dual of the largest entry is the sum, and L2 is its own
    assert L2(1).dual(delta).tolist() == [5, 0]
    assert L1(1).dual(delta).tolist() == [4, 0]
    assert Linf(1).steepest(delta).tolist() == [[1, -1], [0, 0]]
    torch.testing.assert_close(L2(1).steepest(delta), torch.tensor([[0.6, -0.8], [0.0, 0.0]]))
    assert L1(1).steepest(delta).tolist() == [[0, -1], [0, 0]]
    assert Linf(1).clip(delta).tolist() == [[1, -1], [0, 0]]
    torch.testing.assert_close(L2(1).clip(delta), torch.tensor([[0.6, -0.8], [0.0, 0.0]]))
    assert L1(1).clip(delta).tolist() == [[0, -1], [0, 0]]
    assert L1(3).clip(delta).tolist() == [[1, -2], [0, 0]]  # both entries two less
    assert Linf(1).distance(delta, 2 * delta).tolist() == [4, 0]


@few
@given(st.sampled_from(THREATS), shapes, seeds, st.floats(-38, 37), st.booleans())
def test_the_steepest_direction_gains_the_dual_norm_and_no_other_gains_more(threat, shape, seed, exponent, masked):
    mask = half(shape[1:], seed) if masked else None
    threat, gradient = threat(1.0, mask), 10.0**exponent * noise(shape, seed)
    steepest, other = threat.steepest(gradient), threat.free(noise(shape, seed + 1))
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
    torch.testing.assert_close(threat.clip(clipped), clipped, rtol=1e-6, atol=1e-6 * eps)
    inside = threat.norm(delta) <= eps * (1 - 1e-6)
    assert torch.equal(clipped[inside], delta[inside])


@few
@given(st.sampled_from(THREATS), shapes, seeds, radii)
def test_clip_finds_the_nearest_point_of_the_ball(threat, shape, seed, eps):
    threat, delta = threat(eps), noise(shape, seed)
    other = threat.clip(noise(shape, seed + 1))
    nearest, distance = L2(1).distance(delta, threat.clip(delta)), L2(1).distance(delta, other)
    assert (nearest <= distance + 1e-5).all()


@each
def test_clip_agrees_with_a_solver(threat):
    # δ = p − q with p, q ≥ 0 makes every norm a smooth function where it matters.
    norms = {Linf: lambda pq: 0.7 - (pq[:5] + pq[5:]), L2: lambda pq: 0.7**2 - ((pq[:5] - pq[5:]) ** 2).sum()}
    within = norms.get(threat, lambda pq: 0.7 - pq.sum())
    for seed in range(5):
        delta = noise((1, 5), seed).double()
        solved = minimize(
            lambda pq, to: ((pq[:5] - pq[5:] - to) ** 2).sum(),
            np.full(10, 0.01),
            args=(delta[0].numpy(),),
            bounds=[(0, None)] * 10,
            constraints={"type": "ineq", "fun": within},
            options={"ftol": 1e-12, "maxiter": 500},
        ).x
        torch.testing.assert_close(threat(0.7).clip(delta)[0], torch.tensor(solved[:5] - solved[5:]), rtol=0, atol=1e-4)


@few
@given(st.sampled_from(THREATS), shapes, seeds, st.booleans())
def test_each_example_may_have_a_radius_of_its_own(threat, shape, seed, masked):
    mask, delta = half(shape[1:], seed) if masked else None, noise(shape, seed)
    found = threat(0.5, mask).clip(delta, torch.tensor([0.1, 0.0, math.inf]))
    torch.testing.assert_close(found[:1], threat(0.1, mask).clip(delta[:1]))
    assert found[1].eq(0).all()
    assert torch.equal(found[2], threat(1, mask).free(delta)[2])


@few
@given(st.sampled_from(THREATS), shapes, seeds, radii, st.floats(-6, 6), st.booleans())
def test_project_and_random_end_in_the_ball_and_in_the_box(threat, shape, seed, eps, exponent, masked):
    mask = half(shape[1:], seed) if masked else None
    threat, generator = threat(eps, mask), torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=generator).round(decimals=1)  # now and then on the border of the box
    for point in (threat.project(x, x + 10.0**exponent * noise(shape, seed)), threat.random(x, generator)):
        assert point.min() >= 0
        assert point.max() <= 1
        assert threat.distance(x, point).max() <= eps + 1e-6
        assert point.dtype == x.dtype
        if masked:
            assert torch.equal(point[:, ~mask], x[:, ~mask])


@each
@pytest.mark.parametrize("mask", [None, torch.tensor([[[True, False], [False, True]]])], ids=["all", "two of four"])
def test_random_points_are_uniform_in_the_ball(threat, mask):
    x = torch.full((20_000, 1, 1, 2) if mask is None else (20_000, 1, 2, 2), 0.5)
    point = threat(0.1, mask).random(x, torch.Generator().manual_seed(0))
    distance = threat(0.1).distance(x, point)
    # In two dimensions a ball of half the radius holds a quarter of the points; ± 4 standard errors.
    assert float((distance < 0.05).float().mean()) == pytest.approx(0.25, abs=0.0125)
    assert 0.099 < distance.max() <= 0.1 + 1e-6
    # The share with |δ₁| > ε/2 by the area of a square, a disc and a diamond, and each sign in half of them.
    outer = {Linf: 0.5, L2: 2 / 3 - math.sqrt(3) / (2 * math.pi), L1: 0.25}[threat]
    free = point.flatten(1) if mask is None else point[:, mask]
    for pixel in free.T - 0.5:
        assert float((pixel.abs() > 0.05).float().mean()) == pytest.approx(outer, abs=0.0145)
        assert float((pixel > 0).float().mean()) == pytest.approx(0.5, abs=0.0145)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_random_points_follow_the_generator_alone(threat, dtype):
    x, state = torch.full((5, 2), 0.5, dtype=dtype), torch.get_rng_state()
    first, again, other = (threat(0.1).random(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == dtype
    assert torch.equal(torch.get_rng_state(), state)


def test_a_black_pixel_gets_no_darker_and_a_white_one_no_lighter():
    x = torch.tensor([[0.0, 0.0, 0.5, 0.5, 1.0, 1.0]])
    gradient = torch.tensor([[-1.0, 2.0, -3.0, 4.0, -5.0, 6.0]])
    assert passable(x, gradient).tolist() == [[0, 2, -3, 4, -5, 0]]


def test_a_step_is_spent_on_pixels_that_can_move():
    x, gradient = torch.tensor([[0.0, 0.5, 0.5]]), torch.tensor([[-9.0, 3.0, -4.0]])
    assert L1(1).ascent(x, gradient).tolist() == [[0, 0, -1]]
    torch.testing.assert_close(L2(1).ascent(x, gradient), torch.tensor([[0, 0.6, -0.8]]))
    assert Linf(1).ascent(x, gradient).tolist() == [[-1, 1, -1]]  # here the black one takes nothing from the others
    mask = torch.tensor([True, True, False])
    assert L1(1, mask).ascent(x, gradient).tolist() == [[0, 1, 0]]
    assert L2(1, mask).ascent(x, gradient).tolist() == [[0, 1, 0]]


@each
def test_what_the_mask_forbids_counts_nowhere(threat):
    mask, delta = torch.tensor([True, False, True]), torch.tensor([[3.0, -100.0, -4.0]])
    masked, alone = threat(1.0, mask), threat(1.0)
    for method in ("dual", "steepest", "clip"):
        whole, rest = getattr(masked, method)(delta), getattr(alone, method)(delta[:, mask])
        assert torch.equal(whole if method == "dual" else whole[:, mask], rest)
        assert method == "dual" or whole[0, 1] == 0
    assert masked.free(delta).tolist() == [[3, 0, -4]]
    assert alone.free(delta) is delta


@each
@pytest.mark.parametrize("eps", [-0.1, math.nan, math.inf])
def test_a_radius_must_be_a_finite_number_from_zero_up(threat, eps):
    with pytest.raises(ValueError, match=f"eps must be a finite number >= 0, got {eps}"):
        threat(eps)


def test_a_cube_wider_than_the_box_is_a_mistake_of_units():
    with pytest.raises(ValueError, match=r"eps of Linf must be in \[0, 1\], the range of a pixel, got 8; 8/255, not 8"):
        Linf(8)
    assert (L2(8).eps, L1(8).eps) == (8, 8)  # there the box itself has a longer diagonal


@each
@pytest.mark.parametrize(("mask", "got"), [(torch.ones(2), "torch.float32"), ([True, False], "list")])
def test_a_mask_is_a_tensor_of_booleans(threat, mask, got):
    with pytest.raises(TypeError, match=f"mask must be a tensor of booleans, True where .*, got {got}"):
        threat(0.1, mask)


@each
def test_a_mask_has_the_shape_of_one_input(threat):
    masked = threat(0.1, torch.ones(3, dtype=torch.bool))  # would broadcast
    with pytest.raises(ValueError, match=re.escape("mask must have the shape of one input, (2, 3), got (3,)")):
        masked.project(torch.zeros(4, 2, 3), torch.zeros(4, 2, 3))


@each
def test_threats_are_values(threat):
    mask, other = torch.tensor([True, False]), torch.tensor([True, True])
    assert threat(0.1) == threat(0.1) != threat(0.2)
    assert threat(0.1, mask) == threat(0.1, mask.clone())
    assert len({threat(0.1, mask), threat(0.1, mask.clone()), threat(0.1, other), threat(0.1)}) == 3
    assert threat(0.1, mask) not in (threat(0.1, other), threat(0.1), threat(0.2, mask), 0.1)
    assert str(threat(0.1)) == repr(threat(0.1, mask)) == f"{threat.__name__}(eps=0.1)"


def test_balls_of_one_radius_differ_by_their_norm():
    assert len({Linf(0.1), L2(0.1), L1(0.1)}) == 3


def test_no_change_is_longer_than_the_length_and_a_corner_is_as_long():
    x, some = torch.full((50, 1, 8, 8), 0.5), torch.zeros(1, 8, 8, dtype=torch.bool)
    some[:, :2, :2] = True
    for threat, length in (
        (Linf(0.1), 0.8),
        (Linf(0.1, some), 0.2),
        (L2(0.1), 0.1),
        (L2(0.1, some), 0.1),
        (L1(0.1), 0.1),
        (L2(0.1, torch.zeros_like(some)), 0.0),
    ):
        assert threat.length(x) == pytest.approx(length)
        assert L2(0).distance(x, threat.random(x, torch.Generator().manual_seed(0))).max() <= length + 1e-6
        longest = threat.project(x, x + threat.steepest(torch.ones_like(x)))
        assert L2(0).distance(x, longest).max() == pytest.approx(length, abs=1e-6)
