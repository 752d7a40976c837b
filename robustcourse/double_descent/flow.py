"""Double descent in time: two groups of inputs that are learned at different speeds.

Some inputs vary much, and gradient descent learns their weights fast; then it misuses them to fit what it has not yet
understood. Others vary little, and are learned long after. So the error falls, rises, and falls again when the second
group is learned. In a linear model every moment has a formula, from one decomposition of the data.

Sources: Heckel & Yilmaz 2021 (arXiv:2007.10099), whose remedy the equal steps are; Pezeshki et al. 2022
(arXiv:2112.03215).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcourse.checks import check_nonnegative


@dataclass(frozen=True)
class TwoScale:
    """y = ⟨x, β⟩ + noise, with `fast` inputs of standard deviation 1 and `slow` ones of standard deviation `scale`.

    Args:
        examples: n ≥ 1.
        fast, slow: inputs of each kind, ≥ 1.
        scale: s in (0, 1]. Slow weights are learned s² times as fast.
        fast_signal, slow_signal: variance of y that comes from each kind, ≥ 0.
        noise: variance of the noise, ≥ 0.

    Raises:
        ValueError: an argument that is not as said.
    """

    examples: int = 100
    fast: int = 75
    slow: int = 5
    scale: float = 0.02
    fast_signal: float = 3.0
    slow_signal: float = 1.0
    noise: float = 0.1

    def __post_init__(self) -> None:
        for name in ("examples", "fast", "slow"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale must be in (0, 1], got {self.scale}")
        for name in ("fast_signal", "slow_signal", "noise"):
            check_nonnegative(name, getattr(self, name))

    def risk(
        self,
        times: Sequence[float] | Tensor,
        penalty: float = 0.0,
        equal_steps: bool = False,
        draws: int = 50,
        seed: int = 0,
    ) -> Tensor:
        """The squared distance to the answer without noise, while gradient flow from zero trains.

        The flow is θ' = −∇(‖y − xθ‖² / 2n + λ ‖θ‖² / 2): gradient descent with steps so small that their number times
        their size is the time t. Along a direction of x with singular value s, it has gone 1 − exp(−(s²/n + λ) t) of
        its way.

        Args:
            times: t ≥ 0, of any number.
            penalty: λ ≥ 0. Enough of it removes the bump, and the second descent, too: slow weights never get large.
            equal_steps: take steps 1 / scale² as large for slow weights, as if all inputs had standard deviation 1. That
                removes the bump and keeps what is learned after it.
            draws: of data, ≥ 1.
            seed: of all draws.

        Returns:
            (draws, T) float64.

        Raises:
            ValueError: an argument that is not as said.
        """
        t = torch.as_tensor(times, dtype=torch.float64)
        if t.dim() != 1 or not (t >= 0).all():
            raise ValueError(f"times must be numbers >= 0, got {t.tolist()}")
        check_nonnegative("penalty", penalty)
        if draws < 1:
            raise ValueError(f"draws must be >= 1, got {draws}")
        generator, n = torch.Generator().manual_seed(seed), self.examples

        def normal(*size: int) -> Tensor:
            return torch.randn(draws, *size, generator=generator).double()

        groups = ((self.fast, self.fast_signal, 1.0), (self.slow, self.slow_signal, 1.0 if equal_steps else self.scale))
        z = normal(n, self.fast + self.slow)  # inputs in units in which all have variance 1: there, risk is a distance
        beta = torch.cat([signal**0.5 * F.normalize(normal(size), dim=1) for size, signal, _ in groups], 1)[..., None]
        y = z @ beta + self.noise**0.5 * normal(n, 1)
        unit = torch.cat([torch.full((size, 1), scale).double() for size, _, scale in groups])
        u, s, vh = torch.linalg.svd(z * unit.mT, full_matrices=False)
        rate = s[..., None] ** 2 / n + penalty
        weights = vh.mT @ (s[..., None] / n * (u.mT @ y) * -torch.expm1(-rate * t) / rate)
        return (unit * weights - beta).square().sum(1)
