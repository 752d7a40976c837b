"""Normalization as a layer of the model, not as a step before it.

Attacks then speak of pixels in [0, 1], and ε means the same for every model. With inputs that were normalized
beforehand, ε silently changes its unit: the most common mistake in code that evaluates robustness.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """(x − mean) / std for each channel.

    Args:
        mean: (C,) mean of each channel.
        std: (C,) standard deviation of each channel, all > 0.

    Raises:
        ValueError: shapes differ, or a standard deviation is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        mean, std = torch.as_tensor(mean), torch.as_tensor(std)
        if mean.dim() != 1 or mean.shape != std.shape:
            raise ValueError(f"mean and std must both be of shape (C,), got {tuple(mean.shape)}, {tuple(std.shape)}")
        if not (std > 0).all():
            raise ValueError(f"std must be positive, got {std.tolist()}")
        self.register_buffer("mean", mean.view(-1, 1, 1))
        self.register_buffer("std", std.view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        return (x - self.mean) / self.std
