"""Two families of networks, each with its width as the knob that this course turns.

Both are plain `nn.Sequential`s: print one and read it from top to bottom.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

from robustcourse.data import Dataset
from robustcourse.models.normalize import Normalize
from robustcourse.runtime import seeded


def mlp(data: Dataset, width: int = 256, depth: int = 2, seed: int = 0) -> nn.Sequential:
    """A fully connected ReLU network with `depth` hidden layers of `width` units.

    Args:
        data: gives the shape of inputs, the number of classes, mean and spread of the pixels, and the device.
        width: units of each hidden layer, ≥ 1.
        depth: hidden layers, ≥ 0; zero makes a linear classifier.
        seed: of the initial weights. The global random state stays as it is.

    Returns:
        A module from (B, C, H, W) in [0, 1] to logits (B, classes), in evaluation mode, on the data's device.

    Raises:
        ValueError: width < 1 or depth < 0.
    """
    if width < 1 or depth < 0:
        raise ValueError(f"width must be >= 1 and depth >= 0, got width={width}, depth={depth}")
    sizes = [math.prod(data.shape), *[width] * depth]
    with seeded(seed):
        hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        return assemble(data, nn.Flatten(), *hidden, nn.Linear(sizes[-1], data.classes))


def cnn(data: Dataset, width: int = 32, depth: int = 1, seed: int = 0) -> nn.Sequential:
    """A convolutional ReLU network: `depth` 3×3 convolutions and a linear layer.

    The first convolution has `width` channels; each further one doubles them and halves the sides. One layer without
    pooling is the smallest network that learns robust digits well.

    Args:
        data, seed: as for `mlp`.
        width: channels of the first convolution, ≥ 1.
        depth: number of convolutions, ≥ 1.

    Returns:
        A module from (B, C, H, W) in [0, 1] to logits (B, classes), in evaluation mode, on the data's device.

    Raises:
        ValueError: width < 1 or depth < 1.
    """
    if width < 1 or depth < 1:
        raise ValueError(f"width and depth must be >= 1, got width={width}, depth={depth}")
    channels, height, breadth = data.shape
    with seeded(seed):
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 1):
            layers += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU()]
            width, height, breadth = 2 * width, math.ceil(height / 2), math.ceil(breadth / 2)
        return assemble(data, *layers, nn.Flatten(), nn.Linear(width * height * breadth, data.classes))


def parameters(model: nn.Module) -> int:
    """How many numbers training can change."""
    return sum(p.numel() for p in model.parameters())


def assemble(data: Dataset, *layers: nn.Module) -> nn.Sequential:
    """The layers behind a normalization by the data's mean and spread, on its device, in evaluation mode."""
    pixels = data.train.x.transpose(0, 1).flatten(1)
    normalize = Normalize(pixels.mean(1), pixels.std(1).clamp_min(1e-3))
    return nn.Sequential(normalize, *layers).to(data.train.x.device).eval()
