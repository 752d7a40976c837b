"""HopSkipJump: distances known by hand, and that it is told nothing but labels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustcourse import L1, L2, Linf, load
from robustcourse.attacks import FMN, HopSkipJump, RandomSearch
from robustcourse.evaluate import counting
from tests.nets import (
    Constant,
    Detached,
    case,
    digits,
    generator,
    hits,
    images,
    linear,
    network,
    trained,
    truth,
    watch_standing,
    watching,
)

EACH = pytest.mark.parametrize("threat", [Linf(0.01), L2(0.03), L1(0.05)], ids=str)
ON_DIGITS = pytest.mark.parametrize("threat", [Linf(0.15), L2(0.8), L1(2.0)], ids=str)


class Labels(nn.Module):
    """Tells the label and nothing else, as a one in a row of zeros."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.eval()

    @torch.no_grad()
    def forward(self, x):
        logits = self.model(x)
        return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(x.dtype)


class Bright(nn.Module):
    """Errs where the mean pixel is above 0.9, which noise never is."""

    def forward(self, x):
        return torch.stack([0.9 - x.flatten(1).mean(1), 0 * x.flatten(1)[:, 0]], 1)


@EACH
@pytest.mark.parametrize("classes", [2, 3])
def test_it_finds_the_nearest_boundary_of_a_linear_model(threat, classes):
    model, x, y = case(classes)
    found, nearest = HopSkipJump(threat, queries=1500).closest(model, x, y), truth(model, x, y, threat)
    assert not hits(model, found, y).any()
    share = threat.distance(x, found)[nearest > 1e-3] / nearest[nearest > 1e-3]
    assert share.min() > 0.999
    assert share.median() < 1.02
    assert share.quantile(0.9) < 1.1
    assert share.max() < 1.4


@EACH
def test_a_mask_leaves_the_distance_in_what_is_free(threat):
    model, x, y = case(2)
    masked = type(threat)(threat.eps, torch.tensor([[[True, True, False, False, True, False]]]))
    found, nearest = HopSkipJump(masked, queries=1500).closest(model, x, y), truth(model, x, y, masked)
    inside = (nearest > 1e-3) & (nearest < 0.2)  # farther ones meet the box
    share = masked.distance(x, found)[inside] / nearest[inside]
    assert len(share) > 10
    assert 0.999 < share.min() <= share.max() < 1.4
    assert share.median() < 1.02
    assert torch.equal(found[..., [2, 3, 5]], x[..., [2, 3, 5]])


@pytest.mark.parametrize("threat", [Linf(0.5), L2(0.5), L1(0.5)], ids=str)
def test_towards_the_box_it_takes_what_room_there_is(threat):
    # The second pixel counts most, and is black already; the way over the first one is free.
    model = linear(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([-0.3, 0.0]))
    attack = HopSkipJump(threat, queries=1000, start=torch.tensor([[0.0, 0.1]]))
    found = attack.closest(model, torch.tensor([[0.4, 0.0]]), torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([[0.3, 0.0]]), rtol=0, atol=5e-3)


@pytest.mark.parametrize("threat", [Linf(0.5), L2(0.5)], ids=str)
def test_a_jump_over_a_thin_region_of_errors_is_halved_until_it_lands_there(threat):
    class Band(nn.Module):
        """Errs where the first pixel is between 0.6 and 0.62."""

        def forward(self, x):
            return torch.stack([(x[:, 0] - 0.61).abs(), 0.01 + 0 * x[:, 0]], 1)

    x, start = torch.full((1, 2), 0.5), torch.tensor([[0.61, 0.95]])
    found = HopSkipJump(threat, queries=3000, start=start).closest(Band().eval(), x, torch.tensor([0]))
    assert not hits(Band().eval(), found, torch.tensor([0]))
    assert threat.distance(x, found) < 0.25  # from 0.45, where jumps of their first length would all fail


