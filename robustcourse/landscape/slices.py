"""Slices: the loss along a line, or over a plane, through the weights.

What such a picture shows depends on how long a step is. In a ReLU network, one layer can be multiplied by c and the
next divided by c, and nobody who looks at the answers can tell. But a step of fixed length in the weights is now large
for one layer and small for the other, and the same function looks sharp or flat. Filter normalization makes the step of
each neuron as long as its own weights are, so that it scales with them.

Source: Li, Xu, Taylor, Studer & Goldstein 2018 (arXiv:1712.09913).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustcourse.data import Split
from robustcourse.landscape.surface import Surface, check_vector, weights
from robustcourse.train.objectives import Objective

CHUNK = 2**22  # numbers that are held at a time for the points of a slice


def random_direction(model: nn.Module, seed: int = 0) -> Tensor:
    """A random direction of length one, (P,): all directions are equally likely, and no weight is looked at.

    Raises:
        TypeError, ValueError: no model with weights.
    """
    theta = weights(model)
    noise = torch.randn(len(theta), generator=torch.Generator().manual_seed(seed)).to(theta)
    return noise / noise.norm()


def filter_normalized(model: nn.Module, seed: int = 0) -> Tensor:
    """A random direction, (P,), in which the part of each neuron is as long as the weights of that neuron.

    A neuron's weights are a row of a Linear layer, or a filter of a convolution. Biases, and the scales of batch
    normalization, stay where they are: each is a single number, so a part as long as itself would be no random
    direction.

    Multiply the weights and the biases of a hidden ReLU layer by c > 0, and divide the weights of the next by c. The
    function stays the same, and so does every slice along this direction: each layer's part is multiplied as the layer
    is, and biases move in neither case. If a neuron's length counted its bias, this would be wrong, for the bias of the
    next layer is not divided. Factors that differ from neuron to neuron do change the slice.

    Args:
        model: with at least one weight of two dimensions or more.
        seed: of the random numbers, the same as in `random_direction`.

    Raises:
        TypeError, ValueError: no model with weights, or only biases and scales.
    """
    noise, parts = random_direction(model, seed), []
    for weight, part in zip(model.parameters(), noise.split([p.numel() for p in model.parameters()]), strict=True):
        if weight.dim() < 2:
            parts.append(torch.zeros_like(part))
        else:
            rows, filters = part.view(len(weight), -1), weight.detach().flatten(1)
            parts.append((rows * (filters.norm(dim=1) / rows.norm(dim=1))[:, None]).flatten())
    direction = torch.cat(parts)
    if not direction.any():
        raise ValueError("model has no filters to normalize by: no weight of two or more dimensions that is not zero")
    return direction


def slice1d(
    model: nn.Module,
    split: Split,
    direction: Tensor,
    at: Tensor,
    objective: Objective | None = None,
    *,
    batch_size: int = 1024,
    seed: int = 0,
) -> Tensor:
    """The loss at θ + a d for each a.

    Args:
        model: in evaluation mode; its weights are θ, and stay as they are.
        split: the examples, on the model's device.
        direction: d, (P,): from `filter_normalized`, `random_direction`, `lanczos`; or weights(other) − weights(model).
        at: (T,) values of a.
        objective: the loss, `Standard()` if None. A robust one attacks anew at each point, from the same random starts.
        batch_size: examples at a time, ≥ 1, for an objective that is a mean over examples; it bounds the memory.
        seed: of the objective's random choices.

    Returns:
        (T,) losses.

    Cost: one call of the objective a point; for `Standard()`, that is one forward pass.

    Raises:
        TypeError, ValueError: a wrong input, as `robustcourse.checks` says, or a wrong shape.
    """
    return _losses(Surface(model, split, objective, batch_size, seed), [direction], [at])


def slice2d(
    model: nn.Module,
    split: Split,
    directions: Tensor | Sequence[Tensor],
    at: Tensor | tuple[Tensor, Tensor],
    objective: Objective | None = None,
    *,
    batch_size: int = 1024,
    seed: int = 0,
) -> Tensor:
    """The loss at θ + a d₁ + b d₂ for each a and each b.

    Args:
        model, split, objective, batch_size, seed: as for `slice1d`.
        directions: d₁ and d₂, two vectors (P,).
        at: (T,) values for both a and b; or two vectors, (T,) values of a and (S,) of b.

    Returns:
        (T, S) losses: rows go along d₁. Matplotlib's `contour(a, b, losses.T)` wants them the other way round.

    Raises:
        TypeError, ValueError: as for `slice1d`.
    """
    if len(directions) != 2:
        raise ValueError(f"directions must be two vectors, got {len(directions)}")
    axes = [at, at] if isinstance(at, Tensor) else list(at)
    return _losses(Surface(model, split, objective, batch_size, seed), list(directions), axes)


def _losses(surface: Surface, directions: list[Tensor], axes: list[Tensor]) -> Tensor:
    centre = surface.centre
    for direction in directions:
        check_vector("direction", direction, len(centre))
    for axis in axes:
        if axis.dim() != 1 or not len(axis):
            raise ValueError(f"at must be one or more steps, of shape (T,), got shape {tuple(axis.shape)}")
    steps = torch.cartesian_prod(*(axis.to(centre) for axis in axes)).view(-1, len(axes))
    ways = torch.stack(directions).to(centre)
    # In parts, for all points together may be more than the memory holds.
    parts = [surface.heights(centre + part @ ways) for part in steps.split(max(1, CHUNK // len(centre)))]
    return torch.cat(parts).view([len(axis) for axis in axes])
