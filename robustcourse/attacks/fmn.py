"""Minimum-norm attacks: not whether a point breaks within ε, but how far the nearest break is.

One search answers for every ε. The fast minimum-norm attack walks on a ball whose radius breathes: it shrinks while the
point is misread, and grows while it is not.

Source: Pintor, Roli, Brendel & Biggio 2021 (arXiv:2102.12827).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from robustcourse.attacks.attack import Attack, Standing, check_gradient, likeliest, misread, query, slope
from robustcourse.attacks.losses import margin_targeted
from robustcourse.threats import L2, passable, per_example


@dataclass(frozen=True)
class MinimumNorm(Attack):
    """An attack that looks for the smallest change, in the norm of its threat, whatever its ε."""

    def closest(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The nearest misread point to each x that was found, (B, ...), however far; x itself where there was none.

        The arguments and errors are those of a call, which brings the same points into the threat set.
        """
        return self.guarded(self.shrink, model, x, y, generator)

    @abstractmethod
    def shrink(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The search itself, as `closest` describes it."""

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        return self.threat.project(x, self.shrink(model, x, y, generator))


@dataclass(frozen=True)
class FMN(MinimumNorm):
    """The fast minimum-norm attack, for L∞, L2 and L1.

    Args:
        threat: its norm is made small; its ε is where `early_exit` is content.
        steps: gradient steps of a search, ≥ 1.
        targets: searches, one towards each of the likeliest wrong classes, ≥ 1; no more than there are wrong classes.
        early_exit: a point stops once it is broken within ε, and the others go on.

    Cost: `steps` + 1 forward and backward passes a point and target, fewer with `early_exit`.

    Raises:
        ValueError: steps or targets < 1.
    """

    steps: int = 50
    targets: int = 9
    early_exit: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.targets < 1:
            raise ValueError(f"steps and targets must be >= 1, got steps={self.steps}, targets={self.targets}")

    def shrink(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        logits = query(model, x, y)
        best, left = x.clone(), (~misread(logits, y)).nonzero().squeeze(1)
        shortest = x.new_full((len(x),), torch.inf)
        for target in likeliest(logits, y, self.targets):
            if not len(left):
                break
            found, length = self._walk(model, x[left], y[left], target[left])
            better = length < shortest[left]
            best[left] = found.where(per_example(better, found), best[left])
            shortest[left] = length.where(better, shortest[left])
            if self.early_exit:
                left = left[shortest[left] > self.threat.eps]
        return best

    def _walk(self, model: nn.Module, x: Tensor, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """One search for every point. Returns the nearest break, (B, ...), and how far it is, (B,); ∞ if none."""
        threat, straight = self.threat, L2(1, self.threat.mask)
        s = SimpleNamespace(x=x, y=y, target=target, x_adv=x.clone(), best=x.clone())
        s.radius = s.shortest = x.new_full((len(x),), torch.inf)  # of the ball to walk on; to the breaks found so far
        standing = Standing(model, s)
        for taken in range(self.steps + 1):
            logits, gain, gradient = slope(model, s.x_adv, lambda logits: margin_targeted(logits, s.y, s.target))
            s.gradient = passable(s.x_adv, gradient)
            s.lack = 400 * torch.finfo(x.dtype).eps * logits.abs().amax(1) - gain  # more than rounding
            s.length, s.fell = threat.distance(s.x, s.x_adv), misread(logits, s.y)
            shorter = s.fell & (s.length < s.shortest)
            s.shortest = s.length.where(shorter, s.shortest)
            s.best = s.x_adv.where(per_example(shorter, s.x), s.best)
            if taken == self.steps or (self.early_exit and not standing.leave(s, s.shortest <= threat.eps)):
                break
            fading = (1 + math.cos(math.pi * taken / self.steps)) / 2
            stride, breath = 0.01 + 0.99 * fading, 0.001 + 0.049 * fading
            # Before the first break, the radius is a little beyond where a linear model would break.
            reach = s.length + s.lack / threat.dual(s.gradient).clamp_min(torch.finfo(x.dtype).tiny)
            grown = torch.where(s.shortest.isinf(), reach, s.radius) * (1 + breath)
            s.radius = torch.where(s.fell, torch.minimum(s.radius * (1 - breath), s.shortest), grown)
            moved = s.x_adv + stride * straight.steepest(s.gradient)
            s.x_adv = (s.x + threat.clip(moved - s.x, s.radius)).clamp(0, 1)
        check_gradient(s.gradient)
        best, _ = standing.close(s, "best")
        # A point that reads right must have moved to break: those that did not move found no break.
        length = threat.distance(x, best)
        return best, length.masked_fill(length == 0, torch.inf)
