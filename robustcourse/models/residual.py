"""Residual networks, for images that a small network cannot learn: each block adds a correction to what came before.

Here normalization and ReLU come before each convolution, so that the sum itself passes on untouched.

Sources: pre-activation ResNet, He et al. 2016 (arXiv:1603.05027); WideResNet, Zagoruyko & Komodakis 2016
(arXiv:1605.07146).
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse.data import Dataset
from robustcourse.models.networks import assemble
from robustcourse.runtime import seeded


class Block(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))); where the shape changes, a 1×1 convolution adapts x.

    Args:
        channels, wider: before and after.
        stride: of the first convolution; 2 halves the sides.
    """

    def __init__(self, channels: int, wider: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, wider, 3, stride, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(wider), nn.Conv2d(wider, wider, 3, 1, 1, bias=False)
        same = channels == wider and stride == 1
        self.shortcut = None if same else nn.Conv2d(channels, wider, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        correction = self.conv2(F.relu(self.norm2(self.conv1(active))))
        return correction + (x if self.shortcut is None else self.shortcut(active))


def preact_resnet(data: Dataset, width: int = 64, blocks: int = 2, seed: int = 0) -> nn.Sequential:
    """A pre-activation ResNet of four stages; with the defaults the ResNet-18 of the papers on CIFAR-10.

    Args:
        data, seed: as for `mlp`.
        width: channels of the first stage, ≥ 1; each further stage doubles them and halves the sides.
        blocks: in each stage, ≥ 1.

    Raises:
        ValueError: width < 1 or blocks < 1.
    """
    if width < 1 or blocks < 1:
        raise ValueError(f"width and blocks must be >= 1, got width={width}, blocks={blocks}")
    return _residual(data, width, [width, 2 * width, 4 * width, 8 * width], blocks, seed)


def wide_resnet(data: Dataset, depth: int = 28, factor: int = 10, seed: int = 0) -> nn.Sequential:
    """A WideResNet of three stages, WRN-depth-factor; 34-10 is the usual robust one.

    Args:
        data, seed: as for `mlp`.
        depth: 6 n + 4 convolutions, for n ≥ 1 blocks a stage.
        factor: how many times wider than a ResNet of 16, 32 and 64 channels, ≥ 1.

    Raises:
        ValueError: a depth that is not 6 n + 4, or factor < 1.
    """
    blocks, rest = divmod(depth - 4, 6)
    if blocks < 1 or rest or factor < 1:
        raise ValueError(f"depth must be 10, 16, 22, … and factor >= 1, got depth={depth}, factor={factor}")
    return _residual(data, 16, [16 * factor, 32 * factor, 64 * factor], blocks, seed)


def _residual(data: Dataset, stem: int, stages: list[int], blocks: int, seed: int) -> nn.Sequential:
    with seeded(seed):
        layers: list[nn.Module] = [nn.Conv2d(data.shape[0], stem, 3, padding=1, bias=False)]
        for number, (channels, wider) in enumerate(pairwise([stem, *stages])):
            layers.append(Block(channels, wider, stride=2 if number else 1))
            layers += [Block(wider, wider, stride=1) for _ in range(blocks - 1)]
        head = [nn.BatchNorm2d(stages[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return assemble(data, *layers, *head, nn.Linear(stages[-1], data.classes))
