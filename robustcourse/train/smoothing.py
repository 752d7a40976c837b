"""Training for votes: what a network should learn that will be asked about noisy copies.

Noise in training, `GaussianNoise`, makes it read them. These two ask for more: that it says the same of all copies of
an image, or that it reads the copies of the image that an attack on the votes has found.

Sources: consistency, Jeong & Shin 2020 (arXiv:2006.04062); SmoothAdv, Salman et al. 2019 (arXiv:1906.04584).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse.attacks import PGD
from robustcourse.checks import check_nonnegative, check_untargeted
from robustcourse.train.objectives import search
from robustcourse.train.trades import divergence


@dataclass(frozen=True)
class Consistency:
    """Mean over noisy copies xᵢ of ℓ(f(xᵢ), y) + λ KL(p ‖ f(xᵢ)), plus η H(p), with p the mean of their predictions.

    Args:
        sigma: σ ≥ 0, in units of the input range.
        weight: λ ≥ 0; the paper takes 10 at σ = 0.25 and 5 above.
        entropy: η ≥ 0, for copies may agree by knowing nothing.
        copies: m ≥ 2.

    Cost: m forward and backward passes a step.

    Raises:
        ValueError: a number is out of range.
    """

    sigma: float
    weight: float = 10.0
    entropy: float = 0.5
    copies: int = 2

    def __post_init__(self) -> None:
        for name in ("sigma", "weight", "entropy"):
            check_nonnegative(name, getattr(self, name))
        _check_copies(self.copies, least=2)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        noisy, labels = _noisy(x, _noise(self, x)), y.repeat(self.copies)
        logits = model(noisy)
        log_p = _mean(logits, self.copies)
        apart = divergence(log_p.repeat(self.copies, 1), logits).mean()
        entropy = -(log_p.exp() * log_p).sum(1).mean()
        return F.cross_entropy(logits, labels) + self.weight * apart + self.entropy * entropy


@dataclass(frozen=True)
class SmoothAdv:
    """Mean cross-entropy on noisy copies of the worst images that an attack on the vote finds.

    The attack sees the mean of the predictions for m copies, with the noise that the network is then trained on.

    Args:
        attack: the inner maximization, as PGD(L2(0.5), steps=2).
        sigma: σ ≥ 0, in units of the input range.
        copies: m ≥ 1.

    Cost: with k steps, m (k + 1) forward and backward passes a step.

    Raises:
        ValueError: a number is out of range; the attack is targeted, restarts or leaves early.
    """

    attack: PGD
    sigma: float
    copies: int = 2

    def __post_init__(self) -> None:
        check_untargeted(self.attack)
        check_nonnegative("sigma", self.sigma)
        _check_copies(self.copies, least=1)
        if self.attack.restarts > 1 or self.attack.early_exit:
            raise ValueError(f"attack must be one whole walk, for each image has its noise, got {self.attack}")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        noise = _noise(self, x)
        x_adv = search(self.attack, _Vote(model, noise), x, y)
        return F.cross_entropy(model(_noisy(x_adv, noise)), y.repeat(self.copies))


class _Vote(nn.Module):
    """Logarithms of the mean predictions under given noise, (m, B, ...): to be attacked."""

    def __init__(self, model: nn.Module, noise: Tensor) -> None:
        super().__init__()
        self.model, self.noise = model, noise

    def forward(self, x: Tensor) -> Tensor:
        return _mean(self.model(_noisy(x, self.noise)), len(self.noise))


def _noise(objective: Consistency | SmoothAdv, x: Tensor) -> Tensor:
    return objective.sigma * torch.randn(objective.copies, *x.shape, dtype=x.dtype, device=x.device)


def _noisy(x: Tensor, noise: Tensor) -> Tensor:
    return (x + noise).flatten(0, 1)


def _mean(logits: Tensor, copies: int) -> Tensor:
    """Logarithms of the mean predictions of m copies: logits (m · B, classes) to (B, classes)."""
    return logits.log_softmax(1).unflatten(0, (copies, -1)).logsumexp(0) - math.log(copies)


def _check_copies(copies: int, least: int) -> None:
    if copies < least:
        raise ValueError(f"copies must be >= {least}, got {copies}")
