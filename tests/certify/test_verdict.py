"""Verdicts: below every attack's number, beyond rounding only, and nothing is lost when a run is interrupted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from robustcourse import L2, PGD, AutoAttack, Linf, accuracy, correct, load
from robustcourse.certify import alpha_crown, certified, certified_accuracy, crown, crown_ibp, ibp, verify
from robustcourse.certify.verdict import TENSORS, Verdict
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


def test_a_verdict_has_three_answers_and_says_how_it_came_about():
    model = trained("standard")
    said = verify(model, DIGITS, crown, Linf(0.06))
    assert (said.verified.int() + said.falsified.int() + said.unknown.int() == 1).all()
    assert torch.equal(said.falsified, ~correct(model, DIGITS))  # misread as they are
    assert torch.equal(said.witness, DIGITS.x)
    assert (said.gap[said.verified] > 0).all()
    assert (said.gap[said.unknown] < 1e-2).all()
    assert said.branches.tolist() == [1] * 100
    assert (said.seconds > 0).all()
    assert (said.method, said.threat, said.dtype, said.alpha) == ("crown", "Linf(eps=0.06)", torch.float32, 0.0)
    printed = str(said).splitlines()
    assert printed[0] == "crown, Linf(eps=0.06), torch.float32"
    for name, line in zip(("verified", "falsified", "unknown"), printed[1:4], strict=True):
        assert line.split()[0] == name
        assert f"{int(getattr(said, name).sum())}.0 %" in line
    assert printed[4].startswith("branches  100, seconds ")
    assert printed[5] == f"of the unknown, the lowest gap is {said.gap[said.unknown].min():.3g}"
    assert "each proof wrong with probability 0.001 at most" in str(replace(said, alpha=0.001))


@dataclass(frozen=True)
class Power:
    """Bounds by lines, until the power fails."""

    left: list

    def __call__(self, model, x, y, threat):
        if not self.left:
            raise KeyboardInterrupt
        self.left.pop()
        return crown(model, x, y, threat)

    def __repr__(self):
        return "Power"


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    model, threat, store = trained("robust"), Linf(0.04), tmp_path / "deep" / "run.safetensors"
    whole = verify(model, DIGITS, Power([1] * 5), threat, batch_size=30)
    with pytest.raises(KeyboardInterrupt):
        verify(model, DIGITS, Power([1] * 2), threat, batch_size=30, store=store)
    rest = Power([1] * 2)  # of four batches
    said = verify(model, DIGITS, rest, threat, batch_size=30, store=store)
    assert rest.left == []
    for name in ("status", "gap", "witness", "branches"):
        assert torch.equal(getattr(said, name), getattr(whole, name))
    again = verify(model, DIGITS, Power([]), threat, batch_size=30, store=store)
    assert all(torch.equal(getattr(again, name), getattr(said, name)) for name in TENSORS)
    assert (again.method, again.threat) == (said.method, said.threat)
    assert [file.name for file in store.parent.iterdir()] == ["run.safetensors"]


def test_a_store_of_another_run_is_kept_and_named(tmp_path):
    model, store = trained("robust"), tmp_path / "run.safetensors"
    verify(model, DIGITS, crown, Linf(0.04), store=store)
    was = store.read_bytes()
    mask = torch.ones(1, 8, 8, dtype=torch.bool)
    for other in (
        (trained("standard"), DIGITS, crown, Linf(0.04)),
        (model, DIGITS[:99], crown, Linf(0.04)),
        (model, DIGITS, ibp, Linf(0.04)),
        (model, DIGITS, crown, Linf(0.05)),
        (model, DIGITS, crown, Linf(0.04, mask)),
    ):
        with pytest.raises(ValueError, match=r"run.safetensors is of another run: model, examples, certificate"):
            verify(*other, store=store)
    assert store.read_bytes() == was
    store.write_bytes(was[:100])
    with pytest.raises(ValueError, match=r"run.safetensors is cut off or no store; delete it"):
        verify(model, DIGITS, crown, Linf(0.04), store=store)


def test_verdicts_add_up():
    model, threat = trained("robust"), Linf(0.04)
    parts = verify(model, DIGITS[:40], crown, threat) + verify(model, DIGITS[40:], crown, threat)
    assert isinstance(parts, Verdict)
    assert len(parts) == 100
    assert torch.equal(parts.status, verify(model, DIGITS, crown, threat).status)


def test_wrong_input_is_an_error():
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        certified(trained("robust"), DIGITS, crown, Linf(0.1), batch_size=0)
    with pytest.raises(ValueError, match="x must be a non-empty batch"):
        certified(trained("robust"), DIGITS[:0], crown, Linf(0.1))
