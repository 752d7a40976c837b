"""Carlini & Wagner's attack against distances known by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcourse import L1, L2, Linf
from robustcourse.attacks import FMN, CarliniWagner, RandomSearch
from robustcourse.evaluate import counting
from tests.nets import (
    Constant,
    Detached,
    Scaled,
    case,
    digits,
    generator,
    images,
    linear,
    network,
    trained,
    truth,
    watch_standing,
    watching,
    wrong,
)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_it_finds_the_nearest_boundary_of_a_linear_model(classes):
    model, x, y = case(classes)
    found = CarliniWagner(L2(0.03), searches=4).closest(model, x, y)
    nearest = truth(model, x, y, L2(0.03))
    assert wrong(model, found, y).all()
    share = L2(0.03).distance(x, found)[nearest > 0.01] / nearest[nearest > 0.01]
    assert len(share) > 20
    assert share.min() > 0.999
    assert share.max() < 1.05


def test_it_is_the_algorithm_of_the_paper_with_adam():
    model, x, y = case(2)
    with watching(model) as seen:
        CarliniWagner(L2(0.1), steps=15, searches=1, rate=0.03).closest(model, x, y)
    direction = (model[1].weight[1] - model[1].weight[0]).detach()
    c = 4 * truth(model, x, y, L2(0.1)) / direction.norm()  # twice what takes a straight line to the boundary
    w = torch.atanh(0.999 * (2 * x - 1)).requires_grad_()
    adam = torch.optim.Adam([w], lr=0.03)
    for step in range(15):
        changed = (w.tanh() + 1) / 2
        torch.testing.assert_close(seen[2 + step], changed.detach(), rtol=0, atol=1e-5)
        logits = model(changed)
        lacking = (logits.gather(1, y[:, None]) - logits.gather(1, 1 - y[:, None])).clamp_min(0).squeeze(1)
        adam.zero_grad()
        ((changed - x).flatten(1).square().sum(1) + c * lacking).sum().backward()
        adam.step()


def test_a_weight_that_is_too_small_goes_up_tenfold():
    class Bent(torch.nn.Module):
        """From 0.5 the boundary seems to be at 0.6. But the slope falls to a quarter at 0.55, and it is at 0.75."""

        def forward(self, x):
            return torch.cat([torch.where(x < 0.55, 0.6 - x, (0.75 - x) / 4), 0 * x], 1)

    # With c = 4 · 0.1 it pays to go to 0.55 and no farther. To go to 0.75 takes a c of 2 at least.
    x, y = torch.full((1, 1), 0.5), torch.tensor([0])
    once, twice, often = (
        CarliniWagner(L2(1.0), steps=150, searches=searches).closest(Bent().eval(), x, y).item()
        for searches in (1, 2, 6)
    )
    assert once == 0.5
    assert 0.75 < often <= twice < 0.85
    assert often == pytest.approx(0.75, abs=0.003)


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e4])
def test_the_scale_of_the_logits_does_not_matter(factor):
    x, y = digits().x[:40], digits().y[:40]
    attack = CarliniWagner(L2(0.8), steps=40, searches=2, targets=2)
    plain, scaled = (attack.closest(model, x, y) for model in (trained(), Scaled(trained(), factor).eval()))
    torch.testing.assert_close(L2(1).distance(x, plain), L2(1).distance(x, scaled), rtol=0.02, atol=1e-3)


def test_a_mask_leaves_the_distance_in_what_is_free():
    model, x, y = case(2)
    threat = L2(0.1, torch.tensor([[[True, True, False, False, True, False]]]))
    found, nearest = CarliniWagner(threat, searches=4).closest(model, x, y), truth(model, x, y, threat)
    inside = (nearest > 0.01) & (nearest < 0.2)  # farther ones meet the box
    share = threat.distance(x, found)[inside] / nearest[inside]
    assert len(share) > 10
    assert 0.999 < share.min() <= share.max() < 1.05
    assert torch.equal(found[..., [2, 3, 5]], x[..., [2, 3, 5]])


@pytest.mark.parametrize(("shade", "side", "bias"), [(0.0, -1.0, 0.2), (1.0, 1.0, -1.3)])
def test_from_a_corner_of_the_box_there_is_a_way_out(shade, side, bias):
    # x₁ + x₂ / 2 must change by 0.2, from 0 or from 1.5.
    model = linear(side * torch.tensor([[1.0, 0.5], [0.0, 0.0]]), torch.tensor([bias, 0.0]))
    x, y = torch.full((1, 2), shade), torch.tensor([0])
    found = CarliniWagner(L2(1.0), searches=4).closest(model, x, y)
    assert wrong(model, found, y).all()
    assert L2(1).distance(x, found).item() == pytest.approx(0.2 / 1.25**0.5, rel=0.05)


def test_the_first_weight_is_right_although_some_pixels_cannot_move():
    # The second pixel counts most, and is black already; the way over the first one is free.
    model = linear(torch.tensor([[1.0, 20.0], [0.0, 0.0]]), torch.tensor([-0.3, 0.0]))
    x, y = torch.tensor([[0.4, 0.0]]), torch.tensor([0])
    found = CarliniWagner(L2(0.5), searches=1).closest(model, x, y)
    assert wrong(model, found, y).all()
    torch.testing.assert_close(found, torch.tensor([[0.3, 0.0]]), rtol=0, atol=0.03)


@pytest.mark.parametrize("early_exit", [False, True])
@pytest.mark.parametrize("every", [1, 10])
def test_a_misread_point_is_its_own_nearest_break(early_exit, every, monkeypatch):
    watch_standing(monkeypatch, every)
    model, x, y = case(3)
    right = torch.arange(50) % 2 == 0
    attack = CarliniWagner(L2(0.05), steps=30, early_exit=early_exit)
    found = attack.closest(model, x, torch.where(right, y, (y + 1) % 3))
    assert torch.equal(found[~right], x[~right])
    assert (L2(1).distance(x, found)[right] > 0).all()


@pytest.mark.parametrize("early_exit", [False, True])
def test_where_nothing_is_found_it_returns_the_image(early_exit):
    attack, y = CarliniWagner(L2(0.5), steps=5, early_exit=early_exit), torch.zeros(50, dtype=torch.int64)
    model = Constant().eval()
    with watching(model) as seen:
        assert torch.equal(attack.closest(model, images(), y), images())
    assert torch.cat(seen).isfinite().all()  # although nothing is as far as a boundary on flat ground
    assert torch.equal(attack(model, images(), y), images())


@pytest.mark.parametrize("every", [1, 10])
def test_early_exit_is_content_within_the_radius(every, monkeypatch):
    watch_standing(monkeypatch, every)
    model, x, y = case(3)
    threat, nearest = L2(0.03), truth(model, x, y, L2(0.03))
    with counting(model) as full:
        closest = threat.distance(x, CarliniWagner(threat, steps=40, searches=2).closest(model, x, y))
    with counting(model) as early:
        content = threat.distance(x, CarliniWagner(threat, steps=40, searches=2, early_exit=True).closest(model, x, y))
    near, far = closest <= threat.eps, nearest > threat.eps
    assert near.any()
    assert (content[near] <= threat.eps).all()
    assert (content[near] > closest[near]).any()  # the first good enough, and not the best
    assert (content[far] > threat.eps).all()
    assert full.backward == 50 * (40 * 2 + 1) * 2
    assert full.forward == full.backward + 50
    assert early.backward < full.backward * 0.8


def test_more_targets_and_searches_find_nearer_breaks():
    x, y = digits().x[:30], digits().y[:30]

    def length(**settings):
        return L2(1).distance(x, CarliniWagner(L2(0.8), steps=50, **settings).closest(trained(), x, y)).mean()

    assert length(targets=9, searches=3) < length(targets=9, searches=1)
    assert length(targets=9, searches=3) < length(targets=1, searches=3)
    assert length(targets=9, searches=1) == length(targets=99, searches=1)


@settings(deadline=None, max_examples=40)
@given(
    batch=st.sampled_from([1, 4]),
    pixels=st.integers(1, 8),
    classes=st.sampled_from([2, 3, 10]),
    exponent=st.sampled_from([-30, -3, 0, 3]),
    rate=st.floats(0.001, 100),
    searches=st.integers(1, 4),
    masked=st.booleans(),
    early_exit=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_what_it_finds_is_misread_in_the_box_and_in_the_mask(
    batch, pixels, classes, exponent, rate, searches, masked, early_exit, seed
):
    drawn = generator(seed)
    mask = torch.rand(pixels, generator=drawn) < 0.5 if masked else None
    x = torch.rand(batch, pixels, generator=drawn).round(decimals=1)  # now and then black or white
    y = torch.randint(classes, (batch,), generator=drawn)
    model = network(pixels, classes, scale=10.0**exponent, seed=seed)
    attack = CarliniWagner(L2(0.2, mask), steps=6, searches=searches, rate=rate, early_exit=early_exit)
    found = attack.closest(model, x, y)
    assert 0 <= found.min() <= found.max() <= 1
    assert (wrong(model, found, y) | (found == x).all(1)).all()
    if masked:
        assert torch.equal(found[:, ~mask], x[:, ~mask])


@pytest.mark.parametrize("kind", ["standard", "robust"])
def test_on_digits_it_is_as_good_as_the_best_and_far_ahead_of_luck(kind):
    model, x, y, threat = trained(kind), digits().x[:60], digits().y[:60], L2(0.8)
    found, best = CarliniWagner(threat).closest(model, x, y), FMN(threat, steps=30).closest(model, x, y)
    assert wrong(model, found, y).all()
    assert threat.distance(x, found).median() < 1.02 * threat.distance(x, best).median()
    luck = wrong(model, RandomSearch(threat, queries=300)(model, x, y), y).sum()
    assert wrong(model, threat.project(x, found), y).sum() > 3 * luck


def test_a_model_that_detaches_its_input_is_called_blind():
    y = network(6)(images()).argmax(1)
    with pytest.raises(ValueError, match="model gives no gradient with respect to its input, so this attack is blind"):
        CarliniWagner(L2(0.1))(Detached(network(6)), images(), y)


def test_a_gradient_that_is_not_a_number_stops_the_search():
    class Root(torch.nn.Module):
        def forward(self, x):
            x = x.flatten(1)
            return torch.stack([1 + 0 * x[:, 0], (0 * x).sum(1).sqrt()], 1)

    with pytest.raises(FloatingPointError, match="the gradient of the loss has NaN or infinite values"):
        CarliniWagner(L2(0.1))(Root().eval(), images(), torch.zeros(50, dtype=torch.int64))


@pytest.mark.parametrize("threat", [Linf(0.1), L1(0.1)], ids=str)
def test_other_norms_are_refused(threat):
    with pytest.raises(ValueError, match="threat must be L2, whose norm this attack minimises, got L"):
        CarliniWagner(threat)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"searches": 0}, "searches must be >= 1, got 0"),
        ({"targets": 0}, "targets must be >= 1, got 0"),
        ({"rate": 0.0}, "rate must be a finite number > 0, got 0.0"),
        ({"rate": math.inf}, "rate must be a finite number > 0, got inf"),
        ({"rate": math.nan}, "rate must be a finite number > 0, got nan"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CarliniWagner(L2(0.1), **settings)
