"""Branch and bound: the answer of small linear programs over all sign patterns, a witness that holds, an honest end."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustcourse import L1, L2, PGD, AutoAttack, Linf, correct, crown, load
from robustcourse.certify import BranchAndBound, branch, verify
from robustcourse.certify.verdict import UNKNOWN, VERIFIED
from robustcourse.data import Split
from tests.certify.test_bounds import KINDS, build, images
from tests.nets import by_patterns, linear, margins, trained

DIGITS = load("digits").test[:100]


def tiny(seed, width=3):
    torch.manual_seed(seed)
    layers = [nn.Flatten(), nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)]
    net = nn.Sequential(*layers).double().eval()
    for layer in net[1::2]:
        layer.weight.data *= 3
    net[-1].bias.data -= net(torch.full((1, 2), 0.5, dtype=torch.double)).detach()[0]  # all classes meet in the middle
    return net


def test_the_answer_is_the_least_margin_of_all_sign_patterns():
    answers = []
    for seed in range(3):
        net, x = tiny(seed), images((1, 1, 2), n=2, seed=seed).double()
        y = net(x).argmax(1)
        for eps in (0.1, 0.3):
            said = BranchAndBound()(net, x, y, Linf(eps))
            for i in range(2):
                least = by_patterns(net, x[i : i + 1], int(y[i]), Linf(eps))
                exact = min(least[k] for k in range(3) if k != y[i])
                answers.append((bool(exact > 0), bool(said.verified[i]), bool(said.falsified[i])))
                if said.verified[i]:
                    assert said.gap[i] <= exact + 1e-9
    assert all(verified == holds and falsified == (not holds) for holds, verified, falsified in answers)
    assert len(set(answers)) == 2  # both happen


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 6), st.floats(0.1, 0.4))
def test_the_bound_of_a_case_is_below_all_of_its_points(seed, count, eps):
    net, x, threat = tiny(seed).requires_grad_(False), images((1, 1, 2), n=1, seed=seed).double(), Linf(eps)
    y = net(x).argmax(1)
    search = branch.Search(net, x, y, threat, steps=20)
    shares = torch.linspace(-1, 1, 41, dtype=torch.double)
    around = threat.project(x, x + eps * torch.cartesian_prod(shares, shares).view(-1, 1, 1, 2))
    signs = torch.cat([net[:2](around), net[:4](around)], 1).sign().to(torch.int8)
    generator = torch.Generator().manual_seed(seed)
    fixed = torch.randperm(6, generator=generator)[:count]
    case = signs[torch.randint(len(signs), (1,), generator=generator)]  # one that has points
    inside = (signs == case)[:, fixed].all(1)
    case = torch.zeros_like(case).scatter(1, fixed[None], case[:, fixed])
    slopes, none = torch.full((1, 6), 0.5, dtype=torch.double), torch.zeros(1, 6, dtype=torch.double)
    for other in {0, 1, 2} - {int(y)}:
        cases = branch.Cases(torch.tensor([0]), torch.tensor([other]), -torch.ones(1) / 0, case, slopes, none)
        found, _ = search.bound(cases)
        assert float(found.bound) <= margins(net, around, y.expand(len(around)))[inside, other].min() + 1e-9


def test_without_an_attack_in_front_the_answers_are_the_same(monkeypatch):
    nets = [(tiny(seed), images((1, 1, 2), n=3, seed=seed).double()) for seed in range(6)]
    asked = [(net, x, net(x).argmax(1), Linf(eps)) for net, x in nets for eps in (0.1, 0.3)]
    usual = [BranchAndBound()(*question).status for question in asked]
    monkeypatch.setattr(branch, "PGD", lambda *_, **__: lambda model, x, y: x)
    assert all(
        torch.equal(BranchAndBound()(*question).status, said) for question, said in zip(asked, usual, strict=True)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.3), L1(0.6)], ids=str)
def test_witnesses_hold_and_proofs_stand_for_all_layers(kind, threat):
    model, x = build(kind), images(n=6)
    y = model(x).argmax(1)
    said = BranchAndBound(seconds=1)(model, x, y, threat)
    assert (threat.distance(x, said.witness) <= threat.eps + 1e-5).all()
    assert torch.equal(model(said.witness).argmax(1) != y, said.falsified)
    for steps in (1, 20):
        x_adv = PGD(threat, steps=steps)(model, x, y)
        assert not (said.verified & (model(x_adv).argmax(1) != y)).any()
    lines = crown(model, x, y, threat).scatter(1, y[:, None], torch.inf).amin(1)
    assert (said.verified | (lines < 1e-3)).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.sampled_from([Linf, L2]), st.floats(0, 0.3))
def test_every_point_of_a_plane_agrees(seed, norm, eps):
    net, threat = tiny(seed), norm(eps)
    x = images((1, 1, 2), n=1, seed=seed, low=0.3, high=0.7).double()  # so that [0, 1] cuts nothing off a ball
    y = net(x).argmax(1)
    said = BranchAndBound(seconds=5)(net, x, y, threat)
    steps = torch.linspace(-1, 1, 41, dtype=torch.double)
    around = threat.project(x, x + eps * torch.cartesian_prod(steps, steps).view(-1, 1, 1, 2))
    assert not (said.verified.all() and (net(around).argmax(1) != y).any())
    assert not said.unknown.any() or abs(float(said.gap)) < 1e-6  # all classes may be equal on a whole patch


def test_more_is_decided_than_lines_can_and_nothing_that_an_attack_breaks():
    model, threat = trained("robust"), Linf(0.06)
    said = verify(model, DIGITS, BranchAndBound(), threat)
    lines = verify(model, DIGITS, crown, threat)
    assert not (lines.verified & ~said.verified).any()
    assert (lines.unknown & said.verified).any()
    assert said.unknown.sum() == 0
    assert not (said.verified & ~correct(model, DIGITS, AutoAttack(threat, "quick"))).any()
    assert (said.branches >= 1).all()
    assert (said.branches[lines.unknown & said.verified] > 1).any()
    assert str(said).startswith("BranchAndBound(seconds=60.0")


def test_without_time_what_is_open_is_unknown_and_its_gap_is_that_of_lines():
    model, threat = trained("robust"), Linf(0.06)
    said = verify(model, DIGITS, BranchAndBound(seconds=0), threat)
    lines = verify(model, DIGITS, crown, threat)
    assert said.unknown.any()
    assert torch.equal(said.verified, lines.verified)
    torch.testing.assert_close(said.gap[said.unknown], lines.gap[said.unknown])


def test_the_number_of_cases_at_once_changes_no_answer():
    model, threat = trained("robust"), Linf(0.05)
    some = [verify(model, DIGITS, BranchAndBound(cases=cases), threat).status for cases in (3, 512)]
    assert torch.equal(*some)


def test_a_margin_of_zero_is_no_proof_and_ends():
    """f_0 − f_1 = |x − 1/2| ≥ 0, zero in the middle: neither misread nor above zero."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
    values = ([[1.0], [-1.0]], [-0.5, 0.5], [[1.0, 1.0], [0.0, 0.0]], [0.0, 0.0])
    for tensor, value in zip(net.parameters(), values, strict=True):
        tensor.data = torch.tensor(value)
    said = BranchAndBound(seconds=30)(net, torch.tensor([[[[0.52]]]]), torch.tensor([0]), Linf(0.1))
    assert said.status.tolist() == [UNKNOWN]
    assert abs(float(said.gap)) < 1e-5
    net[3].bias.data[0] = 0.01
    said = BranchAndBound(seconds=30)(net, torch.tensor([[[[0.52]]]]), torch.tensor([0]), Linf(0.1))
    assert said.status.tolist() == [VERIFIED]
    assert float(said.gap) == pytest.approx(0.01, abs=1e-4)


