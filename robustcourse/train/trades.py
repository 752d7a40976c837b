"""TRADES: read the clean image right, and do not change your mind nearby.

The price of robustness becomes a number to choose: the loss is split into the natural error and the part that the
attack adds, and β weighs the second.

Source: Zhang et al. 2019 (arXiv:1901.08573).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse.attacks import PGD
from robustcourse.checks import check_nonnegative, check_untargeted, evaluating
from robustcourse.train.objectives import Network, Robust, search


@dataclass(frozen=True)
class TRADES(Robust):
    """Mean of ℓ(f(x), y) + β max over δ of KL(f(x) ‖ f(x + δ)).

    Args:
        attack: the walk of the inner maximization, as PGD(threat, steps=7); its loss is replaced by the divergence. It
            needs its random start (the paper's is a Gaussian of 0.001), since at x itself the divergence is flat.
        beta: β ≥ 0, the paper's 1/λ. With β = 0, ε = 0 or no steps this is `Standard`, to the last bit.

    Cost: with k steps, k + 2 forward and backward passes and a forward pass.

    Raises:
        ValueError: β is negative or not finite; the attack is targeted, starts at x, restarts or leaves early.
    """

    attack: PGD
    beta: float = 6.0

    def __post_init__(self) -> None:
        check_untargeted(self.attack)
        check_nonnegative("beta", self.beta)
        if self.attack.restarts > 1 or self.attack.early_exit or not self.attack.random_start:
            raise ValueError(f"attack must be one whole walk from a random start, got {self.attack}")

    def worst(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if 0 in (self.beta, self.attack.steps, self.attack.threat.eps):
            return x
        with evaluating(model), torch.no_grad():
            clean = model(x)
        return search(dataclasses.replace(self.attack, loss=lambda z, _: divergence(clean, z)), model, x, y)

    def loss(self, model: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        clean = model(x)
        loss = F.cross_entropy(clean, y)
        return loss if x_adv is x else loss + self.beta * divergence(clean, model(x_adv)).mean()


def divergence(clean: Tensor, attacked: Tensor) -> Tensor:
    """KL(p ‖ q) of the two predictions, from logits (B, classes) each to (B,)."""
    log_p, log_q = clean.log_softmax(1), attacked.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)
