"""Augmentation on the device: each image moved a little, and perhaps mirrored, all of a batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class CropFlip:
    """Pad with black, cut out a random window of the old size, and mirror every second image.

    Args:
        pad: pixels on each side, ≥ 0: how far an image can move.
        flip: mirror left and right; not for digits.

    Raises:
        ValueError: pad < 0.
    """

    pad: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise ValueError(f"pad must be >= 0, got {self.pad}")

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        count, _, height, width = x.shape
        top, left = torch.randint(2 * self.pad + 1, (2, count, 1), device=x.device)
        rows, columns = (start + torch.arange(n, device=x.device) for start, n in ((top, height), (left, width)))
        if self.flip:
            columns = columns.where(torch.rand(count, 1, device=x.device) < 0.5, columns.flip(1))
        each = torch.arange(count, device=x.device)[:, None, None]
        # With the channels last in memory, which is also how convolutions in half precision like them.
        padded = F.pad(x, [self.pad] * 4).permute(0, 2, 3, 1)
        return padded[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
