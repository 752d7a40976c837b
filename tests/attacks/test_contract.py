"""What each attack and each evaluation promises: its set, no trace, the same result again, clear errors."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import robustcourse.attacks
from robustcourse import FGSM, L1, L2, PGD, Linf, accuracy, robust_accuracy
from robustcourse.attacks import (
    APGD,
    EOT,
    FMN,
    Adaptive,
    Attack,
    AutoAttack,
    CarliniWagner,
    Chain,
    DeepFool,
    HopSkipJump,
    RandomSearch,
    Square,
    dlr,
    dlr_targeted,
    margin_loss,
    margin_targeted,
)
from robustcourse.attacks.chain import links
from robustcourse.data import Split
from tests.nets import Noisy, Twins, digits, generator, hits, network, trained, watch_standing, wrong


def small(chain):
    """The same ensemble with few steps: what it finds is tested elsewhere."""
    few = {"steps": 3, "queries": 6}

    def cut(attack):
        if isinstance(attack, Adaptive):
            return replace(attack, attack=cut(attack.attack))
        return replace(attack, **{name: few[name] for name in few if hasattr(attack, name)})

    return replace(chain, attacks=tuple(cut(attack) for attack in links(chain)))


# Every attack, from a threat set.
EVERY = {
    "FGSM": FGSM,
    "PGD": lambda threat: PGD(threat, steps=3, restarts=2),
    "PGD early": lambda threat: PGD(threat, steps=3, early_exit=True),
    "PGD half": lambda threat: PGD(threat, steps=3, early_exit=True, bf16=True),
    "PGD targeted": lambda threat: PGD(threat, steps=3, targeted=True),
    "APGD": lambda threat: APGD(threat, steps=4),
    "APGD early": lambda threat: APGD(threat, steps=4, early_exit=True),
    "APGD half": lambda threat: APGD(threat, steps=4, early_exit=True, bf16=True),
    "APGD margin": lambda threat: APGD(threat, steps=4, loss=margin_loss, restarts=2),
    "APGD dlr": lambda threat: APGD(threat, steps=4, loss=dlr),
    "APGD margin_targeted": lambda threat: APGD(threat, steps=3, loss=margin_targeted, targets=2),
    "APGD dlr_targeted": lambda threat: APGD(threat, steps=3, loss=dlr_targeted),
    "FMN": lambda threat: FMN(threat, steps=4),
    "FMN early": lambda threat: FMN(threat, steps=4, early_exit=True),
    "Square": lambda threat: Square(threat, queries=12),
    "RandomSearch": lambda threat: RandomSearch(threat, queries=4),
    "DeepFool": lambda threat: DeepFool(threat, steps=3),
    "CarliniWagner": lambda threat: CarliniWagner(L2(threat.eps, threat.mask), steps=4, searches=2),
    "HopSkipJump": lambda threat: HopSkipJump(threat, queries=200),
    "chain": lambda threat: PGD(threat, steps=2) | APGD(threat, steps=3) | Square(threat, queries=6),
    "AutoAttack": lambda threat: small(AutoAttack(threat)),
    "AutoAttack rand": lambda threat: small(AutoAttack(threat, "rand")),
    "AutoAttack quick": lambda threat: small(AutoAttack(threat, "quick")),
    "Adaptive": lambda threat: Adaptive.of(PGD(threat, steps=3), lambda model: EOT(model, samples=2)),
}
DETERMINED = {"FGSM", "FMN", "FMN early", "DeepFool", "CarliniWagner"}  # these have no use for a generator

ATTACKS = {name: build(L2(0.3)) for name, build in EVERY.items()}
CALLS = ATTACKS | {
    "accuracy": lambda model, x, y: accuracy(model, Split(x, y)),
    "robust accuracy": lambda model, x, y: robust_accuracy(model, Split(x, y), ATTACKS["PGD"]),
}
builds = pytest.mark.parametrize("build", EVERY.values(), ids=EVERY)
attacks = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
named = pytest.mark.parametrize(("name", "attack"), ATTACKS.items(), ids=ATTACKS)
calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)

X = torch.rand(20, 1, 2, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 3


def test_every_attack_is_held_to_this_contract():
    exported = [getattr(robustcourse.attacks, name) for name in robustcourse.attacks.__all__]
    kinds = {kind for kind in exported if inspect.isclass(kind) and issubclass(kind, Attack)}
    held = {type(link) for attack in ATTACKS.values() for link in links(attack)} | {Chain}
    assert {kind for kind in kinds if not inspect.isabstract(kind)} == held


sides = st.one_of(
    st.tuples(st.integers(1, 9)),  # rows
    st.tuples(st.integers(1, 3), st.integers(1, 5)),  # signals
    st.tuples(st.sampled_from([1, 3]), st.integers(1, 4), st.integers(1, 4)),  # images
)


@settings(deadline=None, max_examples=250)
@given(
    name=st.sampled_from(list(EVERY)),
    threat=st.sampled_from([Linf, L2, L1]),
    eps=st.one_of(st.just(0.0), st.floats(1e-4, 1)),
    batch=st.sampled_from([1, 2, 5]),
    sides=sides,
    masked=st.booleans(),
    classes=st.sampled_from([2, 3, 10]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    exponent=st.sampled_from([0, 0, 0, -30, -3, 3]),  # of the logits' size
    seed=st.integers(0, 1000),
)
def test_an_attack_stays_in_its_set_and_repeats(
    name, threat, eps, batch, sides, masked, classes, dtype, exponent, seed
):
    drawn = generator(seed)
    mask = torch.rand(sides, generator=drawn) < 0.5 if masked else None
    attack = EVERY[name](threat(eps, mask))
    x = torch.rand(batch, *sides, generator=drawn, dtype=dtype).round(decimals=1)  # now and then black or white
    y = torch.randint(classes, (batch,), generator=drawn)
    model = network(x[0].numel(), classes, scale=10.0**exponent, seed=seed).to(dtype)
    x_adv = attack(model, x, y, generator=generator(seed))
    assert (x_adv.shape, x_adv.dtype) == (x.shape, dtype)
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert attack.threat.distance(x, x_adv).max() <= eps + 1e-6
    if eps == 0:
        assert torch.equal(x_adv, x)
    if masked:
        assert torch.equal(x_adv[:, ~mask], x[:, ~mask])
    assert torch.equal(attack(model, x, y, generator=generator(seed)), x_adv)


@pytest.mark.parametrize("name", [name for name in EVERY if name != "PGD targeted"])
@pytest.mark.parametrize("threat", [Linf(0.15), L2(0.8), L1(4.0)], ids=str)
def test_a_broken_point_stays_broken_in_other_company(name, threat, monkeypatch):
    claims, model, (x, y) = watch_standing(monkeypatch), trained(), (digits().x[:40], digits().y[:40])
    x_adv = EVERY[name](threat)(model, x, y)
    broken = wrong(model, x_adv, y).nonzero().flatten()
    assert len(broken) > 0
    for i in broken:
        assert not hits(model, x_adv[i : i + 1], y[i : i + 1])
    for claim in claims:
        for i in claim.fell.nonzero().flatten():
            assert not hits(model, claim.found[i : i + 1], claim.y[i : i + 1])


@builds
def test_what_only_rounding_decides_is_not_broken(build, monkeypatch):
    claims, x = watch_standing(monkeypatch), torch.rand(40, 50, generator=generator())
    build(Linf(0.1))(Twins(50), x, torch.zeros(40, dtype=torch.int64))
    assert not any(claim.fell.any() for claim in claims)


@builds
@pytest.mark.parametrize("threat", [Linf, L2, L1])
def test_a_mask_of_another_shape_is_named(build, threat):
    attack = build(threat(0.1, torch.ones(2, 3, dtype=torch.bool)))  # would broadcast over the channel
    y = network(6)(X).argmax(1).detach()  # read right, so that there is something to do
    with pytest.raises(ValueError, match=r"mask must have the shape of one input, \(1, 2, 3\), got \(2, 3\)"):
        attack(network(6), X, y)


@pytest.fixture
def model():
    """A network with all that could be disturbed: statistics, dropout, frozen weights, somebody else's gradients."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)).eval()
    model[4].bias.data -= model(X).mean(0).detach()  # each class is the answer somewhere
    model[1].weight.requires_grad_(False)
    model[4].weight.grad = torch.ones(3, 8)
    return model


