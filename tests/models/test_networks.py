"""Both families: shapes for any input, parameters counted by hand, the seed, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustcourse import cnn, mlp, parameters
from robustcourse.data import Dataset, Split
from robustcourse.models import Normalize


def data(channels=1, height=8, width=8, classes=10):
    x = torch.rand(20, channels, height, width, generator=torch.Generator().manual_seed(0))
    split = Split(x, torch.arange(20) % classes)
    return Dataset("noise", split, split, classes, "drawn here")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5), (1, 1, 9), (2, 1, 1), (3, 32, 32)])
@pytest.mark.parametrize(
    ("build", "size"),
    [(mlp, (1, 0)), (mlp, (1, 1)), (mlp, (5, 3)), (cnn, (1, 1)), (cnn, (3, 2)), (cnn, (2, 4))],
)
def test_any_input_any_width_and_any_depth_give_logits(build, size, shape):
    width, depth = size
    model = build(data(*shape, classes=4), width=width, depth=depth)
    logits = model(torch.rand(3, *shape))
    assert logits.shape == (3, 4)
    assert logits.isfinite().all()
    hidden = [layer for layer in model if isinstance(layer, nn.Conv2d | nn.Linear)][:-1]
    assert len(hidden) == depth == sum(isinstance(layer, nn.ReLU) for layer in model)
    assert all(layer.weight.shape[0] % width == 0 for layer in hidden)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (mlp(data()), (64 + 1) * 256 + (256 + 1) * 256 + (256 + 1) * 10),
        (mlp(data(), depth=0), (64 + 1) * 10),
        (mlp(data(3, 4, 5, classes=2), width=7, depth=1), (60 + 1) * 7 + (7 + 1) * 2),
        (cnn(data()), (9 + 1) * 32 + (32 * 64 + 1) * 10),
        (cnn(data(3, 7, 5), width=4, depth=2), (27 + 1) * 4 + (36 + 1) * 8 + (8 * 4 * 3 + 1) * 10),
    ],
)
def test_parameters_are_as_many_as_one_counts_by_hand(model, count):
    assert parameters(model) == count


@pytest.mark.parametrize("build", [mlp, cnn])
def test_normalization_comes_first_and_the_model_is_ready_to_evaluate(build):
    digits = data(channels=2)
    model = build(digits)
    assert isinstance(model[0], Normalize)
    assert not any(part.training for part in model.modules())
    normal = model[0](digits.train.x)
    torch.testing.assert_close(normal.mean((0, 2, 3)), torch.zeros(2), rtol=0.0, atol=1e-5)
    torch.testing.assert_close(normal.std((0, 2, 3)), torch.ones(2), rtol=0.0, atol=1e-3)


def test_a_channel_that_never_changes_does_not_divide_by_zero():
    split = Split(torch.full((4, 1, 2, 2), 0.5), torch.zeros(4, dtype=torch.int64))
    assert mlp(Dataset("grey", split, split, 2, "drawn here"))(split.x).isfinite().all()


@pytest.mark.parametrize("build", [mlp, cnn])
def test_the_seed_alone_decides_the_weights(build):
    def weights(seed):
        return nn.utils.parameters_to_vector(build(data(), seed=seed).parameters())

    torch.manual_seed(1)
    before, first = torch.get_rng_state(), weights(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(weights(0), first)
    assert not torch.equal(weights(1), first)


@pytest.mark.parametrize(
    ("build", "width", "depth", "message"),
    [
        (mlp, 0, 2, "width must be >= 1 and depth >= 0, got width=0, depth=2"),
        (mlp, 8, -1, "width must be >= 1 and depth >= 0, got width=8, depth=-1"),
        (cnn, 0, 1, "width and depth must be >= 1, got width=0, depth=1"),
        (cnn, 8, 0, "width and depth must be >= 1, got width=8, depth=0"),
    ],
)
def test_sizes_that_are_refused(build, width, depth, message):
    with pytest.raises(ValueError, match=message):
        build(data(), width=width, depth=depth)
