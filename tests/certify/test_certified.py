"""Certified accuracy: below every attack's number, and only where the proof is beyond rounding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustcourse import L2, PGD, AutoAttack, Linf, accuracy, correct, load
from robustcourse.certify import alpha_crown, certified, certified_accuracy, crown, crown_ibp, ibp
from robustcourse.data import Split
from tests.nets import trained

DIGITS = load("digits").test[:100]


@pytest.mark.parametrize("threat", [Linf(0.04), L2(0.3)], ids=str)
@pytest.mark.parametrize("bound", [ibp, crown_ibp, crown, alpha_crown], ids=lambda b: b.__name__)
def test_what_is_certified_survives_every_attack(bound, threat):
    model = trained("robust")
    proved = certified(model, DIGITS, bound, threat)
    assert not (proved & ~correct(model, DIGITS, PGD(threat))).any()
    assert not (proved & ~correct(model, DIGITS, AutoAttack(threat, "quick"))).any()


def test_lines_prove_a_good_part_of_what_stands():
    model, threat = trained("robust"), Linf(0.04)
    stands, proved = correct(model, DIGITS, PGD(threat)), certified(model, DIGITS, crown, threat)
    assert proved.sum() > 0.6 * stands.sum()


def test_without_a_threat_what_is_read_right_is_certified():
    model = trained("robust")
    assert certified_accuracy(model, DIGITS, crown, Linf(0.0)) == accuracy(model, DIGITS)


def test_the_batch_size_changes_nothing():
    model = trained("robust")
    assert torch.equal(certified(model, DIGITS, crown, Linf(0.03), 7), certified(model, DIGITS, crown, Linf(0.03)))


def test_a_bound_within_rounding_of_zero_is_no_proof():
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).eval()
    model[1].weight.data, model[1].bias.data = torch.tensor([[0.0], [0.0]]), torch.tensor([100.0, 100.0])
    split = Split(torch.rand(3, 1, 1, 1), torch.zeros(3, dtype=torch.long))
    for lead, proved in ((1e-3, False), (1.0, True)):
        model[1].bias.data[0] = 100 + lead
        assert certified(model, split, crown, Linf(0.1)).all() == proved


def test_wrong_input_is_an_error():
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        certified(trained("robust"), DIGITS, crown, Linf(0.1), batch_size=0)
    with pytest.raises(ValueError, match="x must be a non-empty batch"):
        certified(trained("robust"), DIGITS[:0], crown, Linf(0.1))