def everything(model):
    """All that a call could leave changed, as one comparable text."""
    state = {name: value.tolist() for name, value in model.state_dict().items()}
    weights = {
        name: (p.requires_grad, None if p.grad is None else p.grad.tolist()) for name, p in model.named_parameters()
    }
    modes = {name: part.training for name, part in model.named_modules()}
    return str((state, weights, modes, torch.get_rng_state().tolist(), torch.is_grad_enabled()))


@calls
def test_a_call_leaves_no_trace(call, model):
    x, y, before = X.clone(), Y.clone(), everything(model)
    call(model, x, y)
    assert everything(model) == before
    assert torch.equal(x, X)
    assert torch.equal(y, Y)


@attacks
def test_the_callers_graph_stays_apart(attack, model):
    x = X.clone().requires_grad_()
    x_adv = attack(model, x, Y)
    assert not x_adv.requires_grad
    assert x_adv.data_ptr() != x.data_ptr()
    assert x.grad is None


@named
def test_the_same_seed_gives_the_same_points(name, attack, model):
    def attacked(seed):
        return attack(model, X, Y, generator=generator(seed))

    torch.manual_seed(1)
    first = attacked(0)
    torch.manual_seed(2)  # the global state has no say
    assert torch.equal(attacked(0), first)
    assert torch.equal(attack(model, X, Y), first)  # without a generator: seed 0
    assert torch.equal(attacked(1), first) == (name in DETERMINED)


