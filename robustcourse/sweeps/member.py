"""What makes one network of a sweep, and the combinations that make all of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import product
from typing import Any

import numpy as np

from robustcourse.checks import check_nonnegative, check_share


@dataclass(frozen=True)
class Member:
    """One network of a sweep, `mlp(data, width, depth, seed)`, and what it learns from.

    Args:
        width: units of each hidden layer, ≥ 1.
        depth: hidden layers, ≥ 0.
        noise: share of wrong labels, in [0, 1], as `label_noise` makes them.
        penalty: λ ≥ 0 in the penalty λ/2 ‖θ‖².
        examples: the first so many of the training examples; all of them if None.
        seed: of the initial weights, of the label noise, of the batches and of what the method draws.

    Raises:
        TypeError: width, depth, examples or seed is no int.
        ValueError: a number out of range.
    """

    width: int
    depth: int = 1
    noise: float = 0.0
    penalty: float = 0.0
    examples: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "depth", "examples", "seed"):
            number = getattr(self, name)
            if not isinstance(number, int) and (name, number) != ("examples", None):
                raise TypeError(f"{name} must be an int, got {type(number).__name__}")
        if self.width < 1 or self.depth < 0:
            raise ValueError(f"width must be >= 1 and depth >= 0, got width={self.width}, depth={self.depth}")
        check_share("noise", self.noise)
        check_nonnegative("penalty", self.penalty)

    def __str__(self) -> str:
        return ",".join(f"{f.name}={str(getattr(self, f.name)).removesuffix('.0')}" for f in fields(self))


def grid(**settings: Any) -> list[Member]:
    """Members for all combinations: `grid(width=(2, 4), noise=0.2, seed=range(5))` are ten, the last name fastest.

    Args:
        settings: fields of `Member`, each one value or many.

    Raises:
        TypeError, ValueError: as for `Member`.
    """
    values = [np.ravel(value).tolist() for value in settings.values()]  # numbers of Python, not of numpy
    return [Member(**dict(zip(settings, combination, strict=True))) for combination in product(*values)]
