"""Carlini & Wagner: add the length of the change to what the margin still lacks, and minimise the sum by Adam.

The box needs no projection: x' = (tanh w + 1) / 2 is inside for any w. The weight c of the margin is found by
bisection: a large one leads to an error, a small one to a near one.

Source: Carlini & Wagner 2017 (arXiv:1608.04644), the L2 attack without confidence. Here the first c is twice what a
linear model would need, so that neither the scale of the logits nor a user's guess matters.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from robustcourse.attacks.attack import Standing, check_gradient, likeliest, misread, query, slope
from robustcourse.attacks.fmn import MinimumNorm
from robustcourse.attacks.losses import margin_targeted
from robustcourse.threats import L2, passable, per_example

INSIDE = 0.999  # of the way from grey to black or white, where w would be infinite


@dataclass(frozen=True)
class CarliniWagner(MinimumNorm):
    """Minimises ‖x' − x‖² + c · max(right logit − target's logit, 0) over w, for L2.

    Args:
        threat: an L2 set; its norm is made small, its ε is where `early_exit` is content.
        steps: of Adam, for each c, ≥ 1.
        searches: values of c, ≥ 1: tenfold until one breaks the point, then halfway between the largest that did not
            and the smallest that did.
        targets: classes to aim at, one after the other, the likeliest first, ≥ 1; no more than there are wrong classes.
        rate: of Adam, > 0: about how far w moves in a step.
        early_exit: a point stops once it is broken within ε, and the others go on.

    Cost: `steps` × `searches` + 1 forward and backward passes a point and target, fewer with `early_exit`.

    Raises:
        ValueError: the threat is not L2; steps, searches or targets < 1; a rate that is not positive and finite.
    """

    steps: int = 100
    searches: int = 3
    targets: int = 9
    rate: float = 0.05
    early_exit: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.threat, L2):
            raise ValueError(f"threat must be L2, whose norm this attack minimises, got {self.threat}")
        for name in ("steps", "searches", "targets"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not 0 < self.rate < float("inf"):
            raise ValueError(f"rate must be a finite number > 0, got {self.rate}")

    def shrink(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        logits = query(model, x, y)
        s = SimpleNamespace(x=x, y=y, x_adv=x, best=x, targets=likeliest(logits, y, self.targets).T)
        s.shortest = x.new_full((len(x),), torch.inf)  # of the breaks found so far
        standing = Standing(model, s)
        standing.leave(s, misread(logits, y))
        for number, search in itertools.product(range(s.targets.shape[1]), range(self.searches)):
            if not len(s.x):
                break
            if search == 0:
                s.target = s.targets[:, number]
                s.c = self._first(model, s)
                s.low, s.high = torch.zeros_like(s.c), torch.full_like(s.c, torch.inf)
            self._descend(model, s, standing)
            s.low, s.high = s.c.where(~s.solved, s.low), s.c.where(s.solved, s.high)
            s.c = torch.where(s.high.isinf(), 10 * s.c, (s.low + s.high) / 2)
        return standing.close(s, "best")[0]

    def _first(self, model: nn.Module, s: SimpleNamespace) -> Tensor:
        """Twice the least c that would lead a linear model to an error, (b,)."""
        _, gain, gradient = slope(model, s.x, lambda logits: margin_targeted(logits, s.y, s.target))
        rate = self.threat.dual(passable(s.x, gradient)).clamp_min(1e-25)
        away = (-gain / rate).clamp(1e-6, s.x[0].numel())  # from the boundary; finite also on flat ground
        return 4 * away / rate

    def _descend(self, model: nn.Module, s: SimpleNamespace, standing: Standing) -> None:
        """Adam with one c. Notes who was broken by it, (b,), and the nearest break so far."""
        s.w, s.solved = torch.atanh(INSIDE * (2 * s.x - 1)), torch.zeros_like(s.y, dtype=torch.bool)
        s.mean = s.square = torch.zeros_like(s.x)
        for step in range(1, self.steps + 1):
            s.squashed = s.w.tanh()
            s.x_adv = s.x + self.threat.free((s.squashed + 1) / 2 - s.x)
            # The slope of the gain while there is a lack of it, zero afterwards.
            logits, _, s.gradient = slope(
                model, s.x_adv, lambda logits: margin_targeted(logits, s.y, s.target).clamp_max(0)
            )
            s.fell, s.length = misread(logits, s.y), self.threat.distance(s.x, s.x_adv)
            shorter = s.fell & (s.length < s.shortest)
            s.solved, s.shortest = s.solved | s.fell, s.length.where(shorter, s.shortest)
            s.best = s.x_adv.where(per_example(shorter, s.x), s.best)
            if self.early_exit and not standing.leave(s, s.fell & (s.length <= self.threat.eps)):
                return
            # The slope of the sum in w, by the chain rule.
            down = (2 * (s.x_adv - s.x) - per_example(s.c, s.x) * s.gradient) * (1 - s.squashed**2) / 2
            s.mean, s.square = 0.9 * s.mean + 0.1 * down, 0.999 * s.square + 0.001 * down**2
            s.w = s.w - self.rate * s.mean / (1 - 0.9**step) / ((s.square / (1 - 0.999**step)).sqrt() + 1e-8)
        check_gradient(s.gradient)
