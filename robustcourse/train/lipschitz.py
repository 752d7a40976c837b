"""Training for a Lipschitz certificate: the loss sees the margins that remain after the worst change.

Source: Lipschitz-margin training, Tsuzuku, Sato & Sugiyama 2018 (arXiv:1802.04034).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse.certify.stretch import lipschitz
from robustcourse.checks import evaluating
from robustcourse.threats import Threat


@dataclass(frozen=True)
class LipschitzMargin:
    """Mean cross-entropy of f_k + L_k ε for the wrong classes and f_y for the right one, over a temperature.

    Args:
        threat: what margins are to survive; with ε = 0 it is the plain cross-entropy, which is enough where L is fixed.
        temperature: T > 0. Where L is 1, logits cannot grow, and T says how large a margin has to be to be let alone.

    Cost: one forward and one backward pass a step; where ε > 0, also the norms of all layers (`lipschitz`).
    There the network is in evaluation mode.

    Raises:
        ValueError: temperature is not a finite number > 0.
    """

    threat: Threat
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be a finite number > 0, got {self.temperature}")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if self.threat.eps == 0:
            return F.cross_entropy(model(x) / self.temperature, y)
        with evaluating(model):
            return F.cross_entropy(-lipschitz(model, x, y, self.threat) / self.temperature, y)
