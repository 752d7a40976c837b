"""Adversarial weight perturbation: the loss should not rise when the *weights* move a little either.

Source: Wu, Xia & Wang 2020 (arXiv:2004.05884).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from robustcourse.checks import check_nonnegative
from robustcourse.train.objectives import Robust


@dataclass(frozen=True)
class AWP:
    """The objective at θ + v, where each layer's v climbs the loss and has the length γ ‖θ_layer‖.

    Args:
        objective: a robust method, as AdversarialTraining(attack) or TRADES(attack).
        gamma: γ ≥ 0, how far a layer moves relative to its weights; the paper's is 0.005 to 0.01.

    Cost: one forward and backward pass more than the objective (two for those that look at clean images too).

    Raises:
        TypeError: the objective is no robust method.
        ValueError: γ is negative or not finite.
    """

    objective: Robust
    gamma: float = 0.005

    def __post_init__(self) -> None:
        if not isinstance(self.objective, Robust):
            raise TypeError(f"objective must be a robust method, as AdversarialTraining, got {self.objective}")
        check_nonnegative("gamma", self.gamma)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x_adv = self.objective.worst(model, x, y)
        weights = {name: w for name, w in model.named_parameters() if w.dim() > 1}  # biases and scales stay
        gradients = torch.autograd.grad(self.objective.loss(model, x, x_adv, y), list(weights.values()))
        moved = {
            name: w + self.gamma * w.detach().norm() * g / g.norm().clamp_min(1e-12)
            for (name, w), g in zip(weights.items(), gradients, strict=True)
        }
        return self.objective.loss(lambda inputs: functional_call(model, moved, (inputs,)), x, x_adv, y)
