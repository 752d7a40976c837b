"""AutoAttack: what is in it, that no single attack beats it, and that it runs where the others stumble."""

from __future__ import annotations

import pytest
import torch

from robustcourse import L1, L2, PGD, Linf, report, robust_accuracy
from robustcourse.attacks import APGD, FMN, Adaptive, AutoAttack, Square, cross_entropy, dlr, dlr_targeted
from robustcourse.data import Split
from robustcourse.evaluate import counting
from tests.nets import Constant, Noisy, Rounded, Scaled, digits, generator, images, linear, network, trained, wrong

THREATS = pytest.mark.parametrize("threat", [Linf(0.15), L2(0.8), L1(3.0)], ids=str)


def test_the_standard_ensemble():
    chain, threat = AutoAttack(Linf(0.1)), Linf(0.1)
    expected = (
        APGD(threat),
        APGD(threat, loss=dlr_targeted, targets=9),
        FMN(threat, steps=30),
        Square(threat, queries=1000),
    )
    assert chain.attacks == expected
    assert chain.note == ""


def test_the_ensemble_for_random_defences():
    chain = AutoAttack(Linf(0.1), "rand")
    assert [link.attack.loss for link in chain.attacks] == [cross_entropy, dlr]
    for link in chain.attacks:
        assert isinstance(link, Adaptive)
        assert link.view(network(6)).samples == 20


def test_the_quick_ensemble_says_what_it_leaves_out():
    chain = AutoAttack(Linf(0.1), "quick")
    assert [(link.steps, link.targets) for link in chain.attacks] == [(50, 9), (50, 3)]
    assert chain.note.startswith("quick: 3 targets of 9, half the steps")
    assert str(report(trained(), digits()[:5], chain)).endswith(chain.note)


@pytest.mark.parametrize("version", ["standard", "quick", "rand"])
def test_half_precision_is_for_every_apgd_in_it(version):
    for bf16 in (False, True):
        inner = [getattr(link, "attack", link) for link in AutoAttack(Linf(0.1), version, bf16=bf16).attacks]
        apgd = [attack.bf16 for attack in inner if isinstance(attack, APGD)]
        assert apgd == [bf16] * 2


def test_an_unknown_version_is_named():
    with pytest.raises(ValueError, match="version must be one of standard, rand, quick, got 'plus'"):
        AutoAttack(Linf(0.1), "plus")


@THREATS
@pytest.mark.parametrize("kind", ["standard", "robust"])
def test_it_leaves_no_more_than_pgd(threat, kind):
    split = digits()[:16]
    left = {
        name: robust_accuracy(trained(kind), split, attack).value
        for name, attack in {
            "PGD": PGD(threat),
            "quick": AutoAttack(threat, "quick"),
            "standard": AutoAttack(threat),
        }.items()
    }
    assert left["standard"] <= left["quick"] <= left["PGD"]


def test_its_cost_is_as_documented():
    with counting(model := Constant().eval()) as passes:  # of three classes: two targets in place of nine
        AutoAttack(Linf(0.1))(model, images(n=3), torch.zeros(3, dtype=torch.int64))
    looks = 1 + 3 * 1 + 1 + 4  # before the chain, by each APGD and FMN, and after each of the four
    assert passes.backward == 3 * (101 + 2 * 101 + 2 * 31)
    assert passes.forward <= passes.backward + 3 * (1000 + looks)
    assert passes.forward >= passes.backward + 3 * 1000


@pytest.mark.parametrize("spoil", [Scaled, Rounded])
def test_it_is_not_fooled_by_masked_gradients(spoil):
    split = digits()[:16]
    plain, spoiled = (
        robust_accuracy(model, split, AutoAttack(Linf(0.15))).value for model in (trained(), spoil(trained()))
    )
    assert spoiled <= plain + 0.1
    assert robust_accuracy(spoil(trained()), split, PGD(Linf(0.15))).value > 0.6


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("version", ["standard", "quick"])
def test_few_classes_are_enough(classes, version):
    # A linear model is known: a point breaks where its smallest margin is less than ε times the dual norm.
    weight = torch.randn(classes, 6, generator=generator())
    model, x, threat = linear(weight, -weight.sum(1) / 2), images(n=20), Linf(0.01)
    logits = model(x).detach()
    y = logits.argmax(1)
    reach = torch.stack([threat.eps * threat.dual(weight[k] - weight[y]) for k in range(classes)], 1)
    spare = (logits.gather(1, y[:, None]) - logits - reach).scatter(1, y[:, None], torch.inf).amin(1)
    clear = spare.abs() > 1e-4
    assert torch.equal(report(model, Split(x, y), AutoAttack(threat, version)).right[clear], (spare > 0)[clear])
    assert 0 < (spare < 0).sum() < 20


def test_a_random_defence_falls_to_averaged_gradients():
    model, x, y = Noisy(trained(), size=0.1), digits().x[:6], digits().y[:6]
    found = AutoAttack(Linf(0.15), "rand")(model, x, y)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        left = torch.stack([~wrong(model, found, y) for _ in range(20)]).float().mean()
        clean = torch.stack([~wrong(model, x, y) for _ in range(20)]).float().mean()
    assert clean > 0.8
    assert left < 0.5
