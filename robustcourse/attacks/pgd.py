"""Projected gradient descent: walk uphill on the loss, and step back into the threat set after every step.

One class for every norm: the threat knows which direction is steepest and how to project. The fast gradient sign method
is the same walk with a single full step.

Sources: FGSM, Goodfellow, Shlens & Szegedy 2015 (arXiv:1412.6572); PGD, Madry et al. 2018 (arXiv:1706.06083).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse.checks import check_images, check_labels, check_logits, check_model
from robustcourse.threats import Threat


class Attack(Protocol):
    """What every attack can do. It keeps no model, and changes neither the model nor the global random state."""

    @property
    def threat(self) -> Threat:
        """The set that the attack searches."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Inputs in the threat set around x, as bad for the model as the attack can find."""


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """−log of the probability of the label, for each example: (B, classes), (B,) to (B,)."""
    return F.cross_entropy(logits, y, reduction="none")


@dataclass(frozen=True)
class PGD:
    """Projected gradient descent.

    Args:
        threat: the set to search.
        steps: gradient steps, ≥ 1. Each costs one forward and one backward pass, for the input only.
        step_size: length of a step in the norm of the threat; 2.5 ε / steps if None, enough to cross the ball.
        restarts: walks from different random points, ≥ 1; a point that is already misread is not tried again.
        random_start: begin at a random point of the threat set rather than at x.
        targeted: y holds labels to reach, and the loss is walked downhill.
        loss: (logits, y) to a loss per example.

    Raises:
        ValueError: steps or restarts < 1, a negative or infinite step size, or restarts that would all start at x.
    """

    threat: Threat
    steps: int = 40
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = True
    targeted: bool = False
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1:
            raise ValueError(f"steps and restarts must be >= 1, got steps={self.steps}, restarts={self.restarts}")
        if self.step_size is not None and not 0 <= self.step_size < float("inf"):
            raise ValueError(f"step_size must be a finite number >= 0 or None, got {self.step_size}")
        if self.restarts > 1 and not self.random_start:
            raise ValueError("restarts > 1 needs random_start=True; from x itself each walk would be the same")

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Search the threat set around every example.

        Args:
            model: in evaluation mode. Its weights, their gradients and its mode stay as they are.
            x: (B, ...) float in [0, 1].
            y: (B,) int64: true labels, or targets if `targeted`.
            generator: source of the random starts, on the device of x; a fresh one with seed 0 if None. The result
                depends on it and the arguments alone, and the global random state is left alone.

        Returns:
            (B, ...) in the threat set around x, the last point of the walk (of the last one tried, with restarts).

        Raises:
            TypeError, ValueError: a wrong input, as `robustcourse.checks` says.
            FloatingPointError: the gradient of the loss has NaN or infinite values.
        """
        check_model(model)
        check_images(x)
        check_labels(y, x)
        generator = generator or torch.Generator(x.device).manual_seed(0)
        x_adv = self._walk(model, x.detach(), y, generator)
        for _ in range(self.restarts - 1):
            with torch.no_grad():
                hit = model(x_adv).argmax(1) == y
            unsolved = (~hit if self.targeted else hit).nonzero().squeeze(1)
            if not len(unsolved):
                break
            x_adv[unsolved] = self._walk(model, x[unsolved].detach(), y[unsolved], generator)
        return x_adv

    @torch.inference_mode(False)
    @torch.enable_grad()  # also where the caller evaluates under no_grad or inference_mode
    def _walk(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        step = 2.5 * self.threat.eps / self.steps if self.step_size is None else self.step_size
        step = -step if self.targeted else step
        y = y.clone()  # labels made under inference_mode cannot be kept for the backward pass, their copy can
        x_adv = self.threat.random(x, generator) if self.random_start else x.clone()
        for taken in range(self.steps):
            logits = model(x_adv.requires_grad_(True))
            if not taken:  # one look is enough, and each makes a GPU wait
                check_logits(logits, x)
                check_labels(y, x, classes=logits.shape[1])
            # For the input alone: faster than loss.backward(), and the weights' gradients stay untouched.
            (gradient,) = torch.autograd.grad(self.loss(logits, y).sum(), x_adv)
            x_adv = self.threat.project(x, x_adv.detach() + step * self.threat.steepest(gradient))
        # The sign of NaN is zero: such a point would not move, and look robust. It stays so until the last step.
        if not gradient.isfinite().all():
            raise FloatingPointError("the gradient of the loss has NaN or infinite values; the attack cannot follow it")
        return x_adv


def FGSM(threat: Threat, targeted: bool = False) -> PGD:
    """The fast gradient sign method: one step of length ε from x; exact for a linear model where no pixel is cut."""
    return PGD(threat, steps=1, step_size=threat.eps, random_start=False, targeted=targeted)
