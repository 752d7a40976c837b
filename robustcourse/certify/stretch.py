"""A certificate for one forward pass: a network that stretches no distance by more than L cannot be moved far.

If every layer stretches distances by L₁, L₂, … at most, the network does by their product. For most networks that is
a huge number, and this bound proves nothing. For those that were built for it, as `lipschitz_mlp`, it is 1, and the
margin itself says how far the answer is safe.

Source: Tsuzuku, Sato & Sugiyama 2018 (arXiv:1802.04034), with the last layer taken class by class.
"""

from __future__ import annotations

import math
from functools import singledispatch

import torch
from torch import Tensor, nn

from robustcourse.certify.layers import row
from robustcourse.checks import check_images, check_labels, check_logits, check_model
from robustcourse.models import MaxMin, Normalize
from robustcourse.threats import Threat

EXACT = 2**20  # numbers in the matrix of a convolution, up to which its norm is computed and not only bounded


def lipschitz(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> Tensor:
    """Lower bounds of all margins by the stretch of the layers: f_y − f_k − L_k ‖δ‖₂.

    L_k is ‖w_y − w_k‖ for the rows of a last linear layer, times the product of the norms of all layers before it; and
    √2 times the whole product, where the last layer is another one.

    Args:
        model: in evaluation mode, layers in a row whose `stretch` is known; not a residual network.
        x: (B, ...) in [0, 1].
        y: (B,) int64 labels.
        threat: the set of allowed perturbations. L2 as it is. Of the others the ball of L2 around them counts: of the
            same ε for L1, and √d times as large for L∞ and d pixels, which is much.

    Returns:
        (B, classes): f_y − f_k is at least this, wherever in the threat set; 0 at k = y. With a graph to the weights,
        where these ask for one.

    Cost: a forward pass, and for each layer a singular value decomposition, whatever the number of examples.

    Raises:
        TypeError, ValueError: a wrong input, or a layer whose stretch is not known.
    """
    check_model(model)
    check_images(x)
    check_labels(y, x)
    *layers, last = row(model)
    whole, inner = torch.ones((), dtype=x.dtype, device=x.device), x
    for layer in layers:
        whole, inner = whole * stretch(layer, inner.shape[1:]), layer(inner)
    logits = last(inner)
    check_logits(logits, x)
    check_labels(y, x, classes=logits.shape[1])
    if isinstance(last, nn.Linear):
        weight = last.weight  # a parametrized one is computed each time that it is read
        steepest = torch.linalg.vector_norm(weight[:, None] - weight, dim=2)[y]
    else:
        steepest = stretch(last, inner.shape[1:]) * math.sqrt(2) * (1 - torch.eye(logits.shape[1]).to(logits))[y]
    return logits.gather(1, y[:, None]) - logits - threat.length(x) * whole * steepest


@singledispatch
def stretch(layer: nn.Module, shape: torch.Size) -> Tensor | float:
    """At most how many times as far apart two outputs of a layer are, in L2, as their inputs, of this shape each.

    Raises:
        TypeError: nobody has said so for this kind of layer.
    """
    raise TypeError(
        f"model has a layer whose stretch is not known, {type(layer).__name__}; register `stretch` for it, "
        "or use layers that have one, as Linear, Conv2d, ReLU, MaxMin"
    )


for _calm in (nn.ReLU, MaxMin, nn.Flatten, nn.Identity, nn.Dropout):
    stretch.register(_calm, lambda layer, shape: 1.0)


@stretch.register
def _(layer: nn.LeakyReLU, shape: torch.Size) -> float:
    return max(1.0, abs(layer.negative_slope))


@stretch.register
def _(layer: Normalize, shape: torch.Size) -> Tensor:
    return 1 / layer.std.min()


@stretch.register
def _(layer: nn.BatchNorm2d, shape: torch.Size) -> Tensor:
    if layer.running_var is None:
        raise TypeError(f"a BatchNorm2d must have running statistics for its stretch to be known, got {layer}")
    scale = (layer.running_var + layer.eps).rsqrt()
    return (scale if layer.weight is None else scale * layer.weight.abs()).max()


@stretch.register
def _(layer: nn.Linear, shape: torch.Size) -> Tensor:
    return norm(layer.weight)


@stretch.register
def _(layer: nn.Conv2d, shape: torch.Size) -> Tensor:
    weight = layer.weight
    if layer.padding_mode != "zeros":
        raise TypeError(f"a Conv2d must be padded by zeros for its stretch to be known, got {layer}")
    if math.prod(shape) * math.prod(layer(weight.new_zeros(1, *shape)).shape) <= EXACT:
        return norm(_matrix(layer, shape, weight))
    # A matrix applied to all patches: and a pixel lies in as many patches as the kernel has places, at most.
    kernels = weight.flatten(1).unflatten(0, (layer.groups, -1))
    return norm(kernels).max() * math.sqrt(math.prod(layer.kernel_size))


@stretch.register(nn.AvgPool2d)
@stretch.register(nn.AdaptiveAvgPool2d)
def _(layer: nn.Module, shape: torch.Size) -> Tensor:
    return norm(_matrix(layer, torch.Size([1, *shape[1:]]), torch.empty(())))  # the same for every channel


def _matrix(layer: nn.Module, shape: torch.Size, like: Tensor) -> Tensor:
    """The matrix of an affine layer, one row for each pixel of its input."""
    pixels = torch.eye(math.prod(shape), dtype=like.dtype, device=like.device).unflatten(1, shape)
    return (layer(pixels) - layer(torch.zeros_like(pixels[:1]))).flatten(1)


def norm(matrix: Tensor) -> Tensor:
    """The largest singular value, (..., M, N) to (...): by decomposition, since power iteration ends below it."""
    return torch.linalg.matrix_norm(matrix, 2)
