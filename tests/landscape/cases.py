"""A task that takes no time, and what a ReLU network cannot tell about its weights."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise

import torch
from torch import nn

from robustcourse import PGD, AdversarialTraining, Linf, cnn, mlp
from tests.nets import points

DATA = points()
SPLIT = DATA.train
ATTACKED = AdversarialTraining(PGD(Linf(0.1), steps=2))
AT = torch.linspace(-1, 1, 5)


def small(depth: int = 1, seed: int = 0) -> nn.Sequential:
    """An MLP in double precision, where two ways to the same number agree to many digits."""
    return mlp(DATA, width=6, depth=depth, seed=seed).double()


def convolutional(seed: int = 0) -> nn.Sequential:
    return cnn(DATA, width=3, depth=2, seed=seed).double()


def rescaled(model: nn.Sequential, factors: Sequence[float]) -> nn.Sequential:
    """Multiply the weights and biases of each hidden layer by its factor, and divide the weights of the next."""
    copy = deepcopy(model)
    layers = [layer for layer in copy if isinstance(layer, nn.Linear | nn.Conv2d)]
    for factor, layer, after in zip(factors, layers[:-1], layers[1:], strict=True):
        layer.weight.data *= factor
        layer.bias.data *= factor
        after.weight.data /= factor
    return copy


def permuted(model: nn.Sequential, seed: int) -> nn.Sequential:
    """Put the units of each hidden layer into another order."""
    copy, generator = deepcopy(model), torch.Generator().manual_seed(seed)
    layers = [layer for layer in copy if isinstance(layer, nn.Linear)]
    for layer, after in pairwise(layers):
        order = torch.randperm(layer.out_features, generator=generator)
        layer.weight.data, layer.bias.data = layer.weight.data[order], layer.bias.data[order]
        after.weight.data = after.weight.data[:, order]
    return copy
