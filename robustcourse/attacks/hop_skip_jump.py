"""HopSkipJump: an attack that sees nothing but the label that the model answers.

It walks along the decision boundary. Of many random nudges some are misread; their mean, less the mean of all, points
away from the boundary: a gradient made of labels. A jump that way and a bisection back towards x lead to a point of the
boundary that is nearer.

Source: Chen, Jordan & Wainwright 2020 (arXiv:1904.02144), for L∞ and L2. Here many images compete for the start, which
gains more than anything else; nudges are larger and bisections coarser, which loses nothing.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from robustcourse.attacks.attack import Standing, query
from robustcourse.attacks.fmn import MinimumNorm
from robustcourse.threats import L2, per_example

NUDGES = 50  # before the first jump; before the n-th, √n times as many
HALVINGS = 5  # lengths to try for a jump


@dataclass(frozen=True)
class HopSkipJump(MinimumNorm):
    """HopSkipJump, for L∞, L2 and L1. It needs labels only: no logits, and no gradient.

    Args:
        threat: its norm is made small; its ε is where `early_exit` is content.
        queries: forward passes a point, ≥ 100: a tenth for the start, the rest for the walk.
        start: (K, ...) images in [0, 1] to start from, such as training images; uniform noise, which is worse, if None.
            Where those that are tried are all read as y, there is no start, and x stays as it is.
        early_exit: a point stops once it is broken within ε, and the others go on.

    Cost: at most `queries` forward passes a point, fewer with `early_exit`; no backward pass.

    Raises:
        TypeError: start is no tensor.
        ValueError: queries < 100; start is empty, out of [0, 1], or of another shape than the inputs.
    """

    queries: int = 5000
    start: Tensor | None = field(default=None, repr=False, compare=False)
    early_exit: bool = False

    def __post_init__(self) -> None:
        if self.queries < 100:
            raise ValueError(f"queries must be >= 100, got {self.queries}")
        if self.start is not None:
            if not isinstance(self.start, Tensor):
                raise TypeError(f"start must be a tensor of images, (K, ...), or None, got {type(self.start).__name__}")
            if not (self.start.numel() and ((self.start >= 0) & (self.start <= 1)).all()):
                raise ValueError(f"start must hold images in [0, 1], at least one, got shape {tuple(self.start.shape)}")

    def shrink(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        if self.start is not None and self.start.shape[1:] != x.shape[1:]:
            raise ValueError(f"start must be images of shape {tuple(x.shape[1:])}, got {tuple(self.start.shape[1:])}")
        closest, left = x.clone(), (~self._errs(model, x, y)).nonzero().squeeze(1)
        if len(left):
            closest[left] = self._begin(model, x[left], y[left], generator)
            left = left[(closest[left] != x[left]).flatten(1).any(1)]
        if len(left):
            closest[left] = self._walk(model, x[left], y[left], closest[left], generator)
        return closest

    def _errs(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """All that this attack ever learns of the model: whether it answers another class, (B,)."""
        return query(model, x, y).argmax(1) != y

    def _begin(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """For each x a misread point that is not too far, (B, ...), or x itself where none was found.

        An image that is misread, once clipped to a ball, is clipped to a smaller one; if not, another takes its place.
        """
        found, radius, image = x, x.new_full((len(x),), torch.inf), self._images(x, generator)
        for _ in range(self.queries // 10):
            clipped = (x + self.threat.clip(image - x, radius)).clamp(0, 1)
            errs = self._errs(model, clipped, y)
            radius = torch.where(errs, 0.9 * self.threat.distance(x, clipped), radius)
            errs = per_example(errs, x)
            found, image = clipped.where(errs, found), image.where(errs, self._images(x, generator))
        return found

    def _images(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.start is None:
            return torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        chosen = torch.randint(len(self.start), (len(x),), generator=generator, device=x.device)
        return self.start[chosen.to(self.start.device)].to(x)

    def _walk(self, model: nn.Module, x: Tensor, y: Tensor, start: Tensor, generator: torch.Generator) -> Tensor:
        threat = self.threat
        bisections = max(10, 6 + math.ceil(math.log2(x[0].numel())))  # far finer than the nudges
        left = self.queries - 1 - self.queries // 10  # queries, for each point
        s = SimpleNamespace(x=x, y=y, x_adv=start, best=start)
        standing = Standing(model, s)
        for hop in itertools.count(1):
            s.x_adv = self._bisect(model, s, bisections)
            s.length, shortest = threat.distance(s.x, s.x_adv), threat.distance(s.x, s.best)
            s.best = s.x_adv.where(per_example(s.length < shortest, s.x), s.best)
            left -= bisections
            nudges = min(round(NUDGES * math.sqrt(hop)), left - HALVINGS - bisections)
            if nudges < 2 or (self.early_exit and not standing.leave(s, s.length <= threat.eps)):
                break
            direction = threat.steepest(self._away(model, s, nudges, generator))
            # The longest jump that lands among errors, of some that are halved; if none does, none.
            jump, s.landed, jumping = s.length / math.sqrt(hop), s.x_adv, torch.ones_like(s.y, dtype=torch.bool)
            for _ in range(HALVINGS):
                ahead = (s.x_adv + per_example(jump, s.x) * direction).clamp(0, 1)
                lands = jumping & self._errs(model, ahead, s.y)
                s.landed, jumping = ahead.where(per_example(lands, s.x), s.landed), jumping & ~lands
                jump = jump / 2
            s.x_adv = s.landed
            left -= nudges + HALVINGS
        return standing.close(s, "best")[0]

    def _away(self, model: nn.Module, s: SimpleNamespace, nudges: int, generator: torch.Generator) -> Tensor:
        """The direction away from the boundary at x_adv, (b, ...): the covariance of nudges and errors."""
        straight = L2(1, self.threat.mask)
        reach = 0.1 / math.sqrt(s.x[0].numel()) * straight.distance(s.x, s.x_adv)
        reach = per_example(reach.clamp_min(torch.finfo(s.x.dtype).eps), s.x)
        both = wrong = share = torch.zeros_like(s.x)
        for _ in range(nudges):
            noise = torch.randn(s.x.shape, generator=generator, device=s.x.device, dtype=s.x.dtype)
            nudged = (s.x_adv + reach * straight.steepest(noise)).clamp(0, 1)
            nudge = (nudged - s.x_adv) / reach  # what the box left of it
            errs = per_example(self._errs(model, nudged, s.y), s.x)
            both, wrong, share = both + nudge, wrong + nudge * errs, share + errs / nudges
        return wrong - share * both

    def _bisect(self, model: nn.Module, s: SimpleNamespace, bisections: int) -> Tensor:
        """The nearest misread point on the way from x_adv to x, which reads right, (b, ...)."""
        length = self.threat.distance(s.x, s.x_adv)
        near, low, high = s.x_adv, torch.zeros_like(length), length
        for _ in range(bisections):
            middle = (low + high) / 2
            there = (s.x + self.threat.clip(s.x_adv - s.x, middle)).clamp(0, 1)
            errs = self._errs(model, there, s.y)
            near = there.where(per_example(errs, s.x), near)
            low, high = middle.where(~errs, low), middle.where(errs, high)
        return near