def test_from_the_boundary_itself_it_goes_no_way_at_all():
    # All pixels are black, and the least change breaks the point: distances shrink until they vanish in rounding.
    model, x = linear(torch.tensor([[0.0] * 6, [1.0] * 6])), torch.zeros(3, 6)
    for threat in (Linf(0.5), L2(0.5), L1(0.5)):
        found = HopSkipJump(threat, queries=2000).closest(model, x, torch.zeros(3, dtype=torch.int64))
        assert 0 < threat.distance(x.double(), found.double()).max() < 1e-6


@ON_DIGITS
def test_it_is_told_labels_only(threat):
    x, y, attack = digits().x[:30], digits().y[:30], HopSkipJump(threat, queries=300)
    found = attack.closest(trained(), x, y)
    assert (threat.distance(x, found) > 0).any()
    assert torch.equal(attack.closest(Labels(trained()), x, y), found)
    assert torch.equal(attack.closest(Detached(trained()), x, y), found)


@pytest.mark.parametrize("early_exit", [False, True])
@pytest.mark.parametrize("queries", [100, 157, 1000])
@pytest.mark.parametrize("pixels", [1, 6, 3072])
def test_no_point_asks_more_than_its_queries(queries, pixels, early_exit):
    model, x = linear(torch.stack([torch.zeros(pixels), torch.ones(pixels)])), images(n=1, pixels=pixels)
    model[1].bias.data[0] = 0.6 * pixels
    attack = HopSkipJump(L2(0.01), queries, start=torch.ones(1, 1, 1, pixels), early_exit=early_exit)
    with counting(model) as passes:
        attack.closest(model, x, torch.tensor([0]))
    assert queries - 60 < passes.forward <= queries
    assert passes.backward == 0


def test_points_without_a_task_ask_little():
    model, y = Constant().eval(), torch.arange(50) % 2  # class 1 is misread, class 0 can never be
    with counting(model) as passes:
        assert torch.equal(HopSkipJump(Linf(0.1), queries=1000).closest(model, images(), y), images())
    assert passes.forward == 50 + 25 * 100


@EACH
def test_a_misread_point_is_its_own_nearest_break(threat):
    model, x, y = case(3)
    right = torch.arange(50) % 2 == 0
    found = HopSkipJump(threat, queries=200).closest(model, x, torch.where(right, y, (y + 1) % 3))
    assert torch.equal(found[~right], x[~right])
    assert (threat.distance(x, found)[right] > 0).all()


def test_images_to_start_from_help_where_noise_is_of_one_class():
    x, y = images(pixels=64), torch.zeros(50, dtype=torch.int64)
    assert torch.equal(HopSkipJump(L2(0.1), queries=1000).closest(Bright().eval(), x, y), x)
    start = torch.cat([torch.zeros(9, 1, 1, 64), torch.ones(1, 1, 1, 64)])
    found = HopSkipJump(L2(0.1), queries=1000, start=start).closest(Bright().eval(), x, y)
    assert not hits(Bright().eval(), found, y).any()
    shortest = (0.9 - x.flatten(1).mean(1)) * 64**0.5
    assert (L2(1).distance(x, found) / shortest).max() < 1.1


def test_the_start_is_drawn_from_all_images_and_from_nothing_else():
    start = torch.rand(3, 1, 1, 6, generator=generator(7))
    model, x = network(6), images(n=20)
    y = model(x).argmax(1)
    with watching(model) as seen:
        HopSkipJump(Linf(0.1), queries=100, start=start).closest(model, x, y)
    first = seen[1]
    assert {tuple(image.flatten().tolist()) for image in first} == {tuple(image.flatten().tolist()) for image in start}


@ON_DIGITS
def test_more_queries_find_nearer_breaks(threat):
    x, y = digits().x[:60], digits().y[:60]
    lengths = [
        threat.distance(x, HopSkipJump(threat, queries).closest(trained(), x, y)).mean() for queries in (100, 400, 1200)
    ]
    assert lengths[0] > lengths[1] > lengths[2] > 0


