"""What a bound must know of a layer. Two questions, and a new layer is their two answers.

`interval`: if the inputs lie in a box, in which box do the outputs lie? `pull`: a linear function of the output, as one
of the input. Both are open to registration: `@interval.register`, `@pull.register`. Of an activation, which is not
linear, `lines` gives two lines between which it stays, and the box says how tight.

Sources: Gowal et al. 2018 (arXiv:1810.12715); Zhang et al. 2018 (arXiv:1811.00866).
"""

from __future__ import annotations

from copy import copy
from functools import singledispatch
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from robustcourse.models import MaxMin, Normalize
from robustcourse.models.residual import Block

Box = tuple[Tensor, Tensor]  # low, high: (B, ...) each
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU)


class Sum(nn.Module):
    """Two rows of layers on one input, whose outputs are added."""

    def __init__(self, *rows: list[nn.Module]) -> None:
        super().__init__()
        self.rows = rows
        self.parts = nn.ModuleList(layer for row in rows for layer in row)


def row(module: nn.Module) -> list[nn.Module]:
    """The layers of a network in a row: what is inside its sequences."""
    return [layer for part in module for layer in row(part)] if isinstance(module, nn.Sequential) else [module]


def unrolled(module: nn.Module) -> list[nn.Module]:
    """The same, with each residual block, and each `MaxMin`, as a `Sum`."""
    return [part for layer in row(module) for part in _parts(layer)]


def _parts(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, Block):
        first, rest = [module.norm1, nn.ReLU()], [module.conv1, module.norm2, nn.ReLU(), module.conv2]
        if module.shortcut is None:
            return [Sum([*first, *rest], [])]
        return [*first, Sum(rest, [module.shortcut])]
    if isinstance(module, MaxMin):  # max(a, b) is b + relu(a − b), and min(a, b) is a − relu(a − b)
        return [Sum([Difference(), nn.ReLU(), Mirrored()], [Swapped()])]
    return [module]


class Difference(nn.Module):
    """(a, b) to a − b, for the halves of the channels."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return a - b


class Mirrored(nn.Module):
    """r to (r, −r)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, -x], 1)


class Swapped(nn.Module):
    """(a, b) to (b, a)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*reversed(x.chunk(2, 1))], 1)


@singledispatch
def interval(layer: nn.Module, low: Tensor, high: Tensor) -> Box:
    """The smallest box that holds the outputs, (B, ...) twice, of inputs in a box, (B, ...) twice.

    Raises:
        TypeError: nobody has said so for this kind of layer.
    """
    raise TypeError(
        f"model has a layer without bounds, {type(layer).__name__}; register `interval` and `pull` for it, "
        "or use layers that have them, as Linear, Conv2d, ReLU"
    )


@singledispatch
def pull(layer: nn.Module, weights: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """⟨weights, layer(x)⟩ as ⟨these, x⟩ + constant, for a layer that is affine.

    Args:
        weights: (B, S, *out), S functions for each example; with B = 1, the same ones for all.
        shape: of one input.

    Returns:
        (B, S, *shape) and (B, S).
    """
    flat = weights.flatten(0, 1)
    # Of any affine map autograd knows the transpose, and what it makes of zero is the constant.
    offset, transposed = torch.func.vjp(layer, weights.new_zeros(len(flat), *shape))  # type: ignore[misc]
    (pulled,) = transposed(flat)
    constant = (flat * offset).flatten(1).sum(1)
    return pulled.unflatten(0, weights.shape[:2]), constant.unflatten(0, weights.shape[:2])


def _ends(layer: nn.Module, low: Tensor, high: Tensor) -> Box:
    return layer(low), layer(high)


# Where no output falls when an input rises, the ends of the box go to its ends.
for _rising in (nn.ReLU, nn.Flatten, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Identity, nn.Dropout, Normalize, Swapped):
    interval.register(_rising, _ends)


@interval.register
def _(layer: Difference, low: Tensor, high: Tensor) -> Box:
    (low_a, low_b), (high_a, high_b) = low.chunk(2, 1), high.chunk(2, 1)
    return low_a - high_b, high_a - low_b


@interval.register
def _(layer: Mirrored, low: Tensor, high: Tensor) -> Box:
    return torch.cat([low, -high], 1), torch.cat([high, -low], 1)


@interval.register
def _(layer: nn.Linear, low: Tensor, high: Tensor) -> Box:
    middle = F.linear((low + high) * 0.5, layer.weight, layer.bias)
    reach = F.linear((high - low) * 0.5, layer.weight.abs())
    return middle - reach, middle + reach


@pull.register
def _(layer: nn.Linear, weights: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    constant = weights.new_zeros(weights.shape[:2])
    if layer.bias is not None:
        constant = (weights @ layer.bias).reshape(*weights.shape[:2], -1).sum(2)  # it may act on several places
    return weights @ layer.weight, constant


@interval.register
def _(layer: nn.Conv2d, low: Tensor, high: Tensor) -> Box:
    how = _how(layer)
    middle = F.conv2d((low + high) * 0.5, layer.weight, layer.bias, **how)
    reach = F.conv2d((high - low) * 0.5, layer.weight.abs(), **how)
    return middle - reach, middle + reach


@pull.register
def _(layer: nn.Conv2d, weights: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    flat = weights.flatten(0, 1)
    pulled = conv2d_input((len(flat), *shape), layer.weight, flat, **_how(layer))
    constant = weights.new_zeros(weights.shape[:2])
    if layer.bias is not None:
        constant = weights.flatten(3).sum(3) @ layer.bias
    return pulled.unflatten(0, weights.shape[:2]), constant


def _how(layer: nn.Conv2d) -> dict[str, Any]:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise TypeError(f"a Conv2d must be padded by a number of zeros for bounds, got {layer}")
    return {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}


def unpadded(layer: nn.Conv2d) -> nn.Conv2d:
    """The same convolution, of inputs that have the zeros around them already."""
    _how(layer)
    layer = copy(layer)
    layer.padding = 0, 0
    return layer


@interval.register
def _(layer: nn.BatchNorm2d, low: Tensor, high: Tensor) -> Box:
    one, other = layer(low), layer(high)  # a scale may be negative
    return torch.minimum(one, other), torch.maximum(one, other)


@interval.register
def _(layer: nn.LeakyReLU, low: Tensor, high: Tensor) -> Box:
    if not 0 <= layer.negative_slope <= 1:
        raise ValueError(f"negative_slope of a LeakyReLU must be in [0, 1] for bounds, got {layer.negative_slope}")
    return layer(low), layer(high)


def lines(layer: nn.Module, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Two lines between which an activation stays, where its input is in [low, high].

    Below, a line through the origin, whose slope is that of the longer side: the smaller area. Above, the chord.

    Returns:
        The slope below, the slope above, and the offset above, each of the shape of `low`.
    """
    bend = flattest(layer)
    left, right = low.clamp(max=0), high.clamp(min=0)
    # Where the input has one sign, left or right is zero, and both lines are the activation itself.
    above = (right - bend * left) / (right - left).clamp_min(torch.finfo(low.dtype).tiny)
    below = torch.where((left < 0) & (right > 0), (right > -left) * (1 - bend) + bend, above)
    return below, above, (bend - above) * left


def flattest(layer: nn.Module) -> float:
    """The slope of an activation where its input is negative."""
    return layer.negative_slope if isinstance(layer, nn.LeakyReLU) else 0.0
