"""Weight averaging: follow the weights, and keep their mean. It is smoother than the last step, and overfits less.

Sources: SWA, Izmailov et al. 2018 (arXiv:1803.05407); an exponential average in adversarial training, Gowal et al. 2020
(arXiv:2010.03593).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_swa_multi_avg_fn

Tensors = tuple[Tensor, ...] | list[Tensor]


@dataclass(frozen=True)
class EMA:
    """Exponential moving average: after each step θ̄ ← τ θ̄ + (1 − τ) θ. Batch statistics are averaged like weights.

    In the n-th step τ is at most n/(9 + n), so that a short run does not end where it began.

    Args:
        decay: τ in (0, 1); the average looks back over about 1/(1 − τ) steps. Raises ValueError elsewhere.
    """

    decay: float = 0.995
    start = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"decay must be in (0, 1), got {self.decay}")

    def of(self, model: nn.Module) -> AveragedModel:
        """A copy of the model for the averages."""
        return AveragedModel(model, multi_avg_fn=self._move, use_buffers=True)

    def _move(self, means: Tensors, weights: Tensors, steps: Tensor | int) -> None:
        if not means[0].is_floating_point():  # a count of batches
            torch._foreach_copy_(means, weights)
        else:
            torch._foreach_lerp_(means, weights, 1 - min(self.decay, (1 + int(steps)) / (10 + int(steps))))


@dataclass(frozen=True)
class SWA:
    """Stochastic weight averaging: the plain mean over all steps from some moment on.

    Args:
        start: the share of training after which the mean begins, in [0, 1). Raises ValueError elsewhere.
    """

    start: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.start < 1:
            raise ValueError(f"start must be in [0, 1), got {self.start}")

    def of(self, model: nn.Module) -> AveragedModel:
        """A copy of the model for the averages."""
        return AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn(), use_buffers=True)
