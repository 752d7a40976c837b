"""Training methods as losses: a method is what happens between a batch and its scalar.

Sources: adversarial training, Goodfellow et al. 2015 (arXiv:1412.6572) and Madry et al. 2018 (arXiv:1706.06083).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse.attacks import Attack
from robustcourse.checks import check_untargeted, evaluating


class Objective(Protocol):
    """A training method: (model, x, y) to the scalar that one optimization step makes smaller."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """x: (B, C, H, W) in [0, 1]; y: (B,) labels; returns a scalar with a graph."""


@dataclass(frozen=True)
class Standard:
    """Mean cross-entropy on the images as they are: one forward and one backward pass a step."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x), y)


@dataclass(frozen=True)
class AdversarialTraining:
    """Mean cross-entropy on the worst images that an attack finds: min over θ of max over δ of ℓ(f(x + δ), y).

    Args:
        attack: the inner maximization, as PGD(threat, steps=7). A k-step attack makes a step of training cost k + 1
            forward and backward passes.

    Raises:
        ValueError: the attack is targeted.
    """

    attack: Attack

    def __post_init__(self) -> None:
        check_untargeted(self.attack)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        # Fresh random starts each time, taken from the stream that `fit` has seeded.
        seed = int(torch.randint(2**62, ()))
        with evaluating(model):
            x_adv = self.attack(model, x, y, generator=torch.Generator(x.device).manual_seed(seed))
        return F.cross_entropy(model(x_adv), y)
