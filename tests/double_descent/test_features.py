"""Random features: nested, the kernels that they stand for, and the model that can be attacked."""

from __future__ import annotations

import math

import pytest
import torch

from robustcourse import FGSM, L2, PGD, AutoAttack, Linf, Square, load
from robustcourse.double_descent import FeatureModel, RandomFeatures, one_hot, ridge

KINDS = ["fourier", "relu"]
DATA = load("digits").to("cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_of_many_features_are_the_same_as_few(kind):
    x = DATA.test.x[:5]
    many, few = RandomFeatures(64, 50, kind, seed=3), RandomFeatures(64, 7, kind, seed=3)
    torch.testing.assert_close(many(x)[:, :7], few(x))
    torch.testing.assert_close(many(x, 7), few(x))
    assert (many(x).shape, many(x).dtype) == ((5, 50), torch.float64)
    torch.testing.assert_close(many(x.double()), many(x))
    assert not torch.allclose(RandomFeatures(64, 7, kind, seed=4)(x), few(x))
    state = torch.get_rng_state()
    RandomFeatures(64, 7, kind)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_many_features_are_a_kernel(kind, scale):
    x = DATA.test.x[:4]
    found = RandomFeatures(64, 40_000, kind, scale=scale, center=x.mean(0))(x)
    products = found[:, None] * found
    flat = (x - x.mean(0)).flatten(1).double()
    if kind == "fourier":
        kernel = torch.exp(-(scale**2) * torch.cdist(flat, flat) ** 2 / 128)
    else:  # the arc-cosine kernel of order 1
        length = flat.norm(dim=1)
        angle = (flat @ flat.T / length / length[:, None]).clamp(-1, 1).acos()
        kernel = length * length[:, None] * (angle.sin() + (math.pi - angle) * angle.cos()) / math.pi
        kernel *= scale**2 / 64
    assert ((products.mean(2) - kernel).abs() < 5 * products.std(2) / 200).all()  # standard errors


def model(p=200, kind="fourier"):
    """A model of digits, its features, and what the regression says."""
    train = DATA.train[:120]
    features = RandomFeatures(64, 300, kind, center=train.x.mean(0))
    weights = ridge(features(train.x, p), one_hot(train.y, 10), 1.0)
    return FeatureModel(features, weights), features(DATA.test.x)[:, :p] @ weights


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_the_regression(kind):
    net, expected = model(kind=kind)
    for dtype in (torch.float32, torch.float64):
        logits = net(DATA.test.x.to(dtype))
        assert logits.dtype == dtype
        torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(net.float()(DATA.test.x).double(), expected, rtol=1e-3, atol=1e-3)  # for speed
    assert not net.training


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "attack",
    [
        FGSM(Linf(0.1)),
        PGD(Linf(0.1), steps=5),
        PGD(L2(0.5), steps=5),
        Square(Linf(0.1), queries=50),
        AutoAttack(Linf(0.1)),
    ],
    ids=["FGSM", "PGD", "PGD L2", "Square", "AutoAttack"],
)
def test_the_model_can_be_attacked(attack, dtype):
    (net, _), x, y = model(), DATA.test.x[:20].to(dtype), DATA.test.y[:20]
    x_adv = attack(net, x, y)
    assert x_adv.dtype == dtype
    assert (net(x_adv).argmax(1) == y).sum() < (net(x).argmax(1) == y).sum()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dimension": 0}, "dimension and count must be >= 1, got dimension=0, count=3"),
        ({"count": 0}, "dimension and count must be >= 1, got dimension=2, count=0"),
        ({"kind": "tanh"}, "kind must be one of fourier, relu, got 'tanh'"),
        ({"scale": 0.0}, "scale must be a finite number > 0, got 0.0"),
        ({"scale": math.nan}, "scale must be a finite number > 0, got nan"),
        ({"center": torch.zeros(3)}, "center must be a number or 2 of them, got 3"),
    ],
)
def test_features_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomFeatures(**{"dimension": 2, "count": 3, **arguments})


def test_models_that_are_refused():
    features = RandomFeatures(2, 3)
    with pytest.raises(ValueError, match="weights must be of at most 3 features, got 4"):
        FeatureModel(features, torch.ones(4, 2).double())
    with pytest.raises(TypeError, match="weights must be a float64 tensor"):
        FeatureModel(features, torch.ones(3, 2))
    with pytest.raises(ValueError, match="x must have 2 pixels an image, got 3"):
        features(torch.ones(1, 3))
