"""Projected gradient descent: walk uphill on the loss, and step back into the threat set after every step.

One class for every norm: the threat knows which direction is steepest and how to project. The fast gradient sign method
is the same walk with a single full step.

Sources: FGSM, Goodfellow, Shlens & Szegedy 2015 (arXiv:1412.6572); PGD, Madry et al. 2018 (arXiv:1706.06083).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from robustcourse.attacks.attack import Attack, Standing, check_gradient, misread, slope
from robustcourse.attacks.losses import Loss, cross_entropy
from robustcourse.checks import check_labels, check_logits
from robustcourse.threats import Threat


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient descent, for L∞, L2 and L1.

    Args:
        threat: the set to search.
        steps: gradient steps, ≥ 0. Each costs one forward and one backward pass, for the input only.
        step_size: length of a step in the norm of the threat; 2.5 ε / steps if None, enough to cross the ball.
        restarts: walks from different random points, ≥ 1; a point that is already misread is not tried again.
        random_start: begin at a random point of the threat set rather than at x.
        targeted: y holds labels to reach, and the loss is walked downhill.
        loss: (logits, y) to a loss per example.
        early_exit: a point stops where it breaks, and the others go on. Evaluation switches this on by itself; training
            wants the whole walk.
        bf16: compute logits in half precision. With `early_exit`, each break is confirmed in full precision.

    Returns the last point of each walk (of the last one tried, with restarts). Cost: `steps` × `restarts` forward and
    backward passes a point, fewer with `early_exit`, and one forward pass between restarts.

    Raises:
        ValueError: steps < 0, restarts < 1, a negative or infinite step size, or restarts that would all start at x.
    """

    steps: int = 40
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = True
    targeted: bool = False
    loss: Loss = cross_entropy
    early_exit: bool = False
    bf16: bool = False

    def __post_init__(self) -> None:
        if self.steps < 0 or self.restarts < 1:
            raise ValueError(f"steps must be >= 0 and restarts >= 1, got {self.steps} and {self.restarts}")
        if self.step_size is not None and not 0 <= self.step_size < float("inf"):
            raise ValueError(f"step_size must be a finite number >= 0 or None, got {self.step_size}")
        if self.restarts > 1 and not self.random_start:
            raise ValueError("restarts > 1 needs random_start=True; from x itself each walk would be the same")

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        x_adv = self._walk(model, x, y, generator)
        for _ in range(self.restarts - 1):
            with torch.no_grad():
                unsolved = (~self._solved(model(x_adv), y)).nonzero().squeeze(1)
            if not len(unsolved):
                break
            x_adv[unsolved] = self._walk(model, x[unsolved], y[unsolved], generator)
        return x_adv

    def _walk(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        step = 2.5 * self.threat.eps / max(self.steps, 1) if self.step_size is None else self.step_size
        s = SimpleNamespace(x=x, y=y, x_adv=self.threat.random(x, generator) if self.random_start else x.clone())
        standing = Standing(model, s, self.bf16, self._solved) if self.early_exit else None
        for taken in range(self.steps):
            loss = partial(self._loss, y=s.y, first=not taken)
            logits, _, s.gradient = slope(model, s.x_adv, loss, self.bf16)
            if standing and not standing.leave(s, self._solved(logits, s.y)):
                break
            ascent = self.threat.ascent(s.x_adv, s.gradient)
            s.x_adv = self.threat.project(s.x, s.x_adv.add(ascent, alpha=step))
        if self.steps:
            check_gradient(s.gradient)
        return standing.close(s)[0] if standing else s.x_adv

    def _loss(self, logits: Tensor, y: Tensor, first: bool) -> Tensor:
        if first:  # one look is enough, and each makes a GPU wait
            check_logits(logits, y)
            check_labels(y, y, classes=logits.shape[1])
        return -self.loss(logits, y) if self.targeted else self.loss(logits, y)

    def _solved(self, logits: Tensor, y: Tensor) -> Tensor:
        return logits.argmax(1) == y if self.targeted else misread(logits, y)


def FGSM(threat: Threat, targeted: bool = False) -> PGD:
    """The fast gradient sign method: one step of length ε from x; exact for a linear model where no pixel is cut."""
    return PGD(threat, steps=1, step_size=threat.eps, random_start=False, targeted=targeted)
