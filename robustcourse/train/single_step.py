"""Robustness for the price of two: one step of attack from a random place.

One step from x itself is learned by heart, and then the loss bends between x and that step ("catastrophic
overfitting"). A random start makes the place of the step hard to foresee.

Sources: FGSM-RS, Wong, Rice & Kolter 2020 (arXiv:2001.03994); N-FGSM, de Jorge et al. 2022 (arXiv:2202.01181).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import Tensor, nn

from robustcourse.attacks import PGD, cross_entropy
from robustcourse.attacks.attack import slope
from robustcourse.checks import check_nonnegative, evaluating, frozen
from robustcourse.threats import Threat
from robustcourse.train.objectives import AdversarialTraining, Robust, fresh


def fast(threat: Threat) -> AdversarialTraining:
    """FGSM-RS: a random start in the ball, and one step of 1.25 ε. Cost: 2 forward and backward passes a step."""
    return AdversarialTraining(PGD(threat, steps=1, step_size=1.25 * threat.eps))


@dataclass(frozen=True)
class NFGSM(Robust):
    """Noise wider than the ball, a full step from there, and no way back into the ball: up to (1 + `noise`) ε from x.

    Args:
        threat: its ε is the length of the step.
        noise: radius of the noise in units of ε, ≥ 0; the paper's k = 2.

    Cost: 2 forward and backward passes a step.

    Raises:
        ValueError: the noise is negative, or its ball wider than the threat allows.
    """

    threat: Threat
    noise: float = 2.0

    def __post_init__(self) -> None:
        check_nonnegative("noise", self.noise)
        dataclasses.replace(self.threat, eps=self.noise * self.threat.eps)

    def worst(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        start = dataclasses.replace(self.threat, eps=self.noise * self.threat.eps).random(x, fresh(x))
        with evaluating(model), frozen(model):
            _, _, gradient = slope(model, start, lambda logits: cross_entropy(logits, y))
        return start.add(self.threat.ascent(start, gradient), alpha=self.threat.eps).clamp(0, 1)