def test_a_model_without_activations_needs_no_branches():
    model = linear(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    x = torch.tensor([[0.6, 0.2], [0.5, 0.45], [0.5, 0.5]])  # margins 0.4, 0.05 and 0
    said = BranchAndBound(seconds=5)(model, x, torch.tensor([0, 0, 0]), Linf(0.1))
    assert said.status.tolist()[:2] == [1, -1]
    assert said.branches.tolist() == [1, 1, 1]
    # A margin that comes down to zero, and a ball that the range of pixels cuts, are no proof and no break.
    said = BranchAndBound(seconds=5)(model, torch.tensor([[0.3, 0.1]]), torch.tensor([0]), Linf(0.1))
    assert said.status.tolist() == [UNKNOWN]
    assert abs(float(said.gap)) < 1e-6
    # From (0.02, 0.2), x_0 + x_1 falls by 0.02 + √(0.15² − 0.02²) = 0.1687 at most; as far as bounds know, by 0.17.
    model = linear(torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([0.1695 - 0.22, 0.0]))
    said = BranchAndBound(seconds=5)(model, torch.tensor([[0.02, 0.2]]), torch.tensor([0]), L2(0.15))
    assert said.status.tolist() == [UNKNOWN]
    assert float(said.gap) == pytest.approx(-0.0005, abs=1e-5)


def test_the_model_stays_as_it_was():
    model = build("mlp")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x = images(n=3)
    model(x).sum().backward()
    grads = [weight.grad.clone() for weight in model.parameters()]
    state = torch.get_rng_state()
    BranchAndBound(seconds=2)(model, x, torch.tensor([0, 1, 2]), Linf(0.1))
    assert torch.equal(torch.get_rng_state(), state)
    for (name, tensor), weight, grad in zip(model.state_dict().items(), model.parameters(), grads, strict=True):
        assert torch.equal(tensor, before[name])
        assert torch.equal(weight.grad, grad)
        assert weight.requires_grad


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seconds": -1}, "seconds must be a finite number >= 0, got -1"),
        ({"seconds": float("nan")}, "seconds must be a finite number >= 0, got nan"),
        ({"cases": 0}, "cases must be >= 1 and steps >= 0, got 0 and 8"),
        ({"steps": -1}, "cases must be >= 1 and steps >= 0, got 512 and -1"),
    ],
)
def test_settings_out_of_range(wrong, said):
    with pytest.raises(ValueError, match=said):
        BranchAndBound(**wrong)


def test_wrong_input_is_an_error():
    model, x, y = build("mlp"), images(n=2), torch.tensor([0, 1])
    prove = BranchAndBound()
    with pytest.raises(ValueError, match="model is in training mode"):
        prove(build("mlp").train(), x, y, Linf(0.1))
    with pytest.raises(ValueError, match="x must be finite"):
        prove(model, x * torch.nan, y, Linf(0.1))
    bent = nn.Sequential(nn.Flatten(), nn.Linear(30, 3), nn.Tanh()).eval()
    with pytest.raises(TypeError, match="model has a layer without bounds, Tanh"):
        prove(bent, x, bent(x).argmax(1), Linf(0.01))
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        verify(model, Split(x, y), prove, Linf(0.1), batch_size=0)
