"""The ladder and the radius: one order for every example, and a distance that a linear model knows exactly."""

from __future__ import annotations

import pytest
import torch

from robustcourse import L2, PGD, AutoAttack, Linf, accuracy, correct, load
from robustcourse.certify import BranchAndBound, Unsound, alpha_crown, certified_radius, crown, ibp, ladder
from robustcourse.data import Split
from tests.nets import linear, trained

DIGITS = load("digits").test[:50]


@pytest.mark.parametrize("kind", ["standard", "robust"])
@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.3)], ids=str)
def test_each_example_stands_on_all_rungs_above_its_own(kind, threat):
    model = trained(kind)
    proofs = {"exact": BranchAndBound(20), "α-CROWN": alpha_crown, "CROWN": crown, "IBP": ibp}
    found = ladder(model, DIGITS, threat, {"PGD": PGD(threat), "AA": AutoAttack(threat, "quick")}, proofs)
    assert list(found.rungs) == ["clean", "PGD", "AA", "exact", "α-CROWN", "CROWN", "IBP"]
    held = torch.stack(list(found.held.values())).int()
    assert (held.diff(dim=0) <= 0).all() or found.proofs["exact"].unknown.any()
    assert found.rungs["clean"] == accuracy(model, DIGITS)
    assert found.rungs["PGD"].value <= found.rungs["clean"].value
    assert torch.equal(
        found.attacked["AA"], found.attacked["PGD"] & correct(model, DIGITS, AutoAttack(threat, "quick"), 512)
    )
    text = str(found).splitlines()
    assert text[0] == str(threat)
    assert [line.split()[0] for line in text[1:]] == list(found.rungs)
    drawn = found._repr_html_()
    assert "<svg" in drawn
    assert all(f"{name} {share}" in drawn for name, share in found.rungs.items())


def claims_all(model, x, y, threat):
    return torch.ones(len(x), 10)


def claims_nothing(model, x, y, threat):
    return -torch.ones(len(x), 10)


def test_a_proof_that_an_attack_refutes_is_found_out():
    model = trained("standard")
    right = Split(*(part[correct(model, DIGITS)] for part in (DIGITS.x, DIGITS.y)))
    threat = Linf(0.3)
    with pytest.raises(Unsound, match=r"examples \[.*\] stand on 'lie' and not on 'PGD', which is above it"):
        ladder(model, right, threat, {"PGD": PGD(threat)}, {"lie": claims_all})


def test_a_loose_proof_of_what_a_strong_one_leaves_open_is_found_out():
    model, threat = trained("robust"), Linf(0.02)
    with pytest.raises(Unsound, match=r"stand on 'CROWN' and not on 'weak', which is above it"):
        ladder(model, DIGITS, threat, {}, {"weak": claims_nothing, "CROWN": crown})


def test_where_time_ran_out_nothing_is_demanded():
    model, threat = trained("robust"), Linf(0.06)

    def patient(*arguments):
        return BranchAndBound(20)(*arguments)

    found = ladder(model, DIGITS, threat, {}, {"exact": BranchAndBound(0), "later": patient})
    assert found.rungs["later"].value > found.rungs["exact"].value


def test_the_usual_attacks_and_proofs():
    model, threat = trained("robust"), Linf(0.03)
    found = ladder(model, DIGITS[:20], threat)
    assert list(found.rungs) == ["clean", "FGSM", "PGD", "AutoAttack", "exact", "α-CROWN", "CROWN", "IBP"]


@pytest.mark.parametrize("norm", [Linf, L2])
def test_the_radius_of_a_linear_model_is_the_distance_to_its_border(norm):
    w = torch.tensor([[2.0, -1.0], [0.0, 0.0]])
    x = torch.tensor([[0.5, 0.2], [0.5, 0.8], [0.45, 0.55], [0.5, 0.4]]).view(4, 1, 1, 2)
    split = Split(x, torch.tensor([0, 0, 0, 1]))  # the last one is misread
    exact = (x.flatten(1) @ w[0]) / norm(1.0).dual(w[:1])
    radius = certified_radius(linear(w), split, crown, norm, largest=0.5, steps=10)
    assert radius[3] == 0
    assert (radius[:3] <= exact[:3]).all()
    assert (radius[:3] >= exact[:3] - 0.5 / 2**10 - 1e-3).all()


def test_radii_hold_and_end_where_they_say():
    model = trained("robust")
    radius = certified_radius(model, DIGITS, crown, largest=0.16, steps=4)
    assert set(radius.tolist()) <= {0.16 * k / 16 for k in range(17)}
    for place in radius.unique().tolist():
        split = DIGITS[radius == place]
        if place:
            assert (crown(model, split.x, split.y, Linf(place)).amin(1) > -1e-4).all()


@pytest.mark.parametrize(("largest", "steps"), [(0.0, 5), (-1.0, 5), (float("inf"), 5), (0.5, 0)])
def test_ranges_that_make_no_sense(largest, steps):
    with pytest.raises(ValueError, match="largest must be > 0 and steps >= 1, got"):
        certified_radius(trained("robust"), DIGITS, crown, largest=largest, steps=steps)
