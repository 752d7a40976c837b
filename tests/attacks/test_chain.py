"""Chains: who gets which points, who is credited with what, and what cannot be chained."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from robustcourse import FGSM, L2, PGD, Linf, report
from robustcourse.attacks import APGD, FMN, Adaptive, Attack, Chain, Square, dlr_targeted, transfer
from robustcourse.attacks.chain import links, stopping
from robustcourse.data import Split
from tests.nets import digits, hits, linear, network, trained, watching, wrong

# One pixel, and a model that says 1 where it is brighter than a half.
MODEL = linear(torch.tensor([[-10.0], [10.0]]), torch.tensor([5.0, -5.0]))
X = torch.tensor([0.1, 0.3, 0.45, 0.55, 0.7, 0.9, 0.2, 0.8]).view(-1, 1, 1, 1)
Y = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0])  # the last two are labelled against the rule


@dataclass(frozen=True)
class Paints(Attack):
    """Moves each pixel towards one level, and notes which pixels it was given."""

    level: float
    given: list = field(default_factory=list, compare=False)

    def search(self, model, x, y, generator):
        self.given.append([round(value, 2) for value in x.flatten().tolist()])
        return self.threat.project(x, torch.full_like(x, self.level))


def test_a_bar_makes_one_flat_chain():
    a, b, c = FGSM(Linf(0.1)), PGD(Linf(0.1)), APGD(Linf(0.1))
    assert (a | b | c).attacks == (a | (b | c)).attacks == ((a | b) | c).attacks == (a, b, c)
    assert ((a | b) | (b | c)).attacks == (a, b, b, c)
    assert (a | b) == (a | b) != (b | a)
    assert hash(a | b) == hash(a | b)
    assert (a | b).threat == Linf(0.1)


def test_each_attack_gets_the_survivors_and_the_first_none_that_are_misread_anyway():
    darker, lighter, late = Paints(Linf(0.25), 0.0), Paints(Linf(0.25), 1.0), Paints(Linf(0.25), 0.0)
    x_adv = (darker | lighter | late)(MODEL, X, Y)
    assert darker.given == [[0.1, 0.3, 0.45, 0.55, 0.7, 0.9]]
    assert lighter.given == [[0.1, 0.3, 0.45, 0.9]]
    assert late.given == [[0.1, 0.9]]
    # Who fell keeps the point at which it fell, who stands the last one tried, and who was misread its own.
    expected = [0.0, 0.55, 0.7, 0.3, 0.45, 0.65, 0.2, 0.8]
    torch.testing.assert_close(x_adv.flatten(), torch.tensor(expected))


def test_the_others_rest_when_nothing_is_left():
    first, second = Paints(Linf(1), 0.5 + 1e-3), Paints(Linf(1), 1.0)
    (first | second)(MODEL, X[:3], Y[:3])
    assert (len(first.given), second.given) == (1, [])
    (first | second)(MODEL, X[6:], Y[6:])
    assert (len(first.given), second.given) == (1, [])  # misread, all of them


def test_an_attack_that_makes_things_worse_for_itself_undoes_nothing():
    # The second paints in the wrong direction: what the first one broke is not in its hands.
    broken = Paints(Linf(0.1), 1.0)(MODEL, X[2:3], Y[2:3])
    chained = (Paints(Linf(0.1), 1.0) | Paints(Linf(0.1), 0.0))(MODEL, X[2:3], Y[2:3])
    assert torch.equal(chained, broken)


def test_a_chain_is_as_strong_as_its_links_together():
    x, y, threat = digits().x, digits().y, Linf(0.15)
    alone = [PGD(threat, early_exit=True), FMN(threat, steps=30, early_exit=True)]
    broken = [wrong(trained(), attack(trained(), x, y), y) for attack in alone]
    chained = wrong(trained(), (alone[0] | alone[1])(trained(), x, y), y)
    assert torch.equal(chained, broken[0] | broken[1])  # neither of them is random after its start
    assert chained.sum() > broken[0].sum()


def test_links_of_a_chain_leave_each_point_where_it_breaks():
    model, x, y = trained(), digits().x, digits().y
    right = int(hits(model, x, y).sum())
    with watching(model) as seen:
        (PGD(Linf(0.15)) | APGD(Linf(0.15), steps=10))(model, x, y)
    sizes = [len(batch) for batch in seen]
    assert sizes[:2] == [len(x), right]
    assert sizes[40] < right / 2


@pytest.mark.parametrize(
    "attack", [PGD(Linf(0.1)), APGD(Linf(0.1), loss=dlr_targeted, targets=3), FMN(Linf(0.1), steps=7)]
)
def test_what_can_leave_early_does(attack):
    early = stopping(attack)
    assert (attack.early_exit, early.early_exit) == (False, True)
    assert stopping(early) == early
    assert {name: value for name, value in vars(early).items() if name != "early_exit"} == {
        name: value for name, value in vars(attack).items() if name != "early_exit"
    }


def test_what_cannot_is_left_as_it_is():
    for attack in (Square(Linf(0.1)), transfer(PGD(Linf(0.1)), network(6)), Paints(Linf(0.1), 0.0)):
        assert stopping(attack) is attack
        assert links(attack) == (attack,)
    both = FGSM(Linf(0.1)) | Square(Linf(0.1))
    assert links(both) == both.attacks


def test_a_report_credits_each_attack_with_what_it_added():
    attack = Paints(Linf(0.25), 0.0) | Paints(Linf(0.25), 1.0)
    stages = report(MODEL, Split(X, Y), attack).stages
    assert [(stage.tried, stage.fell) for stage in stages] == [(6, 2), (4, 2)]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Chain(Linf(0.1)), "attacks must be at least one, got none"),
        (
            lambda: FGSM(Linf(0.1)) | FGSM(L2(0.1)),
            r"attacks must all search one set, got Linf\(eps=0.1\) and L2\(eps=0.1\)",
        ),
        (lambda: FGSM(Linf(0.1)) | FGSM(Linf(0.2)), "attacks must all search one set"),
        (lambda: FGSM(Linf(0.1)) | FGSM(Linf(0.1, torch.tensor([True]))), "attacks must all search one set"),
        (lambda: FGSM(Linf(0.1)) | FGSM(Linf(0.1), targeted=True), "attack must not be targeted"),
        (
            lambda: FGSM(Linf(0.1)) | Adaptive.of(PGD(Linf(0.1), targeted=True), lambda model: model),
            "attack must not be targeted",
        ),
    ],
)
def test_what_makes_no_chain(build, message):
    with pytest.raises(ValueError, match=message):
        build()
