"""Carlini & Wagner: add the length of the change to what is left of the margin, and minimise the sum by Adam.

The box needs no projection: x' = (tanh w + 1) / 2 is inside for any w. The weight c of the margin is found by bisection:
a large one leads to an error, a small one to a near one.

Source: Carlini & Wagner 2017 (arXiv:1608.04644), the L2 attack without confidence. The first c is our own: twice what a
linear model would need, so that the scale of the logits does not matter.
"""

from __future__ import annotations

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
        threat: an L2 set; its ε is where `early_exit` is content.
        steps: of Adam, for each c, ≥ 1.
        searches: values of c to try, ≥ 1: tenfold until one breaks the point, then halfway between the largest that did
            not and the smallest that did.
        targets: classes to aim at one by one, the likeliest first, ≥ 1; no more than there are wrong classes.
        rate: of Adam, > 0: about how far w moves in a step.
        early_exit: a point stops once it is broken within ε, and the others go on.

    Cost: `steps` × `searches` + 1 forward and backward passes a point and target, fewer with `early_exit`.

    Raises:
        ValueError: the threat is not L2; steps, searches or targets < 1; a rate that is not positive and finite.
    """

    steps: int = 100
    searches: int = 4
    targets: int = 9
    rate: float = 0.1
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
        s = SimpleNamespace(x=x, y=y, x_adv=x, best=x, shortest=x.new_full((len(x),), torch.inf))
        s.targets = likeliest(logits, y, self.targets).T
        standing = Standing(model, s)
        standing.leave(s, misread(logits, y))
        for towards in range(s.targets.shape[1]):
            s.target = s.targets[:, towards]
            s.low, s.c, s.high = torch.zeros_like(s.shortest), self._first(model, s), torch.full_like(s.shortest, torch.inf)
            for _ in range(self.searches):
                if not self._descend(model, s, standing):
                    return standing.close(s)[0]
                s.low, s.high = s.c.where(~s.solved, s.low), s.c.where(s.solved, s.high)
                s.c = torch.where(s.high.isinf(), 10 * s.c, (s.low + s.high) / 2)
        return standing.close(s, "best")[0]

    def _first(self, model: nn.Module, s: SimpleNamespace) -> Tensor:
        """The weight c to begin with, (b,)."""
        _, gain, gradient = slope(model, s.x, lambda logits: margin_targeted(logits, s.y, s.target))
        return -4 * gain / self.threat.dual(passable(s.x, gradient)).clamp_min(1e-12) ** 2

    def _descend(self, model: nn.Module, s: SimpleNamespace, standing: Standing) -> bool:
        """Adam with one c. Notes who is solved, (b,), and the nearest error so far. Returns whether any point is left."""
        s.w, s.solved = torch.atanh((2 * s.x - 1) * INSIDE), torch.zeros_like(s.y, dtype=torch.bool)
        s.mean, s.square = torch.zeros_like(s.x), torch.zeros_like(s.x)
        for step in range(1, self.steps + 1):
            if not len(s.x):
                return False
            s.x_adv = s.x + self.threat.free((s.w.tanh() + 1) / 2 - s.x)
            logits, _, s.gradient = slope(model, s.x_adv, lambda logits: self._lacking(logits, s))
            length, broken = self.threat.distance(s.x, s.x_adv), misread(logits, s.y)
            shorter = broken & (length < s.shortest)
            s.solved, s.shortest = s.solved | broken, length.where(shorter, s.shortest)
            s.best = s.x_adv.where(per_example(shorter, s.x), s.best)
            # The sum's gradient in w, by the chain rule from x' to w.
            s.down = (2 * (s.x_adv - s.x) + per_example(s.c, s.x) * s.gradient) * (1 - s.w.tanh() ** 2) / 2
            s.mean, s.square = 0.9 * s.mean + 0.1 * s.down, 0.999 * s.square + 0.001 * s.down**2
            s.w = s.w - self.rate * s.mean / (1 - 0.9**step) / ((s.square / (1 - 0.999**step)).sqrt() + 1e-8)
            if self.early_exit:
                standing.leave(s, broken & (length <= self.threat.eps))
        check_gradient(s.gradient)
        return len(s.x) > 0

    def _lacking(self, logits: Tensor, s: SimpleNamespace) -> Tensor:
        return (-margin_targeted(logits, s.y, s.target)).clamp_min(0)
