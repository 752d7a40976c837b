"""Residual networks: their shapes and sizes as published, and the sum that passes through."""

from __future__ import annotations

import pytest
import torch

from robustcourse.data import Dataset, Split
from robustcourse.models import parameters, preact_resnet, wide_resnet
from robustcourse.models.residual import Block


def data(channels=3, side=32):
    x = torch.rand(4, channels, side, side, generator=torch.Generator().manual_seed(0))
    split = Split(x, torch.arange(4))
    return Dataset("noise", split, split, 10, "drawn here")


@pytest.mark.parametrize(
    ("make", "millions"),
    [
        (lambda d: preact_resnet(d), 11.17),  # He et al.'s ResNet-18 on CIFAR-10
        (lambda d: wide_resnet(d, 28, 10), 36.5),  # Zagoruyko & Komodakis, table 4
        (lambda d: wide_resnet(d, 16, 8), 11.0),
        (lambda d: wide_resnet(d, 34, 10), 46.2),
    ],
)
def test_the_number_of_weights_is_the_published_one(make, millions):
    assert parameters(make(data())) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("shape", [(3, 32), (1, 28), (1, 8), (1, 9)])
@pytest.mark.parametrize("make", [lambda d: preact_resnet(d, width=4, blocks=1), lambda d: wide_resnet(d, 10, 1)])
def test_images_of_any_size_give_logits(make, shape):
    d = data(*shape)
    model = make(d)
    assert not any(part.training for part in model.modules())
    assert model(d.test.x).shape == (4, 10)


def test_the_seed_decides_the_weights_and_the_global_stream_stays():
    state = torch.get_rng_state()
    one, two, other = (preact_resnet(data(), width=4, seed=seed)(data().test.x) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_a_block_without_a_correction_passes_its_input_on():
    block = Block(3, 3, 1).eval()
    block.conv2.weight.data.zero_()
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(block(x), x)
    assert Block(3, 6, 2)(x).shape == (2, 6, 3, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: preact_resnet(data(), width=0), "width and blocks must be >= 1, got width=0, blocks=2"),
        (lambda: preact_resnet(data(), blocks=0), "width and blocks must be >= 1, got width=64, blocks=0"),
        (lambda: wide_resnet(data(), depth=29), "depth must be 10, 16, 22, … and factor >= 1, got depth=29, factor=10"),
        (lambda: wide_resnet(data(), depth=4), "depth must be 10, 16, 22"),
        (lambda: wide_resnet(data(), factor=0), "got depth=28, factor=0"),
    ],
)
def test_sizes_that_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
