"""Bounds: closed forms, cases by hand, and no attack and no point below them, whatever the network."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustcourse import L1, L2, PGD, Linf, mlp
from robustcourse.attacks import margin_loss
from robustcourse.certify import alpha_crown, bounds, crown, crown_ibp, ibp
from robustcourse.certify.layers import Sum, interval, pull, unrolled
from robustcourse.models import MaxMin, Normalize, preact_resnet
from robustcourse.models.residual import Block
from tests.nets import margins, points

ALL = [ibp, crown_ibp, crown, alpha_crown]
THREATS = [Linf(0.1), L2(0.4), L1(0.7)]
each_bound = pytest.mark.parametrize("bound", ALL, ids=lambda b: b.__name__)
each_threat = pytest.mark.parametrize("threat", THREATS, ids=str)


def images(shape=(1, 6, 5), n=4, seed=0, low=0.0, high=1.0):
    x = torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))
    return low + (high - low) * x


def build(kind, seed=0):
    """Small networks from (B, 1, 6, 5) to 4 classes, with layers of all kinds and odd sizes."""
    torch.manual_seed(seed)
    layers = {
        "mlp": [nn.Flatten(), nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)],
        "no bias": [nn.Flatten(), nn.Linear(30, 16, bias=False), nn.ReLU(), nn.Linear(16, 4, bias=False)],
        "leaky": [nn.Flatten(), nn.Linear(30, 16), nn.LeakyReLU(0.2), nn.Linear(16, 9), nn.ReLU(), nn.Linear(9, 4)],
        "ends in relu": [nn.Flatten(), nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 4), nn.ReLU()],
        "cnn": [
            *[
                Normalize(torch.tensor([0.4]), torch.tensor([0.3])),
                nn.Conv2d(1, 3, 3, padding=1, bias=False),
                nn.ReLU(),
            ],
            *[nn.Conv2d(3, 4, (3, 2), stride=2, padding=(1, 0)), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4)],
        ],
        "pooled": [
            *[nn.Conv2d(1, 4, 3, padding=1, groups=1, dilation=1), nn.LeakyReLU(), nn.AvgPool2d(2)],
            *[nn.Conv2d(4, 4, 2, groups=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Dropout(), nn.Flatten()],
            *[nn.Linear(4, 4), nn.Identity()],
        ],
        "sorted": [
            *[nn.Conv2d(1, 4, 3, stride=2, padding=1), MaxMin(), nn.Flatten(), nn.Linear(36, 10), MaxMin()],
            *[nn.Linear(10, 4)],
        ],
        "residual": [
            *[nn.Conv2d(1, 4, 3, padding=1), Block(4, 4, 1), nn.Sequential(Block(4, 6, 2)), nn.BatchNorm2d(6)],
            *[nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)],
        ],
    }[kind]
    net = nn.Sequential(*layers)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as after training: no identity, and scales of both signs
            for tensor in (layer.running_mean, layer.weight.data, layer.bias.data):
                tensor.normal_()
            layer.running_var.uniform_(0.5, 2)
    return net.eval()


KINDS = ["mlp", "no bias", "leaky", "ends in relu", "cnn", "pooled", "sorted", "residual"]
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_bound
@each_threat
def test_a_linear_model_has_a_closed_form(bound, threat):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 3)).eval()
    x, y = images(low=0.45, high=0.55), torch.tensor([0, 1, 2, 0])
    threat = type(threat)(threat.eps / 2)  # so small that [0, 1] cuts nothing
    w = model[1].weight
    gaps = torch.stack([threat.dual(w[y] - w[k]) for k in range(3)], 1)
    expected = margins(model, x, y) - threat.eps * gaps
    torch.testing.assert_close(bound(model, x, y, threat), expected, atol=2e-6, rtol=1e-5)


@each_bound
def test_where_the_box_of_images_cuts_a_linear_model_still_has_one(bound):
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2)).eval()
    model[1].weight.data = torch.tensor([[1.0, -2.0], [0.0, 0.0]])
    model[1].bias.data = torch.zeros(2)
    x, y = torch.tensor([[[[0.05, 0.95]]]]), torch.tensor([0])
    # f_0 − f_1 = x_0 − 2 x_1 is least at (0, 1), where the box of images ends.
    torch.testing.assert_close(bound(model, x, y, Linf(0.1)), torch.tensor([[0.0, -2.0]]))


def test_one_hidden_neuron_by_hand():
    net = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)).eval()
    for tensor, value in zip(net.parameters(), ([[1.0]], [-0.5], [[-1.0], [0.0]], [1.0, 0.0]), strict=True):
        tensor.data = torch.tensor(value)
    x, y, threat = torch.tensor([[0.5]]), torch.tensor([0]), Linf(0.25)
    # h = x − 0.5 in [−0.25, 0.25]; f_0 − f_1 = 1 − relu(h), at least 0.75 at the end of the chord.
    for bound in ALL:
        torch.testing.assert_close(bound(net, x, y, threat), torch.tensor([[0.0, 0.75]]))
    net[2].weight.data = torch.tensor([[1.0], [0.0]])
    # Now f_0 − f_1 = 1 + relu(h) ≥ 1. The line of equal areas has slope 0 here, and any steeper one is worse.
    for bound in ALL:
        torch.testing.assert_close(bound(net, x, y, threat), torch.tensor([[0.0, 1.0]]))


def test_sorting_is_affine_layers_and_a_relu():
    for shape in ((4, 6), (4, 6, 3, 2)):
        z = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        ((difference, relu, mirrored), (swapped,)) = unrolled(MaxMin())[0].rows
        torch.testing.assert_close(mirrored(relu(difference(z))) + swapped(z), MaxMin()(z))


@each_kind
@each_bound
@each_threat
def test_nothing_in_the_threat_set_is_below_the_bound(kind, bound, threat):
    model, x, y = build(kind), images(), torch.tensor([0, 1, 2, 3])
    lowest = bound(model, x, y, threat).detach()
    assert lowest.shape == (4, 4)
    assert (lowest.gather(1, y[:, None]) == 0).all()
    generator = torch.Generator().manual_seed(1)
    found = [threat.random(x, generator) for _ in range(50)]
    found += [PGD(threat, steps=20, loss=margin_loss)(model, x, y, generator) for _ in range(2)]
    for k in range(4):  # and aimed at each margin
        found.append(PGD(threat, steps=20, loss=lambda z, y, k=k: z[:, k] - z.gather(1, y[:, None])[:, 0])(model, x, y))
    for x_adv in found:
        assert (margins(model, x_adv, y) >= lowest - 1e-4).all()


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(KINDS), st.sampled_from(ALL), st.sampled_from([Linf, L2, L1]), st.floats(0, 0.5), st.integers(0, 99)
)
def test_no_attack_breaks_what_is_certified(kind, bound, norm, eps, seed):
    model, x, threat = build(kind, seed), images(n=3, seed=seed), norm(eps)
    y = model(x).argmax(1)
    lowest = bound(model, x, y, threat).scatter(1, y[:, None], torch.inf).amin(1)
    x_adv = PGD(threat, steps=15, loss=margin_loss)(model, x, y)
    worst = margins(model, x_adv, y).scatter(1, y[:, None], torch.inf).amin(1)
    assert (worst >= lowest - 1e-4).all()


@each_kind
@each_threat
def test_each_bound_is_at_least_as_good_as_the_one_it_contains(kind, threat):
    model, x, y = build(kind), images(), torch.tensor([0, 1, 2, 3])
    boxes, mixed, tight, free = (bound(model, x, y, threat) for bound in ALL)
    assert (mixed >= boxes).all()
    assert (tight >= boxes - 1e-5).all()
    assert (free >= tight).all()
    assert tight.sum() >= mixed.sum() - 1e-4


def test_lines_gain_on_boxes_and_free_slopes_gain_on_those():
    model, x, y = build("mlp"), images(n=30), torch.arange(30) % 4
    boxes, mixed, tight, free = (bound(model, x, y, Linf(0.1)).mean() for bound in ALL)
    assert boxes < mixed < tight < free


@each_kind
@each_threat
def test_slopes_of_the_neurons_too_are_sound_and_no_worse(kind, threat):
    model, x, y = build(kind), images(), torch.tensor([0, 1, 2, 3])
    joint = alpha_crown(model, x, y, threat, joint=True)
    assert not joint.requires_grad
    assert (joint >= crown(model, x, y, threat) - 1e-5).all()
    assert joint.sum() >= alpha_crown(model, x, y, threat).sum() - 1e-2
    generator = torch.Generator().manual_seed(1)
    found = [threat.random(x, generator) for _ in range(20)]
    for k in range(4):
        found.append(PGD(threat, steps=20, loss=lambda z, y, k=k: z[:, k] - z.gather(1, y[:, None])[:, 0])(model, x, y))
    for x_adv in found:
        assert (margins(model, x_adv, y) >= joint - 1e-4).all()


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_slopes_of_the_neurons_gain(kind):
    model, x, y = build(kind), images(n=30), torch.arange(30) % 4
    alone, joint = (alpha_crown(model, x, y, Linf(0.1), joint=joint) for joint in (False, True))
    assert joint.mean() > alone.mean() + 1e-3 * alone.abs().mean()


@each_kind
@each_bound
def test_a_threat_of_size_zero_leaves_the_margins_as_they_are(kind, bound):
    model, x, y = build(kind), images(), torch.tensor([0, 1, 2, 3])
    torch.testing.assert_close(bound(model, x, y, Linf(0.0)), margins(model, x, y), atol=2e-5, rtol=1e-4)


@each_bound
def test_masked_pixels_do_not_count(bound):
    model, x, y = build("mlp"), images(), torch.tensor([0, 1, 2, 3])
    mask = torch.zeros(1, 6, 5, dtype=torch.bool)
    torch.testing.assert_close(bound(model, x, y, Linf(0.3, mask)), margins(model, x, y), atol=1e-5, rtol=1e-4)
    mask[0, 2] = True
    one_row, everywhere = (bound(model, x, y, Linf(0.3, m)) for m in (mask, None))
    assert one_row.sum() > everywhere.sum()


@each_bound
def test_few_examples_of_many_classes_have_the_same_bounds(bound):
    model, x, y = build("mlp"), images(), torch.tensor([0, 1, 2, 3])
    together = bound(model, x, y, Linf(0.1))
    alone = torch.cat([bound(model, x[i : i + 1], y[i : i + 1], Linf(0.1)) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)


@each_kind
def test_neurons_in_many_portions_have_the_same_bounds(kind, monkeypatch):
    model, x, y = build(kind), images(), torch.tensor([0, 1, 2, 3])
    at_once = crown(model, x, y, L2(0.3))
    monkeypatch.setattr(bounds, "MEMORY", 1)
    torch.testing.assert_close(crown(model, x, y, L2(0.3)), at_once, atol=1e-5, rtol=1e-4)


@each_kind
def test_half_the_digits_of_a_number_move_the_bounds_by_rounding_only(kind):
    model, x, y = build(kind), images(), torch.tensor([0, 1, 2, 3])
    single = crown(model, x, y, Linf(0.05)).double()
    double = crown(model.double(), x.double(), y, Linf(0.05))
    scale = model(x.double()).abs().amax(1, keepdim=True)
    assert ((single - double).abs() < 1000 * torch.finfo(torch.float32).eps * scale.clamp_min(0.1)).all()


@pytest.mark.parametrize("bound", [ibp, crown_ibp, crown], ids=lambda b: b.__name__)
def test_bounds_can_be_trained(bound):
    model, x, y = build("cnn"), images(n=8), torch.arange(8) % 4
    optimizer, losses = torch.optim.Adam(model.parameters(), 0.01), []
    for _ in range(8):
        loss = nn.functional.cross_entropy(-bound(model, x, y, Linf(0.02)), y)
        optimizer.zero_grad()
        loss.backward()
        assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@each_bound
def test_the_model_and_the_random_stream_are_left_alone(bound):
    model, x, y = build("residual"), images(), torch.tensor([0, 1, 2, 3])
    model[0].weight.requires_grad_(False)
    asked = [w.requires_grad for w in model.parameters()]
    before, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    bound(model, x, y, Linf(0.1))
    assert [w.requires_grad for w in model.parameters()] == asked
    assert all(w.grad is None for w in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(part.training for part in model.modules())


def test_the_networks_of_the_course_have_bounds():
    data = points()
    for model in (mlp(data, width=8, depth=3), preact_resnet(data, width=2, blocks=1)):
        lowest = crown(model, data.test.x[:2], data.test.y[:2], Linf(0.01))
        assert (margins(model, data.test.x[:2], data.test.y[:2]) >= lowest - 1e-4).all()


@pytest.mark.parametrize("layer", [*build("pooled"), *build("cnn")], ids=lambda layer: type(layer).__name__)
def test_the_two_answers_of_a_layer(layer):
    """A box holds all outputs; and where a layer is affine, a function of its output is one of its input."""
    shapes = {nn.Linear: lambda: (layer.in_features,), nn.Conv2d: lambda: (layer.in_channels, 6, 5)}
    shape = shapes.get(type(layer), lambda: (1 if isinstance(layer, Normalize) else 4, 6, 5))()
    low = images(shape, n=3) - 0.5
    high = low + images(shape, n=3, seed=1)
    below, above = interval(layer, low, high)
    for seed in range(20):
        inside = layer(low + (high - low) * images(shape, n=3, seed=seed))
        assert (inside >= below - 1e-5).all()
        assert (inside <= above + 1e-5).all()
    if isinstance(layer, (nn.ReLU, nn.LeakyReLU)):
        return
    x = images(shape, n=3, seed=2)
    weights = torch.randn(3, 5, *layer(x).shape[1:])
    pulled, constant = pull(layer, weights, x.shape[1:])
    expected = (weights * layer(x)[:, None]).flatten(2).sum(2)
    torch.testing.assert_close((pulled * x[:, None]).flatten(2).sum(2) + constant, expected, atol=1e-4, rtol=1e-4)
    shared, _ = pull(layer, weights[:1], x.shape[1:])
    torch.testing.assert_close(shared[0], pulled[0], atol=1e-5, rtol=1e-4)


def through(layers, x):
    for layer in layers:
        x = sum(through(row, x) for row in layer.rows) if isinstance(layer, Sum) else layer(x)
    return x


@each_kind
def test_the_layers_in_a_row_are_the_model(kind):
    model, x = build(kind), images()
    torch.testing.assert_close(through(unrolled(model), x), model(x))


class Square(nn.Module):
    def forward(self, x):
        return x.square()


X, Y = images(n=2), torch.tensor([0, 1])


@each_bound
def test_a_layer_without_bounds_is_named(bound):
    with pytest.raises(TypeError, match="model has a layer without bounds, Square; register `interval` and `pull`"):
        bound(nn.Sequential(nn.Flatten(), Square(), nn.Linear(30, 2)).eval(), X, Y, Linf(0.1))


def test_a_new_layer_is_two_functions():
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

    interval.register(Double, lambda layer, low, high: (2 * low, 2 * high))
    pull.register(Double, lambda layer, weights, shape: (2 * weights, weights.new_zeros(weights.shape[:2])))
    model = build("mlp")
    doubled = nn.Sequential(*model, Double()).eval()
    for bound in ALL:
        torch.testing.assert_close(
            bound(doubled, X, Y, Linf(0.1)), 2 * bound(model, X, Y, Linf(0.1)), atol=1e-4, rtol=1e-2
        )


@pytest.mark.parametrize("slope", [-0.1, 1.5])
def test_a_leaky_relu_that_is_no_bend_upwards_is_refused(slope):
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 4), nn.LeakyReLU(slope), nn.Linear(4, 2)).eval()
    with pytest.raises(ValueError, match=rf"negative_slope of a LeakyReLU must be in \[0, 1\] for bounds, got {slope}"):
        ibp(model, X, Y, Linf(0.1))


@pytest.mark.parametrize("how", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}])
def test_a_convolution_with_other_padding_is_refused(how):
    model = nn.Sequential(nn.Conv2d(1, 2, 3, **how), nn.Flatten(), nn.Linear(60, 2)).eval()
    with pytest.raises(TypeError, match="a Conv2d must be padded by a number of zeros for bounds, got Conv2d"):
        ibp(model, X, Y, Linf(0.1))


@each_bound
def test_wrong_input_is_an_error(bound):
    model = build("mlp")
    for arguments, error, said in [
        ((build("mlp").train(), X, Y), ValueError, "model is in training mode"),
        ((model, X + 1, Y), ValueError, r"x must lie in \[0, 1\]"),
        ((model, X * torch.nan, Y), ValueError, "x must be finite"),
        ((model, X, Y + 3), ValueError, r"y must hold labels in 0 … 3"),
        ((model, X, Y[:1]), ValueError, "y must have one label for each"),
        (
            (nn.Sequential(nn.Conv2d(1, 2, 3)).eval(), X, Y),
            ValueError,
            r"model must return logits of shape \(2, classes\)",
        ),
    ]:
        with pytest.raises(error, match=said):
            bound(*arguments, Linf(0.1))


@pytest.mark.parametrize(("steps", "rate"), [(-1, 0.5), (5, 0.0), (5, float("nan"))])
def test_settings_of_free_slopes_out_of_range(steps, rate):
    with pytest.raises(ValueError, match="steps must be >= 0 and learning_rate > 0, got"):
        alpha_crown(build("mlp"), X, Y, Linf(0.1), steps=steps, learning_rate=rate)


def test_no_steps_leave_the_lines_of_least_area():
    arguments = build("mlp"), X, Y, Linf(0.1)
    torch.testing.assert_close(partial(alpha_crown, steps=0)(*arguments), crown(*arguments))


CONVOLUTIONS = {
    "plain": [nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1)],
    "strides": [nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), bias=False), nn.ReLU(), nn.Conv2d(4, 3, 2, 2)],
    "dilation, groups": [
        nn.Conv2d(2, 4, 3, dilation=(1, 2), padding=2, groups=2),
        *[nn.BatchNorm2d(4), nn.LeakyReLU(0.3), nn.Conv2d(4, 4, (2, 3), groups=4, padding=1, dilation=2)],
    ],
    "pixels left over": [nn.Conv2d(2, 3, 2, stride=2), nn.LeakyReLU(), nn.Conv2d(3, 4, 2, stride=3, padding=1)],
    "three": [layer for _ in range(3) for layer in (nn.Conv2d(2, 2, 2, padding=1), nn.LeakyReLU(0.1))][:-1],
    "scaled": [
        *[Normalize(torch.tensor([0.4, 0.2]), torch.tensor([0.3, 0.1])), nn.Conv2d(2, 3, 3, padding=1)],
        *[nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1)],
    ],
    "two in a row": [nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Conv2d(3, 3, 2, padding=1), nn.Conv2d(3, 3, 2, padding=1)],
    "scaled in between": [nn.Conv2d(2, 3, 2), nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 2, padding=1)],
    "pooled": [nn.Conv2d(2, 3, 2), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(3, 3, 2, padding=1)],
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_window_is_as_good_as_the_image(kind, monkeypatch):
    torch.manual_seed(0)
    layers = deepcopy(CONVOLUTIONS[kind])
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
            layer.weight.data *= 3
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.running_mean, layer.weight.data, layer.bias.data):
                tensor.normal_()
    x, y = images((2, 9, 8), n=3).double(), torch.tensor([0, 1, 2])
    size = nn.Sequential(*layers).double().eval()(x)[0].numel()
    model = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(size, 4)).double().eval()
    local = bounds.Net(model, x, y, Linf(0.3), tight=True)
    found = [bounds.seen(local.steps[:i], (step.low, step.high)) for i, step in enumerate(local.steps[:-2])]
    monkeypatch.setattr(bounds, "seen", lambda *_: None)
    whole = bounds.Net(model, x, y, Linf(0.3), tight=True)
    for ours, theirs in zip(local.steps, whole.steps, strict=True):
        torch.testing.assert_close(ours.low, theirs.low)
        torch.testing.assert_close(ours.high, theirs.high)
    boxes = bounds.Net(model, x, y, Linf(0.3), tight=False)
    assert (boxes.steps[-3].low < local.steps[-3].low - 1e-3).any()
    assert (found[-1] is None) == (kind in {"two in a row", "scaled in between", "pooled"})


@pytest.mark.parametrize("kind", ["dilation, groups", "three"])
def test_slopes_are_seen_through_a_window_too(kind, monkeypatch):
    layers = deepcopy(CONVOLUTIONS[kind])
    x, y = images((2, 9, 8), n=3).double(), torch.tensor([0, 1, 2])
    size = nn.Sequential(*layers).double().eval()(x)[0].numel()
    model = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(size, 4)).double().eval()
    boxes = bounds.Net(model, x, y, Linf(0.1), tight=False)
    slopes = [torch.rand_like(slope) for slope in bounds.free(boxes.steps[:-3], 2)]
    found = []
    for _ in range(2):
        net = bounds.Net(model, x, y, Linf(0.1), tight=False)
        net.tighten(len(layers), slopes)
        found.append((net.steps[-3].low, net.steps[-3].high))
        monkeypatch.setattr(bounds, "seen", lambda *_: None)
    torch.testing.assert_close(*found)
    assert (found[0][0] > boxes.steps[-3].low + 1e-3).any()


def test_a_window_can_be_trained_through(monkeypatch):
    x, y = images((2, 9, 8), n=3), torch.tensor([0, 1, 2])
    model = nn.Sequential(*deepcopy(CONVOLUTIONS["plain"]), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)).eval()
    found = []
    for _ in range(2):
        found.append(torch.autograd.grad(crown(model, x, y, Linf(0.1)).sum(), list(model.parameters())))
        monkeypatch.setattr(bounds, "seen", lambda *_: None)
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)
