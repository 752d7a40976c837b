"""DeepFool: pretend that the model is linear, and step to its nearest decision boundary, until it errs.

For a linear model the pretence is true, and one step is the shortest way there is. For others it is a short way after
few steps, though seldom the shortest.

Source: Moosavi-Dezfooli, Fawzi & Frossard 2016 (arXiv:1511.04599). Here a step spends nothing on pixels that are
already black or white, which saves most of the steps; the breaks are a few per cent farther for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from robustcourse.attacks.attack import Standing, check_gradient, likeliest, misread, query, slope
from robustcourse.attacks.fmn import MinimumNorm
from robustcourse.attacks.losses import margin_loss
from robustcourse.threats import passable, per_example


@dataclass(frozen=True)
class DeepFool(MinimumNorm):
    """DeepFool, for L∞, L2 and L1.

    Args:
        threat: its norm is made small, whatever its ε.
        steps: linear pretences, ≥ 1; a point stops at the first one that leads to an error.
        overshoot: how much farther than the boundary to go, > 0: on the boundary itself nothing is misread.
        candidates: wrong classes to consider, the likeliest at x, ≥ 1; no more than there are.

    Cost: at most 2 × `steps` + 3 forward and `steps` × `candidates` + 1 backward passes a point; most points stop after
    a few steps.

    Raises:
        ValueError: steps or candidates < 1, or an overshoot that is not positive and finite.
    """

    steps: int = 50
    overshoot: float = 0.02
    candidates: int = 10

    def __post_init__(self) -> None:
        for name in ("steps", "candidates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not 0 < self.overshoot < float("inf"):
            raise ValueError(f"overshoot must be a finite number > 0, got {self.overshoot}")

    def shrink(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        logits = query(model, x, y)
        slope(model, x, lambda logits: margin_loss(logits, y))  # says so where no gradient reaches x
        s = SimpleNamespace(x=x, y=y, others=likeliest(logits, y, self.candidates).T, x_adv=x, walked=x)
        standing = Standing(model, s)
        for taken in range(self.steps + 1):
            if not standing.leave(s, misread(query(model, s.x_adv, s.y), s.y)) or taken == self.steps:
                break
            s.walked = (s.walked + self._step(model, s)).clamp(0, 1)
            s.x_adv = (s.x + (1 + self.overshoot) * (s.walked - s.x)).clamp(0, 1)
        return standing.close(s, "x")[0]

    def _step(self, model: nn.Module, s: SimpleNamespace) -> Tensor:
        """The shortest step after which a linear model with these logits and slopes would err, (b, ...)."""
        x = s.x_adv.detach().requires_grad_(True)
        logits = model(x)
        gains = (logits.gather(1, s.others) - logits.gather(1, s.y[:, None])).T
        slopes = torch.stack([torch.autograd.grad(gain.sum(), x, retain_graph=True)[0] for gain in gains])
        check_gradient(slopes)
        slopes = passable(s.x_adv, slopes)
        # Farther than what `misread` takes for rounding.
        gap = gains.detach().abs() + 400 * torch.finfo(x.dtype).eps * logits.detach().abs().amax(1)
        rate = self.threat.dual(slopes.flatten(0, 1)).view_as(gap).clamp_min(torch.finfo(x.dtype).tiny)
        away = (gap / rate).clamp_max(x[0].numel())  # finite also on flat ground
        nearest, each = away.argmin(0), torch.arange(len(x), device=x.device)
        return per_example(away[nearest, each], x) * self.threat.steepest(slopes[nearest, each])
