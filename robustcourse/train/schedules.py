"""Learning-rate schedules: the share of training that is over, 0 to 1, to the factor of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[float], float]


def constant(progress: float) -> float:
    """The same all along."""
    return 1.0


def cosine(progress: float) -> float:
    """From 1 to 0 along half a cosine (Loshchilov & Hutter 2017, arXiv:1608.03983)."""
    return (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class Triangle:
    """Up along a straight line, and down again to zero (Smith 2017, arXiv:1506.01186).

    Args:
        peak: where the top is, in (0, 1). Raises ValueError elsewhere.
    """

    peak: float = 0.4

    def __post_init__(self) -> None:
        if not 0 < self.peak < 1:
            raise ValueError(f"peak must be in (0, 1), got {self.peak}")

    def __call__(self, progress: float) -> float:
        return min(progress / self.peak, (1 - progress) / (1 - self.peak))


@dataclass(frozen=True)
class Steps:
    """Multiplied by `factor` at each of the given moments: the classic "decay at 50 % and 75 %".

    Args:
        moments: shares of training, each in (0, 1). Raises ValueError elsewhere.
        factor: > 0, usually 0.1.
    """

    moments: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1

    def __post_init__(self) -> None:
        if not all(0 < moment < 1 for moment in self.moments) or not self.factor > 0:
            raise ValueError(f"moments must be in (0, 1) and factor > 0, got {self.moments} and {self.factor}")

    def __call__(self, progress: float) -> float:
        return self.factor ** sum(progress >= moment for moment in self.moments)
