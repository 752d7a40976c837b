"""What one place of a convolution sees: a window of each layer before, most often much smaller than the image.

To bound a neuron, this part of the network is enough, and each of the parts can stand for an example of its own. Around
the image are zeros that never change; in a box they are a side without width, and lines make nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

Pair = tuple[int, ...]  # along height and width


@dataclass(frozen=True)
class Window:
    """The pixels that are seen from each place of a grid: `size` of them, the first of which is start + place · stride.

    Start may be negative, and the last pixel be beyond the end: in the zeros around the image.
    """

    size: Pair = (1, 1)
    stride: Pair = (1, 1)
    start: Pair = (0, 0)

    def before(self, layer: nn.Conv2d) -> Window:
        """What is seen of the layer's input, where this window is seen of its output."""
        spread = [(k - 1) * d for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
        return Window(
            size=tuple((self.size[i] - 1) * layer.stride[i] + spread[i] + 1 for i in (0, 1)),
            stride=tuple(self.stride[i] * layer.stride[i] for i in (0, 1)),
            start=tuple(self.start[i] * layer.stride[i] - int(layer.padding[i]) for i in (0, 1)),
        )

    def cut(self, images: Tensor, grid: Pair) -> Tensor:
        """The windows of images (B, C, H, W) from all places of a grid, each an example: (B · places, C, *size)."""
        ends = [self.start[i] + (grid[i] - 1) * self.stride[i] + self.size[i] for i in (0, 1)]
        (top, left), (bottom, right) = self.start, (ends[i] - images.shape[2 + i] for i in (0, 1))
        padded = F.pad(images, (-left, right, -top, bottom))  # by less than nothing: cut off
        seen = padded.unfold(2, self.size[0], self.stride[0]).unfold(3, self.size[1], self.stride[1])
        return seen.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
