"""Free adversarial training: one backward pass has two gradients, that of the weights and that of the input. Use both.

Source: Shafahi et al. 2019 (arXiv:1904.12843).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse.threats import Threat


@dataclass(frozen=True)
class Free:
    """Mean cross-entropy at x + δ, where δ takes one step uphill each time the weights take one downhill.

    Every batch is used for `replays` steps, and its last δ is where the next batch begins. Each epoch begins at zero.

    Args:
        threat: the set that δ stays in.
        replays: m ≥ 1, steps on one batch. For the same cost train 1/m of the epochs.
        step_size: of δ; ε if None.

    Cost: one forward and one backward pass a step, `replays` steps a batch.

    Raises:
        ValueError: replays < 1, or a negative or infinite step size.
    """

    threat: Threat
    replays: int = 4
    step_size: float | None = None

    def __post_init__(self) -> None:
        if self.replays < 1:
            raise ValueError(f"replays must be >= 1, got {self.replays}")
        if self.step_size is not None and not 0 <= self.step_size < float("inf"):
            raise ValueError(f"step_size must be a finite number >= 0 or None, got {self.step_size}")

    def at(self, progress: float) -> Replaying:
        """The same method with a δ of its own, for one epoch."""
        return Replaying(self)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The first step of an epoch, where δ is still zero."""
        return Replaying(self)(model, x, y)


class Replaying:
    """Free adversarial training with its δ, which a backward pass moves."""

    def __init__(self, free: Free) -> None:
        self.threat, self.replays = free.threat, free.replays
        self.step = free.threat.eps if free.step_size is None else free.step_size
        self.delta: Tensor | None = None

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if self.delta is None:
            self.delta = torch.zeros_like(x)
        delta = self.delta[: len(x)]  # the last batch of an epoch may be smaller
        x_adv = (x + delta).clamp(0, 1).requires_grad_(True)

        def climb(gradient: Tensor) -> None:
            moved = x_adv.detach().add(self.threat.ascent(x_adv.detach(), gradient), alpha=self.step)
            delta.copy_(self.threat.project(x, moved) - x)

        x_adv.register_hook(climb)
        return F.cross_entropy(model(x_adv), y)
