"""Networks that cannot be in a hurry: whatever moves by δ at the input moves by ‖δ‖ at most at the output.

Each layer keeps lengths, and so does what stands between them: a matrix that is orthogonal, and an activation that only
sorts. A ReLU would be allowed, too, but it throws half of the signal away, and a network of orthogonal layers needs all
of it.

Sources: sorting, Anil, Lucas & Grosse 2019 (arXiv:1811.05381); orthogonal layers by Cayley's map, Trockman & Kolter
2021 (arXiv:2104.07167).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from robustcourse.data import Dataset
from robustcourse.models.normalize import Normalize
from robustcourse.runtime import seeded


class MaxMin(nn.Module):
    """Of each pair of channels first the larger, then the smaller: (max(a, b), min(a, b)) for the halves a and b.

    Also called GroupSort2. Distances never grow, and lengths stay as they are.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape. Raises: ValueError if C is odd."""
        if x.shape[1] % 2:
            raise ValueError(f"MaxMin needs an even number of channels, to pair them, got {x.shape[1]}")
        a, b = x.chunk(2, 1)
        return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)


def lipschitz_mlp(data: Dataset, width: int = 128, depth: int = 2, seed: int = 0) -> nn.Sequential:
    """A fully connected network with ‖f(x) − f(x')‖ ≤ ‖x − x'‖, and `depth` hidden layers of `width` units.

    Its layers are orthogonal whatever training does to their parameters. The pixels are shifted by their mean but not
    scaled, for a scale would be a Lipschitz constant. Logits are small, for the same reason: train it with a
    temperature below 1, as in `LipschitzMargin`.

    Args:
        data, seed: as for `mlp`.
        width: units of each hidden layer, ≥ 2 and even.
        depth: hidden layers, ≥ 0.

    Returns:
        A module from (B, C, H, W) in [0, 1] to logits (B, classes), in evaluation mode, on the data's device.

    Raises:
        ValueError: a width that is odd or < 2, or depth < 0.
    """
    if width < 2 or width % 2 or depth < 0:
        raise ValueError(f"width must be even and >= 2, and depth >= 0, got width={width}, depth={depth}")
    sizes, mean = [math.prod(data.shape), *[width] * depth], data.train.x.mean((0, 2, 3))
    with seeded(seed):
        hidden = [layer for a, b in pairwise(sizes) for layer in (_orthogonal(a, b), MaxMin())]
        layers = [Normalize(mean, torch.ones_like(mean)), nn.Flatten(), *hidden, _orthogonal(sizes[-1], data.classes)]
        return nn.Sequential(*layers).to(data.train.x.device).eval()


def _orthogonal(a: int, b: int) -> nn.Module:
    return orthogonal(nn.Linear(a, b), orthogonal_map="cayley")
