"""Reports: numbers that can be counted by hand, and the guard against attacks that cheat."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from robustcourse import FGSM, L2, PGD, Estimate, Linf, correct, robust_accuracy
from robustcourse.attacks import APGD, FMN, Adaptive, Attack, AutoAttack, Square, dlr_targeted
from robustcourse.attacks.attack import slope
from robustcourse.attacks.losses import cross_entropy
from robustcourse.data import Split
from robustcourse.evaluate import counting, report
from tests.nets import Noisy, digits, hits, linear, network, trained

# One pixel, and a model that says 1 where it is brighter than a half.
MODEL = linear(torch.tensor([[-10.0], [10.0]]), torch.tensor([5.0, -5.0]))
X = torch.tensor([0.1, 0.3, 0.45, 0.55, 0.7, 0.9, 0.2, 0.8]).view(-1, 1, 1, 1)
SPLIT = Split(X, torch.tensor([0, 0, 0, 1, 1, 1, 1, 0]))  # the last two are labelled against the rule


@dataclass(frozen=True)
class Moves(Attack):
    """Adds a number to every pixel, allowed or not, and notes how many it got at a time."""

    by: float
    sizes: list = field(default_factory=list, compare=False, repr=False)

    def search(self, model, x, y, generator):
        self.sizes.append(len(x))
        return x + self.by


def test_the_books_by_hand():
    # One step of ε from the image itself breaks 0.45 and 0.55, and the others are too far from 0.5 for anything.
    chain = PGD(Linf(0.1), steps=1, step_size=0.1, random_start=False) | FMN(Linf(0.1), steps=1)
    found = report(MODEL, SPLIT, chain)
    first, second = found.stages
    # A gradient each, and a look at each point that it found.
    assert (first.tried, first.fell, first.forward, first.backward) == (6, 2, 6 + 6, 6)
    # FMN looks once, then at its image and at one more point with a gradient.
    assert (second.tried, second.fell, second.forward, second.backward) == (4, 0, 4 + 4 * 2 + 4, 4 * 2)
    assert found.right.tolist() == [True, True, False, False, True, True, False, False]
    assert found.clean == Estimate.proportion([True] * 6 + [False] * 2)
    assert found.accuracy == Estimate.proportion([True] * 4 + [False] * 4)
    assert found.threat == "Linf(eps=0.1)"
    torch.testing.assert_close(found.x_adv[[2, 3, 6, 7]].flatten(), torch.tensor([0.55, 0.45, 0.2, 0.8]))
    assert min(stage.seconds for stage in found.stages) > 0


def test_a_point_that_is_broken_costs_nothing_more():
    found = report(MODEL, SPLIT, PGD(Linf(0.1), steps=20, step_size=0.06, random_start=False))
    # 0.45 and 0.55 are on the wrong side after one step and are seen there at the second look; four walk to the end.
    assert (found.stages[0].forward, found.stages[0].backward) == (2 * 2 + 4 * 20 + 6, 2 * 2 + 4 * 20)


def test_the_table():
    chain = PGD(Linf(0.1), steps=3) | APGD(Linf(0.1), steps=2, loss=dlr_targeted) | Square(Linf(0.1), queries=1000)
    lines = str(report(MODEL, SPLIT, chain)).splitlines()
    assert lines[0].split() == ["Linf(eps=0.1)", "tried", "fell", "forward", "backward", "seconds"]
    assert lines[1].startswith("PGD(steps=3) ")
    assert lines[1].split()[1:3] == ["6", "2"]
    assert lines[2].startswith("APGD(steps=2, loss=dlr_targeted) ")
    # The four that are left are asked about to the end, and once more when all is done.
    assert lines[3].startswith("Square(queries=1000) ")
    assert lines[3].split()[1:5] == ["4", "0", "4,004", "0"]
    assert lines[4].split(maxsplit=2) == ["clean", "accuracy", str(Estimate.proportion([True] * 6 + [False] * 2))]
    assert lines[5].split(maxsplit=2) == ["robust", "accuracy", str(Estimate.proportion([True] * 4 + [False] * 4))]
    assert len(lines) == 6
    ends = {line.index(word) + len(word) for line, word in ((lines[0], "forward"), (lines[3], "4,004"))}
    assert len(ends) == 1  # columns stand below their heads
    assert repr(report(MODEL, SPLIT)) == str(report(MODEL, SPLIT))


def test_names_hold_what_is_not_a_default():
    def name(attack):
        return report(MODEL, SPLIT, attack).stages[0].name

    assert name(PGD(Linf(0.1))) == "PGD()"
    assert name(PGD(Linf(0.1), steps=7, loss=dlr_loss)) == "PGD(steps=7, loss=dlr_loss)"
    assert name(Adaptive.of(PGD(Linf(0.1), steps=2), same)) == "Adaptive(attack=PGD(steps=2), view=same)"


def dlr_loss(logits, y):
    return -cross_entropy(-logits, y)


def same(model):
    return model


def test_the_quick_version_says_so_and_the_others_say_nothing():
    quick = report(MODEL, SPLIT, AutoAttack(Linf(0.1), "quick"))
    assert quick.note == AutoAttack(Linf(0.1), "quick").note != ""
    assert str(quick).splitlines()[-1] == quick.note
    assert report(MODEL, SPLIT, FGSM(Linf(0.1))).note == ""


def test_without_an_attack_it_is_the_clean_accuracy():
    found = report(MODEL, SPLIT)
    assert found.right.tolist() == [True] * 6 + [False] * 2
    assert found.accuracy == found.clean
    assert (found.threat, found.stages) == ("no attack", ())
    assert torch.equal(found.x_adv, X)
    assert found.x_adv.data_ptr() != X.data_ptr()


def test_it_agrees_with_the_short_forms():
    attack = PGD(Linf(0.15), steps=10) | Square(Linf(0.15), queries=30)
    found = report(trained(), digits(), attack, batch_size=50, seed=3)
    assert torch.equal(correct(trained(), digits(), attack, batch_size=50, seed=3), found.right)
    assert robust_accuracy(trained(), digits(), attack, batch_size=50, seed=3) == found.accuracy
    # What it says is what the points that it returns show.
    read = hits(trained(), found.x_adv, digits().y)
    assert torch.equal(read & hits(trained(), digits().x, digits().y), found.right)
    first, second = found.stages
    assert first.tried == hits(trained(), digits().x, digits().y).sum()
    assert second.tried == first.tried - first.fell
    assert found.right.sum() == second.tried - second.fell


def test_a_chain_is_attacked_as_by_a_call():
    attack = PGD(Linf(0.15), steps=10, random_start=False) | FMN(Linf(0.15), steps=10)
    found, called = report(trained(), digits(), attack), attack(trained(), digits().x, digits().y)
    torch.testing.assert_close(found.x_adv, called)


def test_examples_come_in_batches():
    attack = Moves(Linf(0.1), 0.0)
    assert report(MODEL, SPLIT, attack, batch_size=4).stages[0].tried == 6
    assert attack.sizes == [4, 2]  # of those that are read right, and not of all
    seen = []
    hook = MODEL.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    report(MODEL, SPLIT, batch_size=3)
    hook.remove()
    assert seen == [3, 3, 2]
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        report(MODEL, SPLIT, batch_size=0)


def test_an_attack_with_nothing_to_do_is_listed():
    attack = Moves(Linf(0.1), 0.0)
    found = report(MODEL, SPLIT[[6, 7]], attack | attack)
    assert [(stage.tried, stage.fell, stage.forward) for stage in found.stages] == [(0, 0, 0)] * 2
    assert attack.sizes == []
    assert found.accuracy.value == found.clean.value == 0


def test_the_batches_go_on_in_one_stream_of_random_numbers():
    split = Split(torch.full((4, 1, 1, 6), 0.5), network(6)(torch.full((4, 1, 1, 6), 0.5)).argmax(1).detach())
    walk = PGD(Linf(0.01), steps=1, step_size=0.0)  # its start alone
    starts = report(network(6), split, walk, batch_size=2).x_adv
    assert not torch.equal(starts[:2], starts[2:])
    assert torch.equal(report(network(6), split, walk, batch_size=2).x_adv, starts)
    assert not torch.equal(report(network(6), split, walk, batch_size=2, seed=1).x_adv, starts)


def test_a_random_model_is_measured_in_a_stream_of_its_own():
    model = Noisy(trained(), size=0.5)
    torch.manual_seed(1)
    state, first = torch.get_rng_state(), report(model, digits(), FGSM(Linf(0.1)))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = (report(model, digits(), FGSM(Linf(0.1)), seed=seed) for seed in (0, 1))
    assert torch.equal(again.right, first.right)
    assert not torch.equal(other.right, first.right)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (Moves(L2(0.05), 0.1), r"attack left its threat set L2\(eps=0.05\): it moved an input by 0.1; project it"),
        (Moves(Linf(0.1, torch.tensor([[[False]]])), 0.1), "attack left its threat set .*what the mask protects"),
        (FGSM(Linf(0.05)) | Moves(Linf(0.05), 0.06), r"attack left its threat set Linf\(eps=0.05\)"),
        (PGD(Linf(0.1), targeted=True), "attack must not be targeted"),
    ],
)
def test_an_attack_that_cheats_is_refused(attack, message):
    with pytest.raises(ValueError, match=message):
        report(MODEL, SPLIT, attack)


def test_a_mask_is_respected_and_none_is_mistaken_for_one():
    free = torch.tensor([[[True]]])
    assert (
        report(MODEL, SPLIT, Moves(Linf(0.1, free), 0.1)).right.tolist()
        == correct(MODEL, SPLIT, Moves(Linf(0.1), 0.1)).tolist()
    )
    frozen = PGD(Linf(0.1, ~free))
    assert report(MODEL, SPLIT, frozen).accuracy.value == 0.75


def test_passes_are_counted_whoever_asks():
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3)).eval()
    x = torch.rand(5, 6)
    with counting(model) as passes:
        model(x)
        assert (passes.forward, passes.backward) == (5, 0)
        slope(model, x, lambda logits: logits.sum(1))
        assert (passes.forward, passes.backward) == (10, 5)
        with torch.no_grad():
            model(x[:2])
        with torch.inference_mode():
            model(x[:2])
        assert (passes.forward, passes.backward) == (14, 5)
        model(x).sum().backward()  # for the weights, and not to the input
        assert (passes.forward, passes.backward) == (19, 5)
    model(x)
    assert passes.forward == 19
    with pytest.raises(ZeroDivisionError), counting(model):
        1 / 0  # noqa: B018
    assert not model._forward_pre_hooks
