"""What each attack and each evaluation promises: to change nothing, to repeat exactly, to refuse bad input clearly."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from robustcourse import FGSM, L2, PGD, Linf, accuracy, robust_accuracy
from robustcourse.data import Split

ATTACKS = {
    "FGSM": FGSM(Linf(0.1)),
    "PGD": PGD(L2(0.3), steps=3, restarts=2),
    "targeted": PGD(Linf(0.1), steps=3, step_size=0.01, targeted=True),
}
CALLS = ATTACKS | {
    "accuracy": lambda model, x, y: accuracy(model, Split(x, y)),
    "robust accuracy": lambda model, x, y: robust_accuracy(model, Split(x, y), ATTACKS["PGD"]),
}
attacks = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)

X = torch.rand(20, 1, 2, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 3


@pytest.fixture
def model():
    """A network with all that could be disturbed: statistics, dropout, frozen weights, somebody else's gradients."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)).eval()
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


@attacks
def test_the_same_seed_gives_the_same_points(attack, model):
    def attacked(seed):
        return attack(model, X, Y, generator=torch.Generator().manual_seed(seed))

    torch.manual_seed(1)
    first = attacked(0)
    torch.manual_seed(2)  # the global state has no say
    assert torch.equal(attacked(0), first)
    assert torch.equal(attack(model, X, Y), first)  # without a generator: seed 0
    assert torch.equal(attacked(1), first) != getattr(attack, "random_start", False)


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
