"""Training methods as losses: a method is what happens between a batch and its scalar.

A robust method has two halves: the images that it learns from, and the loss there. Each of the next modules changes one
of the two.

Sources: adversarial training, Goodfellow et al. 2015 (arXiv:1412.6572) and Madry et al. 2018 (arXiv:1706.06083).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse.attacks import Attack
from robustcourse.checks import check_images, check_share, check_untargeted, evaluating, frozen

Network = Callable[[Tensor], Tensor]  # a model, or a model with other weights


class Objective(Protocol):
    """A training method: (model, x, y) to the scalar that one optimization step makes smaller.

    Two things more, where it has them: `at(progress)` gives the objective of the epoch that begins when this share of
    training, 0 ≤ progress < 1, is over. And with `replays` = m, each batch is used for m steps in a row.
    """

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """x: (B, C, H, W) in [0, 1]; y: (B,) labels; returns a scalar with a graph."""


@dataclass(frozen=True)
class Standard:
    """Mean cross-entropy on the images as they are: one forward and one backward pass a step."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x), y)


class Robust(ABC):
    """A method that learns from images which it makes worse first."""

    @abstractmethod
    def worst(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The images to learn from, (B, C, H, W); x itself where there is nothing to search."""

    def loss(self, model: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """The scalar to make smaller, given what `worst` found."""
        return F.cross_entropy(model(x_adv), y)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return self.loss(model, x, self.worst(model, x, y), y)


@dataclass(frozen=True)
class AdversarialTraining(Robust):
    """Mean cross-entropy on the worst images that an attack finds: min over θ of max over δ of ℓ(f(x + δ), y).

    Args:
        attack: the inner maximization, as PGD(threat, steps=7). A k-step attack makes a step of training cost k + 1
            forward and backward passes.
        weight: λ in (1 − λ) ℓ(f(x), y) + λ ℓ(f(x + δ), y), from 0 (`Standard`, and nothing is searched) to 1. Anything
            between costs one pass more.

    Raises:
        ValueError: the attack is targeted, or λ is outside [0, 1].
    """

    attack: Attack
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_untargeted(self.attack)
        check_share("weight", self.weight)

    def worst(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return search(self.attack, model, x, y) if self.weight else x

    def loss(self, model: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        attacked = F.cross_entropy(model(x_adv), y)
        if x_adv is x or self.weight == 1:
            return attacked
        return (1 - self.weight) * F.cross_entropy(model(x), y) + self.weight * attacked


def search(attack: Attack, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Attack a model that is being trained, in evaluation mode, from another random start each time.

    A call of the attack would look after more, at the price of half a pass of a small network. Here the global stream
    is `fit`'s own, and the labels have been checked.
    """
    check_images(x)
    find = attack.search if isinstance(attack, Attack) else attack  # a plain function will do, too
    with evaluating(model), frozen(model):
        return find(model, x, y, fresh(x)).detach()


def fresh(x: Tensor) -> torch.Generator:
    """A new stream on the device of x, seeded by the stream that `fit` has seeded: other random starts each step."""
    return torch.Generator(x.device).manual_seed(int(torch.randint(2**62, ())))
