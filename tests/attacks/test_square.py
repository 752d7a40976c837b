"""The square attack: its windows, its budget, and that it asks for no gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from robustcourse import L1, L2, PGD, Linf, robust_accuracy
from robustcourse.attacks import Square, margin_loss
from robustcourse.attacks.square import HALVED, _window
from robustcourse.evaluate import counting
from tests.nets import (
    Constant,
    Detached,
    Rounded,
    Scaled,
    digits,
    generator,
    images,
    linear,
    network,
    trained,
    watch_standing,
    watching,
    wrong,
)

EACH = pytest.mark.parametrize("threat", [Linf(0.1), L2(0.3), L1(0.4)], ids=str)
# Rows, signals, and images that are not square.
SHAPES = pytest.mark.parametrize("shape", [(12,), (2, 9), (1, 4, 7), (3, 7, 4)], ids=str)


def extents(changed):
    """How long the changed part of a grid of booleans is along each of its sides."""
    for axis in range(changed.dim()):
        others = tuple(k for k in range(changed.dim()) if k != axis)
        at = (changed.any(others) if others else changed).nonzero()
        yield int(at.max() - at.min() + 1) if len(at) else 0


@pytest.mark.parametrize("sides", [(12,), (4, 7), (7, 4)])
@pytest.mark.parametrize("share", [0.8, 0.2, 1e-3])
def test_a_window_is_a_box_of_the_right_size_anywhere_in_the_grid(sides, share):
    delta, width = torch.zeros(300, 3, *sides), max(1, round((share * math.prod(sides)) ** (1 / len(sides))))
    inside, _ = _window(delta, share, 0, generator())
    assert inside.shape == (300, 1, *sides)
    for one in inside:
        long = list(extents(one[0]))
        assert long == [min(width, side) for side in sides]
        assert one.sum() == math.prod(long)
    assert inside.any(0).all()  # no pixel is out of its reach
    assert not inside.all(0).any() or width >= max(sides) / 2
    assert width == 1 or len({str(one.tolist()) for one in inside}) > 1


@pytest.mark.parametrize("sides", [(12,), (4, 7), (7, 4)])
@pytest.mark.parametrize("asked", [1, 2])
def test_a_bump_rises_on_one_side_of_its_window_and_falls_on_the_other(sides, asked):
    inside, bump = _window(torch.zeros(50, 1, *sides), 0.5, asked, generator())
    bump = bump.where(inside, 0)
    assert torch.equal(bump != 0, inside)
    # Of the sides of a picture, now one and now the other.
    signs = [((bump > 0).any(axis) & (bump < 0).any(axis)).any() for axis in range(2, bump.dim())]
    assert signs == [axis == asked % len(sides) for axis in range(len(sides))]


def proposals(threat, shape, queries=400):
    """What it asks of a model that never gives way, around grey: the changes, (queries, 8, ...)."""
    x = torch.full((8, *shape), 0.5)
    with watching(model := Constant().eval()) as asked:
        Square(threat, queries=queries)(model, x, torch.zeros(8, dtype=torch.int64))
    return torch.stack(asked) - 0.5


@EACH
@SHAPES
def test_every_question_spends_the_whole_radius(threat, shape):
    length = threat.norm(proposals(threat, shape).flatten(0, 1))
    torch.testing.assert_close(length, torch.full_like(length, threat.eps), rtol=1e-4, atol=0)


@EACH
@SHAPES
def test_it_begins_with_stripes(threat, shape):
    start = proposals(threat, shape, queries=2)[0]
    torch.testing.assert_close(start.abs(), start.abs().amax().expand_as(start))
    if len(shape) == 3:
        assert torch.equal(start, start[:, :, :1].expand_as(start))  # alike all the way down
    assert (start != start[0]).any()  # each example has its own
    assert (start != start[..., :1]).any()  # and each column


@SHAPES
def test_in_linf_each_question_paints_one_window(shape):
    asked = proposals(Linf(0.1), shape)
    torch.testing.assert_close(asked.abs(), torch.full_like(asked, 0.1))
    asked = asked[:, :, None] if len(shape) == 1 else asked
    sides = asked.shape[3:]
    changed = (asked[1:] - asked[0]).abs() > 0.1  # from +ε to −ε, or back; where the stripes had the same, nothing
    shares = [0.8 / 2 ** sum(query / 400 > when for when in HALVED) for query in range(1, 400)]
    for share, question, colour in zip(shares, changed, asked[1:], strict=True):
        width = max(1, round((share * math.prod(sides)) ** (1 / len(sides))))
        for window, painted in zip(question, colour, strict=True):
            assert all(long <= min(width, side) for long, side in zip(extents(window.any(0)), sides, strict=True))
            for channel, value in zip(window, painted, strict=True):
                assert value[channel].unique().numel() <= 1
    assert changed.flatten(2).any(2).float().mean() > 0.3  # half the colours are new
    assert (changed[:, 0] != changed[:, 1]).any()  # windows differ from example to example


def test_in_l2_a_question_moves_the_change_between_two_windows():
    asked = proposals(L2(0.3), (3, 7, 4))
    changed = ((asked[1:] - asked[0]).abs() > 1e-4).any(2).flatten(2).sum(2)
    # One pixel each in the end, except that a bump may cancel what was there, and its share goes to all.
    assert float((changed[-100:] <= 2).float().mean()) > 0.95
    assert changed[-100:].max() > 0
    assert changed[0].min() > 2


@EACH
@pytest.mark.parametrize("queries", [2, 7, 50])
def test_it_asks_as_often_as_it_may_and_never_for_a_gradient(threat, queries):
    with counting(model := Constant().eval()) as passes:
        Square(threat, queries=queries)(model, images(n=7), torch.zeros(7, dtype=torch.int64))
    assert (passes.forward, passes.backward) == (7 * queries, 0)


@EACH
def test_it_asks_no_more_of_a_point_that_broke(threat):
    x, y = digits().x, digits().y
    with watching(trained()) as asked:
        found = Square(threat, queries=100)(trained(), x, y)
    broken = wrong(trained(), found, y)
    assert 0 < broken.sum() < len(x)
    assert len(asked) == 100
    sizes = [len(batch) for batch in asked]
    assert sizes == sorted(sizes, reverse=True)
    # Who breaks at the last question has asked all of them.
    assert int((~broken).sum()) <= sizes[-1] < len(x)


@EACH
def test_it_returns_the_smallest_margin_that_it_saw(threat):
    weight = torch.randn(2, 6, generator=generator())
    model, x, y = linear(weight, torch.tensor([10.0, 0.0])), images(), torch.zeros(50, dtype=torch.int64)
    with watching(model) as asked:  # nothing breaks
        found = Square(threat, queries=60)(model, x, y)
    margins = torch.stack([margin_loss(model(batch), y).detach() for batch in asked])
    assert torch.equal(margin_loss(model(found), y).detach(), margins.amax(0))
    assert (margins.argmax(0) > 0).any()  # and not only the stripes


@EACH
@pytest.mark.parametrize("every", [1, 10])
def test_a_model_without_gradients_is_as_good_as_any(threat, every, monkeypatch):
    watch_standing(monkeypatch, every)
    x, y = images(low=0, high=1), torch.arange(50) % 3

    class Guarded(nn.Module):
        def forward(self, x):
            assert not torch.is_grad_enabled()
            return network(6)(x)

    plain, detached, guarded = (
        Square(threat, queries=40)(model, x, y) for model in (network(6), Detached(network(6)), Guarded().eval())
    )
    assert torch.equal(plain, detached)
    assert torch.equal(plain, guarded)


@pytest.mark.parametrize("spoil", [Scaled, Rounded])
def test_it_breaks_what_hides_its_gradient(spoil):
    model = spoil(trained())
    left = {
        attack: robust_accuracy(model, digits(), attack).value for attack in (PGD(Linf(0.15)), Square(Linf(0.15), 500))
    }
    assert left[PGD(Linf(0.15))] > 0.6  # blind
    assert left[Square(Linf(0.15), 500)] < 0.35


@EACH
def test_more_questions_break_more(threat):
    few, many = (robust_accuracy(trained(), digits(), Square(threat, queries)).value for queries in (5, 300))
    assert many < few


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"queries": 1}, "queries must be >= 2, got 1"),
        ({"share": 0.0}, r"share must be in \(0, 1\], got 0.0"),
        ({"share": 1.1}, r"share must be in \(0, 1\], got 1.1"),
        ({"share": math.nan}, r"share must be in \(0, 1\], got nan"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Square(Linf(0.1), **settings)