@named
def test_a_random_model_draws_from_a_stream_of_its_own(name, attack):
    model = Noisy(network(6), size=0.2)

    def attacked(seed):
        return attack(model, X, Y, generator=generator(seed))

    torch.manual_seed(1)
    state, first = torch.get_rng_state(), attacked(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(attacked(0), first)
    assert not torch.equal(attacked(1), first)  # its noise, too, is as the generator says


def test_a_random_model_does_not_move_the_generator():
    source = generator()
    FGSM(Linf(0.1))(Noisy(network(6)), X, Y, generator=source)
    assert torch.equal(source.get_state(), generator().get_state())


@attacks
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_an_attack_works_where_gradients_are_switched_off(attack, mode, model):
    expected = attack(model, X, Y)
    with mode():
        assert torch.equal(attack(model, X, Y), expected)
        assert torch.equal(attack(model, X + 0, Y + 0), expected)  # tensors that were made in this mode


def test_robust_accuracy_works_where_gradients_are_switched_off(model):
    measured = [str(robust_accuracy(model, Split(X, Y), ATTACKS["PGD"]))]
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            measured.append(str(robust_accuracy(model, Split(X, Y), ATTACKS["PGD"])))
    assert len(set(measured)) == 1


@attacks
def test_double_precision_stays_double(attack, model):
    assert attack(model.double(), X.double(), Y).dtype == torch.float64


BAD_INPUT = {
    "too bright": (lambda: (X * 255, Y), ValueError, r"x must lie in \[0, 1\]"),
    "too dark": (lambda: (X - 0.5, Y), ValueError, r"x must lie in \[0, 1\]"),
    "NaN": (lambda: (X * float("nan"), Y), ValueError, "x must be finite"),
    "infinite": (lambda: (X / 0, Y), ValueError, "x must be finite"),
    "integers": (lambda: ((X * 255).to(torch.uint8), Y), TypeError, "x must be float32 or float64"),
    "half precision": (lambda: (X.half(), Y), TypeError, "x must be float32 or float64"),
    "empty": (lambda: (X[:0], Y[:0]), ValueError, "x must be a non-empty batch"),
    "numpy": (lambda: (X.numpy(), Y), TypeError, "x must be a torch.Tensor"),
    "label above": (lambda: (X, Y + 1), ValueError, "y must hold labels in 0 … 2, got labels in 1 … 3"),
    "label below": (lambda: (X, Y - 1), ValueError, "y must hold labels in 0 … 2, got labels in -1 … 1"),
    "float labels": (lambda: (X, Y.float()), TypeError, "y must be an int64 tensor"),
    "labels missing": (lambda: (X, Y[1:]), ValueError, "y must have one label for each of the 20 examples"),
    "other device": (lambda: (X, Y.to("meta")), ValueError, "x and y must be on one device"),
}


@calls
@pytest.mark.parametrize(("bad", "error", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_named(call, bad, error, message, model):
    with pytest.raises(error, match=message):
        call(model, *bad())


BAD_MODELS = {
    "training": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 3)), ValueError, "model is in training mode"),
    "no module": (lambda: torch.sin, TypeError, "model must be a torch.nn.Module"),
    "one logit": (
        lambda: nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (-1, 6)), nn.Linear(6, 1), nn.Flatten(0)).eval(),
        ValueError,
        r"model must return logits of shape \(\d+, classes\), got \(\d+,\)",
    ),
    "feature maps": (
        nn.Identity().eval,
        ValueError,
        r"model must return logits of shape \(\d+, classes\), got \(\d+, 1,",
    ),
}


@calls
@pytest.mark.parametrize(("bad", "error", "message"), BAD_MODELS.values(), ids=BAD_MODELS)
def test_a_bad_model_is_named(call, bad, error, message):
    with pytest.raises(error, match=message), nullcontext(bad()) as model:
        call(model, X, Y)