@EACH
@pytest.mark.parametrize("every", [1, 10])
def test_early_exit_is_content_within_the_radius(threat, every, monkeypatch):
    watch_standing(monkeypatch, every)
    model, x, y = case(3)
    nearest = truth(model, x, y, threat)
    with counting(model) as full:
        closest = threat.distance(x, HopSkipJump(threat, 1000).closest(model, x, y))
    with counting(model) as early:
        found = HopSkipJump(threat, 1000, early_exit=True).closest(model, x, y)
    content, near, far = threat.distance(x, found), closest < 0.9 * threat.eps, nearest > threat.eps
    assert not hits(model, found, y).any()
    assert near.any()
    assert (content[near] <= threat.eps).all()
    assert (content[near] > closest[near]).any()  # the first good enough, and not the best
    assert (content[far] > threat.eps).all()
    assert early.forward < 0.9 * full.forward or every > 1  # at every tenth hop only, on a GPU


@settings(deadline=None, max_examples=30)
@given(
    threat=st.sampled_from([Linf, L2, L1]),
    batch=st.sampled_from([1, 4]),
    pixels=st.integers(1, 8),
    classes=st.sampled_from([2, 3, 10]),
    masked=st.booleans(),
    started=st.booleans(),
    early_exit=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_what_it_finds_is_misread_in_the_box_and_in_the_mask(
    threat, batch, pixels, classes, masked, started, early_exit, seed
):
    drawn = generator(seed)
    mask = torch.rand(pixels, generator=drawn) < 0.5 if masked else None
    x = torch.rand(batch, pixels, generator=drawn).round(decimals=1)  # now and then black or white
    y = torch.randint(classes, (batch,), generator=drawn)
    start = torch.rand(5, pixels, generator=drawn).round() if started else None
    model = network(pixels, classes, seed=seed).double()
    attack = HopSkipJump(threat(0.1, mask), queries=150, start=start, early_exit=early_exit)
    found = attack.closest(model, x.double(), y, generator=generator(seed))
    assert 0 <= found.min() <= found.max() <= 1
    assert (~hits(model, found, y) | (found == x).all(1)).all()
    assert torch.equal(found, attack.closest(model, x.double(), y, generator=generator(seed)))
    if masked:
        assert torch.equal(found[:, ~mask], x.double()[:, ~mask])


@ON_DIGITS
@pytest.mark.parametrize("kind", ["standard", "robust"])
def test_on_digits_it_is_ahead_of_luck_and_not_far_behind_the_best(threat, kind):
    model, x, y = trained(kind), digits().x, digits().y
    attack = HopSkipJump(threat, queries=1000, start=load("digits").train.x)
    found, best = attack.closest(model, x, y), FMN(threat, steps=30).closest(model, x, y)
    assert not hits(model, found, y).any()
    assert threat.distance(x, found).median() < 1.35 * threat.distance(x, best).median()
    survive_luck = hits(model, RandomSearch(threat, queries=1000)(model, x, y), y)
    assert hits(model, attack(model, x, y), y).sum() < survive_luck.sum() - 8


def test_a_start_of_another_shape_is_refused():
    attack = HopSkipJump(Linf(0.1), start=torch.zeros(5, 1, 2, 3))
    with pytest.raises(ValueError, match=r"start must be images of shape \(1, 1, 6\), got \(1, 2, 3\)"):
        attack(network(6), images(), torch.zeros(50, dtype=torch.int64))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"queries": 99}, ValueError, "queries must be >= 100, got 99"),
        ({"start": [[0.0]]}, TypeError, r"start must be a tensor of images, \(K, ...\), or None, got list"),
        (
            {"start": torch.zeros(0, 6)},
            ValueError,
            r"start must hold images in \[0, 1\], at least one, got shape \(0, 6\)",
        ),
        ({"start": torch.full((1, 6), 255.0)}, ValueError, r"start must hold images in \[0, 1\]"),
        ({"start": torch.full((1, 6), -0.1)}, ValueError, r"start must hold images in \[0, 1\]"),
        ({"start": torch.full((1, 6), math.nan)}, ValueError, r"start must hold images in \[0, 1\]"),
    ],
)
def test_settings_that_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        HopSkipJump(Linf(0.1), **settings)
