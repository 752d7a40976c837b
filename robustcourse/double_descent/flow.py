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
from functools import partial

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

    @property
    def spread(self) -> Tensor:
        """(d,) standard deviation of each of the d = fast + slow inputs."""
        return torch.tensor([1.0] * self.fast + [self.scale] * self.slow, dtype=torch.float64)

    def sample(self, draws: int = 50, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Data from several tasks, each with another β: x (draws, n, d), y (draws, n) and β (draws, d), all float64.

        Raises:
            ValueError: draws < 1.
        """
        if draws < 1:
            raise ValueError(f"draws must be >= 1, got {draws}")
        normal = partial(torch.randn, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        groups = ((self.fast, self.fast_signal), (self.slow, self.slow_signal))
        beta = torch.cat([signal**0.5 * F.normalize(normal(draws, size), dim=1) for size, signal in groups], 1)
        z = normal(draws, self.examples, self.fast + self.slow)  # inputs, were all of standard deviation 1
        y = (z @ beta[..., None])[..., 0] + self.noise**0.5 * normal(draws, self.examples)
        return z * self.spread, y, beta / self.spread

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
            times: t ≥ 0, of any number; may be infinite.
            penalty: λ ≥ 0. Enough of it removes the bump, and the second descent, too: slow weights never get large.
            equal_steps: take steps 1 / scale² as large for slow weights, as if all inputs had standard deviation 1.
                That removes the bump and keeps what is learned after it.
            draws, seed: as for `sample`.

        Returns:
            (draws, T) float64.

        Raises:
            ValueError: an argument that is not as said.
        """
        t = torch.as_tensor(times, dtype=torch.float64)
        if t.dim() != 1 or not (t >= 0).all():
            raise ValueError(f"times must be a list of numbers >= 0, got {t.tolist()}")
        check_nonnegative("penalty", penalty)
        x, y, beta = self.sample(draws, seed)
        spread = self.spread
        if equal_steps:
            x, beta, spread = x / spread, beta * spread, torch.ones_like(spread)
        u, s, vh = torch.linalg.svd(x, full_matrices=False)
        rate = (s**2 / self.examples + penalty)[..., None]
        gone = -torch.expm1(-rate * t) / rate
        weights = vh.mT @ ((s / self.examples)[..., None] * (u.mT @ y[..., None]) * gone)
        return (spread[:, None] * (weights - beta[..., None])).square().sum(1)
