"""A curriculum: begin with small perturbations, for with large ones from the start some networks learn nothing at all.

Source: Cai et al. 2018, "Curriculum adversarial training" (arXiv:1805.04807); here ε grows, not the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from robustcourse.checks import check_nonnegative, check_share
from robustcourse.train.objectives import Objective


@dataclass(frozen=True)
class Curriculum:
    """An objective whose ε grows along a straight line from 0 to its full size, epoch by epoch, and then stays.

    Args:
        make: ε to the objective, as `lambda eps: AdversarialTraining(PGD(Linf(eps), steps=7))`.
        eps: the full size, ≥ 0.
        warm_up: the share of training over which ε grows, in [0, 1].

    Raises:
        ValueError: a number out of range.
    """

    make: Callable[[float], Objective]
    eps: float
    warm_up: float = 0.5

    def __post_init__(self) -> None:
        check_nonnegative("eps", self.eps)
        check_share("warm_up", self.warm_up)

    def at(self, progress: float) -> Objective:
        """The objective for the epoch that begins when this share of training is over."""
        grown = progress >= self.warm_up
        return self.make(self.eps if grown else self.eps * progress / self.warm_up)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The objective at full size."""
        return self.make(self.eps)(model, x, y)
