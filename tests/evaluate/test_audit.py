"""The audit: it flags what cannot be believed, each fault with the question that tells, and lets honest ones pass."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial

import pytest
import torch
from torch import nn

from robustcourse import (
    FGSM,
    L1,
    L2,
    PGD,
    AdversarialTraining,
    Estimate,
    Linf,
    Square,
    accuracy,
    audit,
    fit,
    load,
    mlp,
    report,
    robust_accuracy,
)
from robustcourse.attacks import Adaptive, Attack, RandomSearch
from robustcourse.data import Split
from robustcourse.evaluate import counting
from robustcourse.evaluate.audit import Audit, Check
from robustcourse.models.broken import JPEG, NeighbourCheck, Quantized, RandomShift, Saturated, Temperature
from tests.nets import Constant, Detached, Noisy, Twins, digits, generator, hits, network, trained

MODE, INPUTS, TWICE = "evaluation mode", "inputs in [0, 1]", "the same answer twice"
AT_IMAGES, AT_END = "gradients at the images", "gradients where the walk ended"
STEPS, ONE_STEP, SCALE = "steps are enough", "steps beat one step", "scale does not matter"
LUCK, QUERIES, BORROWED = "gradients beat luck", "gradients beat queries", "own beats borrowed"
FALLS, FOR_EVER = "accuracy falls with ε", "no ε is survived for ever"
ALL = [MODE, INPUTS, TWICE, AT_IMAGES, AT_END, STEPS, ONE_STEP, SCALE, LUCK, QUERIES, FALLS, FOR_EVER]

LESS = partial(PGD, steps=5)  # enough for a standard network
EASY = Linf(0.3)  # nothing of that stands long, so that little is left to ask


@cache
def some():
    """The first 150 test images."""
    return load("digits").test[:150]


@cache
def net(kind, seed=0):
    data = load("digits")
    model = mlp(data, width=128, seed=seed)
    objective = AdversarialTraining(PGD(Linf(0.15), steps=4)) if kind == "robust" else None
    fit(model, data, objective, epochs=30, seed=seed)
    return model.requires_grad_(False)


@cache
def defence(name):
    if name == "RandomShift":
        shifting = RandomShift(mlp(load("digits"), width=128))
        fit(shifting, load("digits"), epochs=30)
        return shifting
    if name == "NeighbourCheck":
        return NeighbourCheck(net("standard"), load("digits").train[:500])
    return {"Saturated": Saturated, "Temperature": Temperature, "Quantized": Quantized, "JPEG": JPEG}[name](
        net("standard")
    )


@cache
def card():
    """The audit of PGD on a standard network: what most tests of this file compare with."""
    return audit(trained(), digits(), Linf(0.05), LESS)


def answer(card, name):
    """The check of this name."""
    return next(check for check in card.checks if check.name == name)


def more(card, name):
    """What another attack breaks beyond the one in question, in percent."""
    return float(re.fullmatch(r".+ breaks (\d+\.\d) % more", answer(card, name).found)[1])


@dataclass(frozen=True)
class Still(Attack):
    """Does nothing."""

    def search(self, model, x, y, generator):
        return x


@dataclass(frozen=True)
class Shy(Attack):
    """PGD where ε is small, and nothing at all above."""

    def search(self, model, x, y, generator):
        return PGD(self.threat)(model, x, y, generator) if self.threat.eps < 0.15 else x


@dataclass(frozen=True)
class Tires(Attack):
    """Attacks half of the points, other ones each time; and none of them when it shall take more than ten steps."""

    steps: int = 10

    def search(self, model, x, y, generator):
        chosen = (torch.rand(len(x), generator=generator) < 0.5) & (self.steps <= 10)
        return PGD(self.threat)(model, x, y).where(chosen.view(-1, 1, 1, 1), x)


@dataclass(frozen=True)
class Finds(Attack):
    """Breaks so many points, and only if it may take more than ten steps."""

    count: int
    steps: int = 10

    def search(self, model, x, y, generator):
        chosen = (torch.arange(len(x)) < self.count) & (self.steps > 10)
        return PGD(self.threat)(model, x, y).where(chosen.view(-1, 1, 1, 1), x)


class Cut(nn.Module):
    """The same answers, without a gradient for images of little ink."""

    def __init__(self, model, least):
        super().__init__()
        self.model, self.least = model, least
        self.eval()

    def forward(self, x):
        enough = x.flatten(1).sum(1) > self.least
        return self.model(x.where(enough.view(-1, 1, 1, 1), x.detach()))


class Cusp(Cut):
    """The same answers, and for images of little ink the slope of the square root at zero, which is infinite."""

    def forward(self, x):
        ink = x.flatten(1).sum(1)
        return self.model(x) + 0 * (ink * (ink > self.least)).sqrt()[:, None]


def median():
    return digits().x.flatten(1).sum(1).median()


def share_below_median():
    """In percent: the images of `digits` that have no more ink than the median."""
    return f"{100 * float((digits().x.flatten(1).sum(1) <= median()).float().mean()):.0f}"


# Honest evaluations, and broken defences


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.3)], ids=str)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["standard", "robust"])
def test_nothing_speaks_against_pgd_on_an_honest_network(kind, seed, threat):
    found = audit(net(kind, seed), some(), threat)
    assert found.flags == ()
    assert [check.name for check in found.checks] == ALL
    assert found.by_eps[threat.eps].value < found.by_eps[0].value  # there was something to find


@pytest.mark.parametrize(
    ("name", "threat", "telling", "silent"),
    [
        ("Saturated", Linf(0.15), {AT_IMAGES, AT_END, SCALE, QUERIES}, {TWICE}),
        ("Temperature", L2(1.0), {AT_IMAGES, AT_END, QUERIES}, {TWICE, SCALE}),
        ("Quantized", L2(1.0), {AT_IMAGES, AT_END, QUERIES}, {TWICE, SCALE}),
        ("JPEG", Linf(0.15), {AT_IMAGES, AT_END, QUERIES}, {TWICE, SCALE}),
        ("RandomShift", L2(1.0), {TWICE, ONE_STEP}, {AT_IMAGES, AT_END}),
        ("RandomShift", Linf(0.15), {TWICE, ONE_STEP}, {AT_IMAGES, AT_END}),
        ("NeighbourCheck", Linf(0.15), {AT_END, ONE_STEP}, {TWICE}),
    ],
)
def test_each_broken_defence_is_flagged_by_the_questions_that_tell(name, threat, telling, silent):
    found = audit(defence(name), some()[:100], threat)
    assert telling <= set(found.flags)
    assert not silent & set(found.flags)
    assert FOR_EVER in found.flags
    assert not {MODE, INPUTS} & set(found.flags)
    blind = "luck decides, for the model is random: " if TWICE in telling else "gradients are masked: "
    assert all(answer(found, flag).advice.startswith(blind) for flag in {*found.flags} - {TWICE})


def test_half_of_the_gradients_is_enough_for_a_flag():
    found = audit(Cut(trained(), median()), digits(), Linf(0.05), LESS)
    assert answer(found, AT_IMAGES).found.startswith(f"{share_below_median()} % of them are zero, 0 %")
    assert {AT_IMAGES, AT_END} <= set(found.flags)
    assert answer(card(), AT_IMAGES).found.startswith("0 % of them are zero, 0 %")


# Each question


@pytest.mark.parametrize("which", ["whole", "part"])
def test_training_mode_is_flagged_and_evaluation_mode_is_used(which):
    model = nn.Sequential(deepcopy(trained()), nn.Dropout(0.5)).eval()
    steady = audit(model, digits(), EASY, LESS)
    (model if which == "whole" else model[1]).train()
    modes = [part.training for part in model.modules()]
    found = audit(model, digits(), EASY, LESS)
    assert found.flags == (MODE,)
    assert answer(found, MODE).found == f"{sum(modes)} parts are in training mode"
    assert answer(found, MODE).advice == "call model.eval()"
    assert [part.training for part in model.modules()] == modes
    assert (found.checks[1:], found.by_eps, found.by_steps) == (steady.checks[1:], steady.by_eps, steady.by_steps)


@pytest.mark.parametrize(
    ("scale", "shift", "range_"), [(2, -1, "from -1 to 1"), (255, 0, "from 0 to 255"), (float("nan"), 0, "nan")]
)
def test_images_outside_of_0_and_1_are_flagged_and_nothing_else_is_asked(scale, shift, range_):
    with counting(trained()) as passes:
        found = audit(trained(), (scale * digits().x + shift, digits().y), Linf(0.05))
    assert found.flags == (INPUTS,)
    assert range_ in answer(found, INPUTS).found
    assert "nothing else was asked" in answer(found, INPUTS).advice
    assert [check.name for check in found.checks] == [MODE, INPUTS]
    assert (found.by_eps, found.by_steps, passes.forward) == ({}, {}, 0)


def test_a_pair_of_images_and_labels_is_as_good_as_a_split():
    assert audit(trained(), (digits().x, digits().y), EASY, LESS) == audit(trained(), digits(), EASY, LESS)


def test_a_random_model_is_flagged_however_little_it_wavers():
    assert TWICE in audit(Noisy(trained(), size=1e-3), digits(), EASY, LESS).flags


@pytest.mark.parametrize(("threat", "steps"), [(L1(2.0), 1), (L1(2.0), 2), (L2(1.0), 1)])
def test_too_few_steps_are_flagged_and_more_are_advised(threat, steps):
    found = audit(trained("robust"), digits(), threat, partial(PGD, steps=steps))
    assert STEPS in found.flags
    assert answer(found, STEPS).advice == "take more steps"


def test_forty_steps_are_enough_where_one_was_not():
    assert STEPS not in audit(trained("robust"), digits(), L2(1.0)).flags


@pytest.mark.parametrize(("count", "flagged"), [(3, False), (4, True)])
def test_up_to_three_points_that_more_steps_find_are_luck(count, flagged):
    found = audit(trained(), digits(), Linf(0.5), lambda threat: Finds(threat, count))
    assert f"{100 * count / len(digits()):.1f} % more" in answer(found, STEPS).found
    assert (STEPS in found.flags) == flagged


def test_more_steps_that_help_the_model_are_flagged():
    found = audit(trained(), digits(), Linf(0.15), Tires)
    assert STEPS in found.flags
    assert re.match(r"four times as many break -\d+\.\d % more than another start", answer(found, STEPS).found)
    assert answer(found, STEPS).advice == "gradients are masked: more steps must not help the model"


def test_everything_beats_an_attack_that_does_nothing():
    found = audit(trained(), digits(), Linf(0.3), Still)
    assert found.flags == (ONE_STEP, SCALE, LUCK, QUERIES, FOR_EVER)
    # All numbers are shares of all points, those that were misread from the start among them.
    read = report(trained(), digits())
    for name, attack, said in (
        (ONE_STEP, FGSM(Linf(0.3)), "PGD(steps=1, step_size=0.3, random_start=False)"),
        (LUCK, RandomSearch(Linf(0.3), queries=200), "RandomSearch(queries=200)"),
        (QUERIES, Square(Linf(0.3), queries=500), "Square(queries=500)"),
    ):
        fell = report(trained(), digits()[read.right], attack, seed=1).stages[0].fell
        assert answer(found, name).found == f"{said} breaks {100 * fell / 120:.1f} % more"
    assert answer(found, SCALE).found.startswith("APGD(loss=dlr) breaks ")
    assert answer(found, FOR_EVER).found.startswith(f"{100 * read.clean.value:.1f} % left at ε = 1,")


def test_an_accuracy_that_rises_with_eps_is_flagged():
    found = audit(trained(), digits(), Linf(0.1), Shy)
    assert found.flags == (FALLS, FOR_EVER)
    low, high, last = (found.by_eps[eps].value for eps in (0.1, 0.2, 0.4))
    assert low < high == last == accuracy(trained(), digits()).value
    assert answer(found, FALLS).found == f"largest rise {100 * (high - low):.1f} points"


@pytest.mark.parametrize(("threat", "everything"), [(EASY, "1"), (L2(2.0), "8"), (L1(8.0), "64")], ids=str)
def test_the_largest_radius_is_that_of_the_box(threat, everything):
    found = answer(audit(trained(), digits()[:10], threat, LESS), FOR_EVER).found
    assert found.endswith(f"left at ε = {everything}, where every image is allowed")


def test_another_models_examples_are_tried_where_there_is_one():
    masked = partial(audit, Quantized(trained()), digits(), Linf(0.15), LESS)
    assert BORROWED not in [check.name for check in masked().checks]
    found = masked(surrogate=trained())
    assert BORROWED in found.flags
    assert more(found, BORROWED) > 30
    # They do nothing against a network whose own gradients are open.
    honest = audit(trained("robust"), digits(), Linf(0.1), LESS, surrogate=trained())
    assert answer(honest, BORROWED).passed


# Gradients that nothing can follow


@pytest.mark.parametrize("attack", [PGD, partial(Square, queries=20)])
def test_a_model_without_a_gradient_is_flagged_and_does_not_stop_the_audit(attack):
    found = audit(Detached(trained()), digits(), Linf(0.05), attack)
    assert AT_IMAGES in found.flags
    assert "100 % no numbers" in answer(found, AT_IMAGES).found
    assert found.checks[-1] == answer(found, AT_IMAGES)  # what follows would be refused


def test_gradients_that_are_nan_are_flagged_with_their_share():
    found = audit(Cusp(trained(), median()), digits(), Linf(0.05), LESS)
    assert AT_IMAGES in found.flags
    said = answer(found, AT_IMAGES).found
    assert re.match(rf"0 % of them are zero, {share_below_median()} % no numbers", said)


# The curves


def test_the_curves_are_accuracies_under_the_attack():
    found = audit(trained(), digits(), Linf(0.1), LESS, seed=3)
    assert list(found.by_eps) == [0, 0.25 * 0.1, 0.05, 0.1, 0.2, 0.4]
    for eps, estimate in found.by_eps.items():
        assert estimate == robust_accuracy(trained(), digits(), PGD(Linf(eps), steps=5), seed=3)
    assert found.by_eps[0] == accuracy(trained(), digits())
    assert list(found.by_steps) == [1, 2, 5, 10, 20, 50, 100]
    for steps in (1, 10):
        assert found.by_steps[steps] == robust_accuracy(trained(), digits(), PGD(Linf(0.1), steps=steps), seed=3)


def test_a_radius_beyond_the_box_is_left_out():
    assert list(audit(trained(), digits()[:20], EASY, LESS).by_eps) == [0, 0.075, 0.15, 0.3, 0.6]
    assert list(audit(trained(), digits()[:20], L2(2.0), LESS).by_eps) == [0, 0.5, 1, 2, 4, 8]


def test_an_attack_without_steps_is_not_asked_for_them():
    found = audit(trained(), digits()[:40], EASY, partial(Square, queries=100))
    assert found.by_steps == {}
    assert [check.name for check in found.checks] == [name for name in ALL if name != STEPS]
    assert found.title.startswith("Sequential under Square(queries=100), ")


def test_a_radius_of_zero_is_a_radius():
    found = audit(trained(), digits(), Linf(0.0), LESS)
    assert found.by_eps == {0.0: accuracy(trained(), digits())}
    assert found.flags == ()


def test_a_mask_that_leaves_little_to_change_is_no_reason_for_a_flag():
    corner = torch.zeros(1, 8, 8, dtype=torch.bool)
    corner[0, 0, 0] = True
    assert audit(trained(), digits(), Linf(0.05, corner), LESS).flags == ()


# How it prints


def test_the_card_has_a_line_a_check_and_advice_only_where_it_is_needed():
    found = audit(Detached(network(64)).train(), (2 * digits().x, digits().y), L2(0.5), partial(PGD, steps=7))
    assert str(found) == (
        "Detached under PGD(steps=7), L2(eps=0.5), n = 120\n"
        "  FLAG  evaluation mode                 6 parts are in training mode\n"
        "                                        → call model.eval()\n"
        "  FLAG  inputs in [0, 1]                from 0 to 2\n"
        "                                        → ε is measured in [0, 1]: make normalization the model's first "
        "layer; nothing else was asked\n"
        "2 flags: do not quote this accuracy"
    )
    assert repr(found) == str(found)


def test_what_is_found_stands_below_one_another():
    lines = str(card()).splitlines()
    assert lines[0] == "Sequential under PGD(steps=5), Linf(eps=0.05), n = 120"
    assert lines[1:-1] == [f"  ok    {check.name:<32}{check.found}" for check in card().checks]
    assert max(len(name) for name in [*ALL, BORROWED]) < 32
    assert lines[-1] == "0 flags: nothing speaks against this evaluation"


@pytest.mark.parametrize(
    ("passed", "last"),
    [
        ([True, True], "0 flags: nothing speaks against this evaluation"),
        ([True, False], "1 flag: do not quote this accuracy"),
        ([False, False], "2 flags: do not quote this accuracy"),
    ],
)
def test_flags_are_counted(passed, last):
    checks = tuple(Check(f"check {i}", ok, "much", f"advice {i}") for i, ok in enumerate(passed))
    found = Audit("A model", checks, {}, {})
    assert found.flags == tuple(f"check {i}" for i, ok in enumerate(passed) if not ok)
    lines = str(found).splitlines()
    assert (lines[0], lines[-1]) == ("A model", last)
    for i, ok in enumerate(passed):
        assert (f"  {'ok  ' if ok else 'FLAG'}  check {i}{'':<25}much") in lines
        assert (f"{'':<40}→ advice {i}" in lines) is not ok


# It leaves no trace, and costs what it says


@pytest.mark.parametrize("make", [lambda: trained(), lambda: Noisy(trained(), size=0.3)], ids=["steady", "random"])
def test_the_seed_is_all_that_it_depends_on(make):
    def ask(seed, world):
        torch.manual_seed(world)
        state = torch.get_rng_state()
        found = audit(make(), digits(), EASY, LESS, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        return found

    first, again, other = ask(0, 1), ask(0, 2), ask(1, 1)
    assert again == first
    assert other != first


def test_the_model_and_the_images_stay_as_they_were():
    model, x, y = deepcopy(trained()).requires_grad_(True), digits().x.clone(), digits().y.clone()
    model[2].weight.requires_grad_(False)
    model(x).sum().backward()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    wanted = [p.requires_grad for p in model.parameters()]
    audit(model, (x, y), Linf(0.05), LESS, surrogate=network(64, classes=10))
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])
    for name, p in model.named_parameters():
        assert p.grad is None if grads[name] is None else torch.equal(p.grad, grads[name])
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert not model.training
    assert not model._forward_pre_hooks
    assert torch.equal(x, digits().x)
    assert torch.equal(y, digits().y)


def test_it_costs_no_more_than_it_says():
    said = re.search(r"Cost: up to ([\d,]+) forward and ([\d,]+) backward passes an example", audit.__doc__)
    forward, backward = (int(number.replace(",", "")) for number in said.groups())
    model = Constant().eval()  # no point of it ever falls, and leaves early
    with counting(model) as passes:
        audit(model, Split(digits().x[:10], torch.zeros(10, dtype=torch.int64)), Linf(0.15))
    assert 0.8 * forward <= passes.forward / 10 <= forward
    assert 0.8 * backward <= passes.backward / 10 <= backward


# What is refused


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": lambda x: x}, TypeError, r"model must be a torch.nn.Module, got function"),
        ({"model": nn.Sequential(nn.Flatten(0)).eval()}, ValueError, r"model must return logits of shape \(120, class"),
        ({"model": network(64)}, ValueError, r"y must hold labels in 0 … 2, got labels in 0 … 9"),
        ({"attack": partial(PGD, targeted=True)}, ValueError, "attack must not be targeted"),
        ({"surrogate": network(64, 10).train()}, ValueError, "model is in training mode"),
    ],
)
def test_a_wrong_input_is_an_error_and_no_flag(change, error, message):
    asked = {"model": trained(), "data": digits(), "threat": Linf(0.05), "attack": LESS} | change
    with pytest.raises(error, match=message):
        audit(**asked)


def test_an_error_leaves_every_part_in_its_mode():
    model = deepcopy(trained())
    model[3].train()
    with pytest.raises(ValueError, match="attack must not be targeted"):
        audit(model, digits(), EASY, partial(PGD, targeted=True))
    assert [part.training for part in model] == [i == 3 for i in range(len(model))]


# What an audit rests on: a break counts if it repeats


class Moody(nn.Module):
    """Reads everything, but in its calls of these numbers: first are the images, then the judge, then the last look."""

    def __init__(self, *errs):
        super().__init__()
        self.errs, self.calls = errs, 0
        self.eval()

    def forward(self, x):
        self.calls += 1
        return torch.tensor([[-1.0, 1.0] if self.calls in self.errs else [1.0, -1.0]]).expand(len(x), -1)


@pytest.mark.parametrize(
    ("errs", "fell", "left", "luck"),
    [
        ((), 0, 5, 0),
        ((2,), 5, 5, 5),  # handed back
        ((2, 3), 5, 0, 0),  # it repeated
        ((3,), 0, 0, 0),  # stood the attack, and not the last look
        ((1,), 0, 0, 0),  # misread from the start
    ],
)
def test_a_break_that_does_not_repeat_is_handed_back(errs, fell, left, luck):
    split = Split(torch.full((5, 1, 1, 2), 0.5), torch.zeros(5, dtype=torch.int64))
    found = report(Moody(*errs), split, Still(Linf(0.1)))
    assert (found.stages[0].fell, int(found.right.sum())) == (fell, left)
    assert found.accuracy == Estimate.proportion([True] * left + [False] * (5 - left))
    warning = "5 breaks did not repeat: the model is random; see `audit`, and AutoAttack's 'rand'"
    assert found.note == (warning if luck else "")
    assert str(found).endswith(warning) is bool(luck)


def test_what_a_chain_says_of_itself_stands_before_the_warning():
    noisy = Noisy(trained(), size=0.5)
    chain = PGD(Linf(0.1), steps=3) | FGSM(Linf(0.1))
    object.__setattr__(chain, "note", "Of itself.")
    first, second = report(noisy, digits(), chain).note.splitlines()
    assert first == "Of itself."
    assert re.match(r"\d+ breaks did not repeat", second)


def test_a_random_model_gets_points_back_and_a_steady_one_none():
    attack = PGD(Linf(0.15), steps=20)
    random, steady = (report(model, digits(), attack) for model in (Noisy(trained("robust"), 0.3), trained("robust")))
    luck = int(re.match(r"(\d+) breaks did not repeat", random.note)[1])
    assert luck >= 5
    # What was handed back is read again, and no more is handed back than fell.
    assert luck <= min(random.stages[0].fell, int(random.right.sum()))
    assert steady.note == ""
    assert int(steady.right.sum()) == steady.stages[0].tried - steady.stages[0].fell


@pytest.mark.parametrize("batch_size", [2, 5, 1024])
@pytest.mark.parametrize("attack", [Still(Linf(0.1)), RandomSearch(Linf(0.1), queries=10)], ids=["still", "search"])
def test_rounding_is_not_taken_for_chance(attack, batch_size):
    # Two logits that differ by rounding alone, which is another one in a batch of another size.
    model = nn.Sequential(nn.Flatten(), Twins(100)).eval()
    x = torch.rand(33, 1, 10, 10, generator=generator())
    split = Split(x, model(x).argmax(1))
    assert report(model, split, attack, batch_size=batch_size).note == ""


# And on views, which may have been put together a moment ago


@pytest.mark.parametrize("breaks", [False, True], ids=["ends", "fails"])
def test_a_view_is_in_evaluation_mode_while_it_is_attacked_and_in_its_own_afterwards(breaks):
    model = Detached(network(6)) if breaks else network(6)
    view = nn.Sequential(nn.Dropout(0.5), model)
    modes, seen = [part.training for part in view.modules()], []
    view.register_forward_pre_hook(lambda *_: seen.append(any(part.training for part in view.modules())))
    assert view.training
    x, y = torch.full((4, 1, 1, 6), 0.5), torch.zeros(4, dtype=torch.int64)
    attack = Adaptive.of(PGD(Linf(0.1), steps=3), lambda _: view)
    if breaks:
        with pytest.raises(ValueError, match="this attack is blind"):
            attack(model, x, y)
    else:
        x_adv = attack(model, x, y)
        assert torch.equal(x_adv, PGD(Linf(0.1), steps=3)(model, x, y))  # the dropout was off
        assert not hits(model, x_adv, y).all() or (x_adv != x).any()
    assert seen
    assert not any(seen)
    assert [part.training for part in view.modules()] == modes
