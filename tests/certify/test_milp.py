"""The exact answer: closed forms, all patterns of signs one by one, and between every bound and every attack."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustcourse import L2, Linf
from robustcourse.certify import alpha_crown, crown, crown_ibp, ibp, milp
from robustcourse.models import Normalize, preact_resnet
from tests.nets import by_patterns, images, margins, network, points


def build(kind):
    """Tiny networks from (B, 1, 1, 6) to 3 classes, with all kinds of layers."""
    torch.manual_seed(0)
    layers = {
        "mlp": [nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)],
        "leaky": [nn.Flatten(), nn.Linear(6, 5), nn.LeakyReLU(0.3), nn.Linear(5, 3), nn.LeakyReLU(0.1)],
        "cnn": [
            *[Normalize(torch.tensor([0.4]), torch.tensor([0.3])), nn.Conv2d(1, 3, (1, 3), padding=(0, 1))],
            *[nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d((1, 2)), nn.Conv2d(3, 2, (1, 2), bias=False), nn.ReLU()],
            *[nn.Flatten(), nn.Dropout(), nn.Linear(4, 3)],
        ],
    }[kind]
    model = nn.Sequential(*layers).eval()
    for weight in model.parameters():
        weight.data *= 2
    return model


each_kind = pytest.mark.parametrize("kind", ["mlp", "leaky", "cnn"])


def test_a_linear_model_has_a_closed_form():
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3)).eval()
    x, y, threat = images(4), torch.tensor([0, 1, 2, 0]), Linf(0.05)
    w = model[1].weight
    gaps = torch.stack([threat.dual(w[y] - w[k]) for k in range(3)], 1)
    torch.testing.assert_close(milp(model, x, y, threat), (margins(model, x, y) - 0.05 * gaps).detach())


def test_one_hidden_neuron_by_hand():
    net = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)).eval()
    for tensor, value in zip(net.parameters(), ([[1.0]], [-0.5], [[-1.0], [0.0]], [1.0, 0.0]), strict=True):
        tensor.data = torch.tensor(value)
    found = milp(net, torch.tensor([[0.5]]), torch.tensor([0]), Linf(0.25))
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.75]]))


def test_all_patterns_of_signs_one_by_one_have_the_same_least():
    model, x, y, threat = network(6, scale=3), images(1, low=0.3, high=0.7), torch.tensor([0]), Linf(0.2)
    expected = by_patterns(model, x, 0, threat)
    assert (expected > crown(model, x, y, threat)[0] + 1e-3).any()
    torch.testing.assert_close(milp(model, x, y, threat)[0], expected.float(), atol=1e-5, rtol=1e-4)


@each_kind
@pytest.mark.parametrize("eps", [0.0, 0.05, 0.2])
def test_it_is_between_every_bound_and_every_attack(kind, eps):
    model, x, y, threat = build(kind), images(3, low=0, high=1), torch.tensor([0, 1, 2]), Linf(eps)
    found = milp(model, x, y, threat)
    assert found.dtype == x.dtype
    for bound in (ibp, crown_ibp, crown, alpha_crown):
        assert (found >= bound(model, x, y, threat) - 1e-5).all()
    lowest = torch.stack([least_found(model, x, y, threat, k) for k in range(3)], 1)
    assert (found <= lowest + 1e-5).all()
    assert (lowest - found).mean() < 0.02 * (1 + lowest.abs().mean())  # with so few neurons, descent finds it


def least_found(model, x, y, threat, k, starts=50):
    """The least margin that plain descent finds, (B,), from many random points of the threat set."""
    low, high = (end.repeat(starts, *[1] * (x.dim() - 1)) for end in threat.hull(x))
    x_adv, y = low + (high - low) * torch.rand(low.shape, generator=torch.Generator().manual_seed(0)), y.repeat(starts)
    for step in range(60):
        x_adv.requires_grad_(True)
        (gradient,) = torch.autograd.grad(margins(model, x_adv, y)[:, k].sum(), x_adv)
        x_adv = (x_adv.detach() - threat.eps * 0.9**step * gradient.sign()).clamp(low, high)
    return margins(model, x_adv, y)[:, k].detach().view(starts, -1).amin(0)


def test_masked_pixels_do_not_count():
    model, x, y = build("cnn"), images(2), torch.tensor([0, 1])
    found = milp(model, x, y, Linf(0.3, torch.zeros(1, 1, 6, dtype=torch.bool)))
    torch.testing.assert_close(found, margins(model, x, y).detach(), atol=1e-5, rtol=1e-4)


def test_what_is_certified_can_be_skipped():
    model, x, y, threat = build("mlp"), images(6), torch.arange(6) % 3, Linf(0.1)
    exact, quick = milp(model, x, y, threat), milp(model, x, y, threat, skip_certified=True)
    cheap = alpha_crown(model.double(), x.double(), y, threat).float()
    assert (cheap > 0).any()
    assert (cheap < 0).any()
    torch.testing.assert_close(quick, torch.where(cheap > 0, cheap, exact), atol=1e-5, rtol=1e-4)


def test_without_time_it_is_still_a_bound():
    torch.manual_seed(0)
    layers = [nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 3)]
    model = nn.Sequential(nn.Flatten(), *layers).eval()
    x, y, threat = images(2), torch.tensor([0, 1]), Linf(0.4)
    found = milp(model, x, y, threat, seconds=1e-3)
    assert (found >= crown(model, x, y, threat) - 1e-5).all()
    lowest = torch.stack([least_found(model, x, y, threat, k) for k in range(3)], 1)
    assert (found <= lowest + 1e-5).all()
    assert (found < lowest - 1e-2).any()  # there was no time for more


def test_the_model_is_left_alone():
    model, x, y = build("cnn"), images(2), torch.tensor([0, 1])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    milp(model, x, y, Linf(0.1))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(w.requires_grad and w.grad is None and w.dtype == torch.float32 for w in model.parameters())


X, Y = images(2), torch.tensor([0, 1])


def test_other_threat_sets_are_refused():
    with pytest.raises(
        TypeError, match=r"threat must be an Linf for milp, whose constraints are linear, got L2\(eps=0.1"
    ):
        milp(build("mlp"), X, Y, L2(0.1))


def test_residual_blocks_are_refused():
    data = points()
    model = preact_resnet(data, width=2, blocks=1)
    with pytest.raises(TypeError, match="model must be layers in a row for milp, but it has a residual block"):
        milp(model, data.test.x[:1], data.test.y[:1], Linf(0.01))


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_time_must_be_positive(seconds):
    with pytest.raises(ValueError, match="seconds must be > 0, got"):
        milp(build("mlp"), X, Y, Linf(0.1), seconds=seconds)


def test_wrong_input_is_an_error():
    for arguments, error, said in [
        (("no model", X, Y), TypeError, "model must be a torch.nn.Module, got str"),
        ((build("mlp").train(), X, Y), ValueError, "model is in training mode"),
        ((build("mlp"), X.half(), Y), TypeError, "x must be float32 or float64"),
        ((build("mlp"), X, Y + 5), ValueError, r"y must hold labels in 0 … 2"),
    ]:
        with pytest.raises(error, match=said):
            milp(*arguments, Linf(0.1))
