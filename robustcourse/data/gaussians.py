"""Two Gaussian clouds: the one task in which the best possible robust accuracy has a formula.

Class 1 lies around 0.5 + μ, class 0 around 0.5 − μ, both with noise of variance σ² in each pixel. An attacker may move
the mean by up to ε, so what is left to tell the classes apart is the shortest distance from μ to the threat ball: with
it in place of ‖μ‖, the classical formula for the Bayes error gives the smallest robust error of any classifier.

Sources: Bhagoji, Cullina & Mittal 2019 (arXiv:1909.12272); Schmidt et al. 2018 (arXiv:1804.11285).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcourse.data.dataset import Dataset, Split
from robustcourse.runtime import device
from robustcourse.threats import Threat


@dataclass(frozen=True)
class TwoGaussians:
    """The distribution: label s = ±1 with equal chance, x = 0.5 + s μ + σ z with z standard normal.

    Args:
        mu: (d,) half the way from the mean of class 0 to the mean of class 1.
        sigma: standard deviation σ of each pixel, > 0.

    Raises:
        ValueError: mu is not a vector, σ is not positive, or images would leave [0, 1] (means and 6 σ must fit), where
            the formulas would no longer hold.
    """

    mu: Tensor
    sigma: float

    def __post_init__(self) -> None:
        if self.mu.dim() != 1:
            raise ValueError(f"mu must be of shape (d,), got {tuple(self.mu.shape)}")
        if not self.sigma > 0:
            raise ValueError(f"sigma must be > 0, got {self.sigma}")
        reach = float(self.mu.abs().max()) + 6 * self.sigma
        if not reach <= 0.5:
            raise ValueError(f"max |mu| + 6 sigma must be at most 0.5 so that images stay in [0, 1], got {reach:.3g}")

    def sample(self, n: int, seed: int = 0) -> Split:
        """n ≥ 1 examples of shape (1, 1, d), labels 0 and 1 by turns, on the CPU."""
        generator = torch.Generator().manual_seed(seed)
        y = torch.arange(n) % 2
        noise = torch.randn(n, len(self.mu), generator=generator).clamp(-6, 6)  # beyond 6 σ: once in 500 million
        x = 0.5 + (2 * y[:, None] - 1) * self.mu.float().cpu() + self.sigma * noise
        return Split(x.clamp(0, 1)[:, None, None, :], y)

    def dataset(self, n: int = 2000, seed: int = 0) -> Dataset:
        """n training and n test examples, on the device of the course."""
        train, test = (self.sample(n, 2 * seed + part).to(device()) for part in (0, 1))
        return Dataset("two_gaussians", train, test, 2, f"drawn from two Gaussians in {len(self.mu)} dimensions")

    def bayes_error(self) -> float:
        """The smallest error of any classifier on clean inputs: Φ(−‖μ‖ / σ)."""
        return _normal_tail(float(self.mu.double().norm()) / self.sigma)

    def robust_error(self, threat: Threat) -> float:
        """The smallest error of any classifier under attack: Φ(−min ‖μ − δ‖ / σ) over ‖δ‖ ≤ ε."""
        mu = self.mu.double()[None]
        return _normal_tail(float((mu - threat.clip(mu)).norm()) / self.sigma)

    def linear_error(self, w: Tensor, b: float, threat: Threat) -> float:
        """Error under attack of the classifier that says 1 where ⟨w, x⟩ + b > 0, exactly.

        The attack takes ε ‖w‖ in the dual norm off the margin of every input; a Gaussian does the rest.

        Raises:
            ValueError: w is zero, or of another shape than mu.
        """
        w = w.double()
        if w.shape != self.mu.shape or not w.any():
            raise ValueError(f"w must be a vector of shape {tuple(self.mu.shape)} other than zero, got {w.tolist()}")
        offset, slope = float(0.5 * w.sum() + b), float(w @ self.mu.double())
        loss, spread = threat.eps * float(threat.dual(w[None])), self.sigma * float(w.norm())
        return (_normal_tail((slope + offset - loss) / spread) + _normal_tail((slope - offset - loss) / spread)) / 2


def _normal_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))
