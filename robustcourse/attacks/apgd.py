"""Auto-PGD: projected gradient descent that finds its own step size.

The walk starts with long steps and momentum. At checkpoints it asks whether it still gets anywhere; where it does not,
the step is halved and the walk goes back to the best point so far.

Source: Croce & Hein 2020 (arXiv:2003.01690).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from robustcourse.attacks.attack import Attack, Standing, check_gradient, likeliest, misread, query, slope
from robustcourse.attacks.losses import cross_entropy
from robustcourse.threats import per_example


@dataclass(frozen=True)
class APGD(Attack):
    """Auto-PGD, for L∞, L2 and L1.

    Args:
        threat: the set to search.
        steps: gradient steps of a walk, ≥ 1.
        loss: (logits, y) to a loss per example, as `cross_entropy`, `dlr` or `margin_loss`; or (logits, y, target), as
            `dlr_targeted` or `margin_targeted`, to walk once towards each of the likeliest wrong classes.
        targets: how many of those, ≥ 1; no more than there are wrong classes.
        restarts: walks from different random points, ≥ 1, on the points that still stand.
        early_exit, bf16: as for PGD.

    Returns the point of largest loss of each walk (of the last one tried), or with `early_exit` the one that breaks it.
    Cost: `steps` + 1 forward and backward passes a point and walk, fewer with `early_exit`; without, one more forward.

    Raises:
        ValueError: steps, targets or restarts < 1.
    """

    steps: int = 100
    loss: Callable[..., Tensor] = cross_entropy
    targets: int = 9
    restarts: int = 1
    early_exit: bool = False
    bf16: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "targets", "restarts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        logits = query(model, x, y)
        # Without a target, there is one walk, towards no class in particular.
        targets = likeliest(logits, y, self.targets) if self._targeted else y[None]
        x_adv, left = x.clone(), torch.arange(len(x), device=x.device)
        for target in targets.repeat(self.restarts, 1):
            x_adv[left], fell = self._walk(model, x[left], y[left], target[left], generator)
            left = left[~fell]
            if not len(left):
                break
        return x_adv

    def _walk(
        self, model: nn.Module, x: Tensor, y: Tensor, target: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """One walk of every point. Returns where it led, (B, ...), and who is misread there, (B,)."""
        threat = self.threat
        start = threat.draw(x.shape, generator, x.dtype)
        length = threat.norm(start).clamp_min(torch.finfo(x.dtype).tiny)
        s = SimpleNamespace(x=x, y=y, target=target)
        s.x_adv = s.previous = (x + start * per_example(threat.eps / length, x)).clamp(0, 1)  # on the ball's surface
        s.step = x.new_full((len(x),), 2 * threat.eps)
        s.last, s.best = x.new_full((len(x),), torch.inf), x.new_full((len(x),), -torch.inf)
        s.best_x, s.best_gradient = x, x
        s.rises, s.halved, s.best_before = torch.zeros_like(y), torch.ones_like(y, dtype=torch.bool), s.best
        standing = Standing(model, s, self.bf16)
        checkpoints, since = _checkpoints(self.steps), 0
        for taken in range(self.steps + 1):
            logits, s.value, s.gradient = slope(model, s.x_adv, lambda logits: self._loss(logits, s), self.bf16)
            if self.early_exit and not standing.leave(s, misread(logits, s.y)):
                break
            better = s.value > s.best
            s.best = s.value.where(better, s.best)
            s.best_x = s.x_adv.where(per_example(better, s.x), s.best_x)
            s.best_gradient = s.gradient.where(per_example(better, s.x), s.best_gradient)
            s.rises, s.last = s.rises + (s.value > s.last), s.value
            if taken == self.steps:
                break
            if taken in checkpoints:
                # Too few steps went up, or nothing was gained although the step was not halved last time.
                stuck = (s.rises <= 0.75 * (taken - since)) | (~s.halved & (s.best_before >= s.best))
                s.step = torch.where(stuck, s.step / 2, s.step)
                s.x_adv = s.best_x.where(per_example(stuck, s.x), s.x_adv)
                s.gradient = s.best_gradient.where(per_example(stuck, s.x), s.gradient)
                s.halved, s.best_before, s.rises, since = stuck, s.best, torch.zeros_like(s.rises), taken
            ahead = threat.project(s.x, s.x_adv + per_example(s.step, s.x) * threat.ascent(s.x_adv, s.gradient))
            momentum = 0.25 if taken else 0.0
            moved = s.x_adv + (1 - momentum) * (ahead - s.x_adv) + momentum * (s.x_adv - s.previous)
            s.previous, s.x_adv = s.x_adv, threat.project(s.x, moved)
        check_gradient(s.gradient)
        if self.early_exit:
            return standing.close(s, "best_x")
        return s.best_x, misread(query(model, s.best_x, y), y)

    @property
    def _targeted(self) -> bool:
        needed = [p for p in inspect.signature(self.loss).parameters.values() if p.default is p.empty]
        return len(needed) == 3

    def _loss(self, logits: Tensor, s: SimpleNamespace) -> Tensor:
        return self.loss(logits, s.y, s.target) if self._targeted else self.loss(logits, s.y)


def _checkpoints(steps: int) -> set[int]:
    """After which steps to look back: intervals of 22 % of all steps at first, each 3 % shorter, at least 6 %."""
    length, at, found = 0.22, 0.22, set()
    while at < 1:
        found.add(math.ceil(round(at * steps, 6)))  # 41, where floating point says 41.000000000000004
        length = max(length - 0.03, 0.06)
        at += length
    return found
