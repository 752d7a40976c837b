"""Networks that stretch nothing, and the certificate by stretch: closed forms, known norms, and no attack beyond it."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustcourse import L1, L2, PGD, Linf, accuracy, certified_accuracy, cnn, fit, load, mlp
from robustcourse.attacks import margin_loss
from robustcourse.certify import certified, crown, ibp, lipschitz, verify
from robustcourse.certify.stretch import stretch
from robustcourse.models import MaxMin, Normalize, lipschitz_mlp
from robustcourse.train import LipschitzMargin, Standard
from tests.nets import generator, linear, margins, points

DATA = points(classes=3)


# The networks


def test_maxmin_sorts_pairs():
    x = torch.tensor([[1.0, 5.0, 3.0, 2.0]])  # pairs (1, 3) and (5, 2)
    assert MaxMin()(x).tolist() == [[3, 5, 1, 2]]
    image = torch.randn(2, 4, 3, 3, generator=generator())
    assert torch.equal(MaxMin()(image)[:, 0], torch.maximum(image[:, 0], image[:, 2]))
    with pytest.raises(ValueError, match="MaxMin needs an even number of channels, to pair them, got 3"):
        MaxMin()(torch.zeros(1, 3))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.sampled_from([(2, 1), (6, 3), (32, 1), (4, 0)]), st.floats(-3, 1), st.booleans())
def test_no_two_outputs_are_farther_apart_than_their_inputs(seed, size, exponent, trained):
    width, depth = size
    model = lipschitz_mlp(DATA, width, depth, seed)
    with torch.no_grad():
        for weight in model.parameters() if trained else ():
            weight.add_(torch.randn(weight.shape, generator=generator(seed)))  # whatever training does to them
        x = torch.rand(20, 1, 4, 4, generator=generator(seed))
        other = x + 10**exponent * torch.randn(x.shape, generator=generator(seed + 1))
        moved, change = ((b - a).flatten(1).norm(dim=1) for a, b in ((model(x), model(other)), (x, other)))
    assert (moved <= change * (1 + 1e-4) + 1e-5).all()


def test_the_layers_are_orthogonal_and_the_input_is_only_shifted():
    model = lipschitz_mlp(DATA, width=32, depth=2)
    for layer in model[2::2]:
        assert torch.linalg.svdvals(layer.weight).sub(1).abs().max() < 1e-5
    assert [type(layer) for layer in model[3::2]] == [MaxMin, MaxMin]
    assert isinstance(model[0], Normalize)
    torch.testing.assert_close(model[0](DATA.train.x).mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    assert (model[0].std == 1).all()


def test_the_seed_alone_decides_the_weights():
    state = torch.get_rng_state()
    first, again, other = (lipschitz_mlp(DATA, 8, seed=seed)(DATA.test.x) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("width", "depth"), [(7, 2), (0, 2), (8, -1)])
def test_sizes_that_are_refused(width, depth):
    said = f"width must be even and >= 2, and depth >= 0, got width={width}, depth={depth}"
    with pytest.raises(ValueError, match=said):
        lipschitz_mlp(DATA, width, depth)


# The certificate


@pytest.mark.parametrize("threat", [L2(0.1), Linf(0.1), L1(0.1)], ids=str)
def test_a_linear_model_has_a_closed_form(threat):
    w = torch.randn(3, 4, generator=generator())
    model, x, y = linear(w), torch.rand(5, 4, generator=generator()), torch.tensor([0, 1, 2, 0, 1])
    length = 0.2 if isinstance(threat, Linf) else 0.1  # of four pixels, the corner of the box
    expected = margins(model, x, y) - length * (w[y][:, None] - w).norm(dim=2)
    torch.testing.assert_close(lipschitz(model, x, y, threat), expected)
    masked = type(threat)(0.1, torch.tensor([True, False, False, False]))
    torch.testing.assert_close(lipschitz(model, x, y, masked), lipschitz(model, x, y, L2(0.1)))


def test_two_layers_by_hand():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False)).eval()
    model[0].weight.data = torch.diag(torch.tensor([2.0, 1.0]))
    model[2].weight.data = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    x, y = torch.tensor([[1.0, 0.5]]), torch.tensor([0])
    # Logits (6, 2). The first layer stretches by 2, the rows of the last one are 5 apart.
    torch.testing.assert_close(lipschitz(model, x, y, L2(0.1)), torch.tensor([[0.0, 4 - 0.1 * 2 * 5]]))
    # Now the last layer is none with rows: √2 times the largest singular value of the one before, 4.
    model = model.append(nn.ReLU()).eval()
    expected = torch.tensor([[0.0, 4 - 0.1 * 2 * 4 * 2**0.5]])
    torch.testing.assert_close(lipschitz(model, x, y, L2(0.1)), expected)


def test_the_stretch_of_a_layer_is_that_of_its_matrix_or_above():
    torch.manual_seed(0)
    batch_norm = nn.BatchNorm2d(3).eval()
    batch_norm.weight.data, batch_norm.running_var.data = torch.tensor([1.0, -3.0, 2.0]), torch.tensor([1.0, 4.0, 1.0])
    pixels = torch.eye(3 * 6 * 5).view(-1, 3, 6, 5)
    for layer in (
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(3, 5, (2, 3), stride=2, padding=(1, 0), bias=False),
        nn.Conv2d(3, 6, 3, groups=3, dilation=2),
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, stride=1, padding=1),
        nn.AdaptiveAvgPool2d((4, 7)),
        nn.Linear(5, 3),
        Normalize(torch.zeros(3), torch.tensor([0.5, 0.25, 1.0])),
        batch_norm,
        nn.Identity(),
    ):
        matrix = (layer(pixels) - layer(torch.zeros_like(pixels))).flatten(1)
        torch.testing.assert_close(
            torch.as_tensor(stretch(layer, pixels.shape[1:])), torch.linalg.matrix_norm(matrix, 2), atol=1e-5, rtol=1e-5
        )
    assert stretch(nn.LeakyReLU(-2.0), torch.Size([3])) == 2
    assert stretch(nn.LeakyReLU(0.1), torch.Size([3])) == 1


def test_a_large_convolution_is_bounded_without_its_matrix(monkeypatch):
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(4, 6, (2, 3), stride=2),
        nn.Conv2d(4, 8, 3, groups=2, dilation=2),
    ]
    for layer in layers:
        shape = torch.Size([layer.in_channels, 8, 8])
        exact = stretch(layer, shape)
        with monkeypatch.context() as patched:
            patched.setattr("robustcourse.certify.stretch.EXACT", 0)
            bound = stretch(layer, shape)
        assert exact <= bound <= 4 * exact


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 99), st.sampled_from(["mlp", "cnn", "lipschitz"]), st.sampled_from([Linf, L2, L1]), st.floats(0, 0.3)
)
def test_no_attack_goes_below_the_bound(seed, kind, norm, eps):
    build = {"mlp": mlp, "cnn": cnn, "lipschitz": lipschitz_mlp}[kind]
    model, x, threat = build(DATA, width=4, seed=seed), DATA.test.x[:8], norm(eps)
    y = model(x).argmax(1)
    lowest = lipschitz(model, x, y, threat)
    x_adv = PGD(threat, steps=15, loss=margin_loss)(model, x, y)
    assert (margins(model, x_adv, y) >= lowest - 1e-4).all()


def test_on_digits_it_certifies_a_good_part_and_no_attack_contradicts():
    data = load("digits")
    model = lipschitz_mlp(data)
    fit(model, data, LipschitzMargin(L2(0), temperature=0.25), epochs=15, learning_rate=1e-2)
    before = deepcopy(model.state_dict())
    assert accuracy(model, data.test).value > 0.94
    shares = [certified_accuracy(model, data.test, lipschitz, L2(radius)).value for radius in (0.25, 0.5, 0.75)]
    assert shares[0] > 0.8
    assert 0.45 < shares[1] < 0.8
    assert 0.1 < shares[2] < 0.5
    proved = verify(model, data.test, lipschitz, L2(0.5)).verified
    attack = PGD(L2(0.5), steps=20, loss=margin_loss)
    x_adv = attack(model, data.test.x[proved], data.test.y[proved])
    assert (model(x_adv).argmax(1) == data.test.y[proved]).all()
    some = data.test[:40]
    assert certified(model, some, crown, Linf(0.01)).float().mean() > 0.8  # lines know these layers, too
    assert not certified(model, some, ibp, Linf(0.01)).any()  # and boxes grow in an orthogonal layer
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        (nn.Sequential(nn.Flatten(), nn.Softplus(), nn.Linear(16, 3)).eval(), TypeError,
         "a layer whose stretch is not known, Softplus; register"),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), nn.Flatten()).eval(), TypeError,
         "a Conv2d must be padded by zeros for its stretch to be known"),
        (nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten()).eval(), TypeError,
         "a BatchNorm2d must have running statistics"),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), ValueError, "model is in training mode"),
        (nn.Sequential(nn.Conv2d(1, 2, 3)).eval(), ValueError, "model must return logits"),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval(), ValueError, r"y must hold labels in 0 … 1"),
    ],
    ids=["layer", "padding", "statistics", "mode", "logits", "labels"],
)  # fmt: skip
def test_what_it_cannot_bound_is_an_error(model, error, said):
    with pytest.raises(error, match=said):
        lipschitz(model, DATA.test.x, DATA.test.y, L2(0.1))


def test_wrong_inputs_are_errors():
    model = lipschitz_mlp(DATA, 4)
    with pytest.raises(ValueError, match=r"x must lie in \[0, 1\]"):
        lipschitz(model, DATA.test.x + 1, DATA.test.y, L2(0.1))
    with pytest.raises(ValueError, match="y must have one label for each"):
        lipschitz(model, DATA.test.x, DATA.test.y[:3], L2(0.1))


# Training


def test_the_margin_loss_raises_the_other_logits():
    model, x, y = mlp(DATA, width=6), DATA.train.x, DATA.train.y
    logits, lowest = model(x), lipschitz(model, x, y, L2(0.2))
    others = nn.functional.one_hot(y, 3) == 0
    raised = logits + (margins(model, x, y) - lowest) * others
    loss = LipschitzMargin(L2(0.2), temperature=0.5)(model, x, y)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(raised / 0.5, y))
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert all(g.isfinite().all() for g in gradients)
    assert gradients[0].any()
    torch.testing.assert_close(LipschitzMargin(L2(0))(model, x, y), Standard()(model, x, y))


def test_the_margin_loss_leaves_modes_as_they_are_and_trains_what_it_certifies():
    data = load("digits")
    models = [mlp(data, width=32), mlp(data, width=32)]
    for model, objective in zip(models, (Standard(), LipschitzMargin(L2(0.25))), strict=True):
        fit(model, data, objective, epochs=20)
    standard, proved = (certified_accuracy(model, data.test, lipschitz, L2(0.25)) for model in models)
    assert standard.high + 0.1 < proved.low
    model = lipschitz_mlp(DATA, width=4).train()
    LipschitzMargin(L2(0.1))(model, DATA.train.x, DATA.train.y).backward()
    assert all(part.training for part in model.modules())
    assert all(weight.grad.isfinite().all() for weight in model.parameters())  # though all singular values are equal


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_is_none_is_an_error(temperature):
    with pytest.raises(ValueError, match=f"temperature must be a finite number > 0, got {temperature}"):
        LipschitzMargin(L2(0), temperature)
