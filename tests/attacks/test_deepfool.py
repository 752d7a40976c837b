"""DeepFool, which for a linear model is exact after one step."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcourse import L1, L2, Linf
from robustcourse.attacks import FMN, DeepFool, RandomSearch
from robustcourse.evaluate import counting
from tests.nets import (
    Constant,
    Detached,
    digits,
    generator,
    images,
    linear,
    network,
    precise,
    trained,
    watch_standing,
    wrong,
)

EACH = pytest.mark.parametrize("threat", [Linf(0.01), L2(0.03), L1(0.05)], ids=str)
ON_DIGITS = pytest.mark.parametrize("threat", [Linf(0.15), L2(0.8), L1(2.0)], ids=str)


def case(classes):
    """A linear model in which all classes meet at grey, images around it, and their labels."""
    w = torch.randn(classes, 6, generator=generator(), dtype=torch.float64)
    model, x = linear(w, -w.sum(1) / 2), images().double()
    return model, x, model(x).argmax(1)


def away(model, x, y, threat):
    """How far the boundary to each class is, (B, classes): margin / dual norm; infinitely far to the class itself."""
    logits, w = model(x).detach(), model[1].weight.data
    gaps = logits.gather(1, y[:, None]) - logits
    rates = torch.stack([threat.dual((w[k] - w[y]).view_as(x)) for k in range(len(w))], 1)
    return (gaps / rates).scatter(1, y[:, None], math.inf)


@EACH
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_one_step_is_the_shortest_way_in_a_linear_model(threat, classes):
    model, x, y = case(classes)
    with counting(model) as passes:
        found = DeepFool(threat, overshoot=0.01).closest(model, x, y)
    assert wrong(model, found, y).all()
    nearest = away(model, x, y, threat).amin(1)
    torch.testing.assert_close(threat.distance(x, found), 1.01 * nearest, rtol=1e-5, atol=1e-8)
    assert passes.backward == 50 * (1 + classes - 1)
    assert passes.forward == 50 * 5  # two looks at x; before the step, with a graph, and after it


@EACH
def test_the_likeliest_candidates_at_x_are_the_ones_considered(threat):
    model, x, y = case(10)
    ranks, mean = model(x).argsort(1, descending=True)[:, 1:], []
    for candidates in (1, 3, 99):
        found = DeepFool(threat, candidates=candidates, overshoot=0.01).closest(model, x, y)
        nearest = away(model, x, y, threat).gather(1, ranks[:, :candidates]).amin(1)
        direct = nearest < away(model, x, y, threat).amin(1) * 1.005  # no other class is met on the way
        assert direct.any()
        assert wrong(model, found, y).all()
        torch.testing.assert_close(threat.distance(x, found)[direct], 1.01 * nearest[direct], rtol=1e-5, atol=1e-8)
        mean.append(threat.distance(x, found).mean())
    assert mean[0] > mean[1] > mean[2]


@EACH
def test_a_mask_leaves_the_distance_in_what_is_free(threat):
    model, x, y = case(2)
    masked = type(threat)(threat.eps, torch.tensor([[[True, True, False, False, True, False]]]))
    found, nearest = DeepFool(masked).closest(model, x, y), away(model, x, y, masked).amin(1)
    inside = nearest < 0.2  # farther ones meet the box
    assert inside.sum() > 10
    torch.testing.assert_close(masked.distance(x, found)[inside], 1.02 * nearest[inside], rtol=1e-5, atol=1e-8)
    assert torch.equal(found[..., [2, 3, 5]], x[..., [2, 3, 5]])


@pytest.mark.parametrize("threat", [Linf(0.5), L2(0.5), L1(0.5)], ids=str)
def test_it_spends_nothing_on_a_pixel_that_cannot_move(threat):
    # The second pixel counts most, and is black already; the way over the first one is free.
    model = linear(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([-0.3, 0.0]))
    found = DeepFool(threat).closest(model, torch.tensor([[0.4, 0.0]]), torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([[0.298, 0.0]]), rtol=0, atol=1e-3)


@pytest.mark.parametrize("threat", [Linf(0.5), L2(0.5), L1(0.5)], ids=str)
def test_where_the_box_stops_it_the_next_step_goes_on(threat):
    # The second pixel counts most, and has too little room; the first must do the rest.
    model = linear(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([-0.3, 0.0]))
    x, y = torch.tensor([[0.8, 0.01]]), torch.tensor([0])
    found = DeepFool(threat).closest(model, x, y)
    assert found[0, 1] == 0
    assert found[0, 0] == pytest.approx(0.29, abs=0.015)
    assert wrong(model, found, y)


@EACH
def test_a_misread_point_is_its_own_nearest_break(threat):
    model, x, y = case(3)
    right = torch.arange(50) % 2 == 0
    found = DeepFool(threat).closest(model, x, torch.where(right, y, (y + 1) % 3))
    assert torch.equal(found[~right], x[~right])
    assert (threat.distance(x, found)[right] > 0).all()


@EACH
def test_where_nothing_is_found_it_returns_the_image(threat):
    attack, y = DeepFool(threat, steps=5), torch.zeros(50, dtype=torch.int64)
    assert torch.equal(attack.closest(Constant().eval(), images(), y), images())


@EACH
def test_a_bent_boundary_takes_more_steps(threat):
    x, y = digits().x, digits().y
    right = ~wrong(trained(), x, y)
    once, often = (DeepFool(threat, steps=steps).closest(trained(), x, y) for steps in (1, 50))
    assert wrong(trained(), often, y).all()
    left = ~wrong(trained(), once, y)
    assert 0 < left.sum() < right.sum()
    assert torch.equal(once[left], x[left])
    assert torch.equal(once[~left], often[~left])


@pytest.mark.parametrize("every", [1, 10])
def test_points_that_leave_later_leave_with_the_same_result(every, monkeypatch):
    watch_standing(monkeypatch, every)
    x, y = digits().x[:40].double(), digits().y[:40]
    together = DeepFool(L2(0.5)).closest(precise(), x, y)
    alone = torch.cat([DeepFool(L2(0.5)).closest(precise(), x[i : i + 1], y[i : i + 1]) for i in range(40)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    threat=st.sampled_from([Linf, L2, L1]),
    batch=st.sampled_from([1, 4]),
    pixels=st.integers(1, 8),
    classes=st.sampled_from([2, 3, 10]),
    exponent=st.sampled_from([-30, -3, 0, 3]),
    overshoot=st.floats(0.001, 10),
    masked=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_what_it_finds_is_misread_in_the_box_and_in_the_mask(
    threat, batch, pixels, classes, exponent, overshoot, masked, seed
):
    drawn = generator(seed)
    mask = torch.rand(pixels, generator=drawn) < 0.5 if masked else None
    x = torch.rand(batch, pixels, generator=drawn).round(decimals=1)  # now and then black or white
    y = torch.randint(classes, (batch,), generator=drawn)
    model = network(pixels, classes, scale=10.0**exponent, seed=seed)
    found = DeepFool(threat(0.1, mask), steps=10, overshoot=overshoot).closest(model, x, y)
    assert 0 <= found.min() <= found.max() <= 1
    assert (wrong(model, found, y) | (found == x).all(1)).all()
    if masked:
        assert torch.equal(found[:, ~mask], x[:, ~mask])


@ON_DIGITS
@pytest.mark.parametrize("kind", ["standard", "robust"])
def test_on_digits_it_is_far_ahead_of_luck_and_not_far_behind_the_best(threat, kind):
    model, x, y = trained(kind), digits().x, digits().y
    found, best = DeepFool(threat).closest(model, x, y), FMN(threat, steps=30).closest(model, x, y)
    assert wrong(model, found, y).all()
    assert threat.distance(x, found).median() < 1.3 * threat.distance(x, best).median()
    luck = wrong(model, RandomSearch(threat, queries=300)(model, x, y), y).sum()
    assert wrong(model, DeepFool(threat)(model, x, y), y).sum() > 2 * luck


def test_a_model_that_detaches_its_input_is_called_blind():
    with pytest.raises(ValueError, match="model gives no gradient with respect to its input, so this attack is blind"):
        DeepFool(Linf(0.1))(Detached(network(6)), images(), torch.zeros(50, dtype=torch.int64))


def test_a_gradient_that_is_not_a_number_stops_the_search():
    class Root(torch.nn.Module):
        def forward(self, x):
            x = x.flatten(1)
            return torch.stack([1 + 0 * x[:, 0], (0 * x).sum(1).sqrt()], 1)

    with pytest.raises(FloatingPointError, match="the gradient of the loss has NaN or infinite values"):
        DeepFool(Linf(0.1))(Root().eval(), images(), torch.zeros(50, dtype=torch.int64))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"candidates": 0}, "candidates must be >= 1, got 0"),
        ({"overshoot": 0.0}, "overshoot must be a finite number > 0, got 0.0"),
        ({"overshoot": -1.0}, "overshoot must be a finite number > 0, got -1.0"),
        ({"overshoot": math.inf}, "overshoot must be a finite number > 0, got inf"),
        ({"overshoot": math.nan}, "overshoot must be a finite number > 0, got nan"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DeepFool(Linf(0.1), **settings)
