"""Random search: blind luck, whose odds are known."""

from __future__ import annotations

import pytest
import torch

from robustcourse import L1, L2, Linf
from robustcourse.attacks import RandomSearch, margin_loss
from robustcourse.evaluate import counting
from tests.nets import (
    Constant,
    Detached,
    digits,
    hits,
    images,
    linear,
    network,
    trained,
    watch_standing,
    watching,
    wrong,
)

EACH = pytest.mark.parametrize("threat", [Linf(0.1), L2(0.3), L1(0.5)], ids=str)


@pytest.mark.parametrize("queries", [1, 2, 6])
def test_luck_breaks_as_often_as_the_odds_say(queries):
    # One pixel at 1/2, which errs beyond 0.55: a guess in ±0.1 gets there one time in four, x itself never.
    model, x = linear(torch.tensor([[0.0], [1.0]]), torch.tensor([0.55, 0.0])), torch.full((4000, 1), 0.5)
    x_adv = RandomSearch(Linf(0.1), queries)(model, x, torch.zeros(4000, dtype=torch.int64))
    odds = 1 - 0.75 ** (queries - 1)
    broken = (~hits(model, x_adv, torch.zeros(4000, dtype=torch.int64))).sum()
    assert abs(broken - 4000 * odds) <= 5 * (4000 * odds * (1 - odds)) ** 0.5


@EACH
def test_it_keeps_the_first_break_and_else_the_largest_margin(threat):
    model, x = network(6), images(n=12)
    y = model(x).argmax(1)
    assert 0 < wrong(model, RandomSearch(threat, queries=20)(model, x, y), y).sum() < 12
    for i in range(12):
        one, label = x[i : i + 1], y[i : i + 1]
        with watching(model) as seen:
            found = RandomSearch(threat, queries=20)(model, one, label)
        asked = torch.cat(seen)
        label = label.expand(len(asked))
        margins, breaks = margin_loss(model(asked), label), wrong(model, asked, label)
        assert torch.equal(asked[0], one[0])  # nothing is nearer than x itself
        assert torch.equal(found[0], asked[-1] if breaks.any() else asked[margins.argmax()])
        assert not breaks[:-1].any()
        assert len(asked) == 20 or breaks[-1]


@pytest.mark.parametrize("every", [1, 10])
def test_a_point_asks_no_more_than_its_queries_and_stops_once_it_is_broken(every, monkeypatch):
    watch_standing(monkeypatch, every)
    standing, broken = torch.zeros(30, dtype=torch.int64), torch.ones(20, dtype=torch.int64)
    model, attack = Constant().eval(), RandomSearch(Linf(0.1), queries=40)
    with counting(model) as passes:
        x_adv = attack(model, images(), torch.cat([standing, broken]))
    assert passes.forward == 30 * 40 + 20 * every
    assert passes.backward == 0
    assert torch.equal(x_adv[30:], images()[30:])


def test_it_needs_no_gradient():
    x, y = digits().x, digits().y
    attack = RandomSearch(Linf(0.3), queries=30)
    found = attack(Detached(trained()), x, y)
    assert torch.equal(found, attack(trained(), x, y))
    assert wrong(trained(), found, y).sum() > wrong(trained(), x, y).sum()


def test_a_model_that_begins_to_answer_nan_is_stopped():
    class Cliff(torch.nn.Module):
        def forward(self, x):
            return torch.stack([1 + 0 * x[:, 0], (0.501 - x[:, 0]).sqrt() / 10], 1)

    with pytest.raises(ValueError, match="model returned NaN logits"):
        RandomSearch(Linf(0.1))(Cliff().eval(), torch.full((5, 1), 0.5), torch.zeros(5, dtype=torch.int64))


def test_no_queries_are_refused():
    with pytest.raises(ValueError, match="queries must be >= 1, got 0"):
        RandomSearch(Linf(0.1), queries=0)
