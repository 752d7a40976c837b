"""A data set is tensors in memory: images in [0, 1], labels, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustcourse.checks import check_images, check_labels


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Args:
        x: (N, C, H, W) float32 in [0, 1].
        y: (N,) int64 labels.

    Raises:
        TypeError, ValueError: x or y is not as said.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        check_images(self.x)
        check_labels(self.y, self.x)
        if self.x.dtype != torch.float32:
            raise TypeError(f"x must be float32, as models are, got {self.x.dtype}")
        if self.x.dim() != 4:
            raise ValueError(f"x must be of shape (N, C, H, W), got {tuple(self.x.shape)}")

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: slice | Tensor | list[int]) -> Split:
        """The examples that a slice, a list of indices or a boolean mask selects."""
        return Split(self.x[index], self.y[index])

    def to(self, device: torch.device | str) -> Split:
        """The same examples on another device."""
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True)
class Dataset:
    """A training part and a test part that share no example.

    Args:
        name: as given to `load`.
        train, test: the two parts.
        classes: how many labels there are: 0 … classes − 1.
        source: who collected it, in one line.
    """

    name: str
    train: Split
    test: Split
    classes: int
    source: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train.x.shape[1:]
        return channels, height, width

    def to(self, device: torch.device | str) -> Dataset:
        """The same data on another device."""
        return Dataset(self.name, self.train.to(device), self.test.to(device), self.classes, self.source)

    def __repr__(self) -> str:
        return f"Dataset({self.name}: {len(self.train)} + {len(self.test)} of {self.shape}, {self.classes} classes)"
