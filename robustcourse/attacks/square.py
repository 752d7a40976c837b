"""Square attack: change a random window, keep the change if the margin shrinks. It sees logits, and never a gradient.

That makes it the alarm for masked gradients: where it breaks what gradient attacks could not, these were blind.

Source: Andriushchenko, Croce, Flammarion & Hein 2020 (arXiv:1912.00049).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from robustcourse.attacks.attack import Attack, Standing, misread, query
from robustcourse.attacks.losses import margin_loss
from robustcourse.threats import Linf, per_example

# After these shares of all queries, the windows are halved.
HALVED = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Square(Attack):
    """The square attack, for L∞, L2 and L1, on images, signals and rows of a table.

    In L∞ each channel of a window moves to +ε or −ε. In L2 and L1 one window gives its part of the change to another,
    as a bump with two sides of opposite sign. Windows differ from example to example, and bumps are plain pyramids.

    Args:
        threat: the set to search.
        queries: forward passes, ≥ 2; a point that breaks asks no more.
        share: of the pixels in the first windows, in (0, 1]; halved nine times on the way.

    Returns the point of smallest margin. Cost: at most `queries` forward passes a point, and no backward pass.

    Raises:
        ValueError: queries < 2, or a share out of range.
    """

    queries: int = 5000
    share: float = 0.8

    def __post_init__(self) -> None:
        if self.queries < 2:
            raise ValueError(f"queries must be >= 2, got {self.queries}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1], got {self.share}")

    @torch.no_grad()
    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        batch, channels, *between, width = _grid(x).shape
        stripes = _signs((batch, channels, *[1] * len(between), width), x, generator).expand_as(_grid(x))
        s = SimpleNamespace(x=x, y=y, x_adv=self._fill(x, stripes.reshape(x.shape)))
        logits = query(model, s.x_adv, y)
        s.value, s.fell = margin_loss(logits, y), misread(logits, y)
        standing = Standing(model, s)
        for asked in range(1, self.queries):
            if not standing.leave(s, s.fell):
                break
            share = self.share / 2 ** sum(asked / self.queries > when for when in HALVED)
            moved = self._propose(s, share, asked, generator)
            logits = model(moved)
            s.fell, value = misread(logits, s.y), margin_loss(logits, s.y)
            better = s.fell | (value > s.value)
            s.value = value.where(better, s.value)
            s.x_adv = moved.where(per_example(better, moved), s.x_adv)
        return standing.close(s)[0]

    def _propose(self, s: SimpleNamespace, share: float, asked: int, generator: torch.Generator) -> Tensor:
        """The best points so far, each with another window changed."""
        delta = _grid(s.x_adv - s.x)
        here, bump = _window(delta, share, asked, generator)
        signs = _signs((*delta.shape[:2], *[1] * (delta.dim() - 2)), delta, generator)
        if isinstance(self.threat, Linf):
            delta = torch.where(here, self.threat.eps * signs, delta)
            return self.threat.project(s.x, s.x + delta.reshape(s.x.shape))
        # A bump on what stands here already, with the length of both windows and what the box took elsewhere.
        there, _ = _window(delta, share, asked, generator)
        spare = self.threat.eps**2 - _length(delta.where(~(here | there), 0)) ** 2
        new = signs * _unit(bump) + _unit(delta.where(here, 0))
        new = _unit(new) * per_example(spare.clamp_min(0).sqrt(), new)
        return self._fill(s.x, torch.where(here, new, delta.where(~there, 0)).reshape(s.x.shape))

    def _fill(self, x: Tensor, delta: Tensor) -> Tensor:
        """x + δ, with δ made as long as the threat allows."""
        delta = self.threat.free(delta)
        scale = self.threat.eps / self.threat.norm(delta).clamp_min(torch.finfo(x.dtype).tiny)
        return self.threat.project(x, x + delta * per_example(scale, delta))


def _grid(x: Tensor) -> Tensor:
    """(B, channels, sides ...): a row of a table is a signal of one channel."""
    return x[:, None] if x.dim() == 2 else x


def _window(delta: Tensor, share: float, asked: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random window with about this share of the pixels, another for each example, (B, 1, sides ...).

    Returns where it is, and a bump in it that is positive on one side and negative on the other.
    """
    batch, _, *sides = delta.shape
    width = max(1, round((share * math.prod(sides)) ** (1 / len(sides))))
    inside, bump = torch.ones(1, dtype=torch.bool, device=delta.device), delta.new_ones(1)
    for axis, side in enumerate(sides):
        reach = min(width, side)
        start = (torch.rand(batch, 1, generator=generator, device=delta.device) * (side - reach + 1)).floor()
        at = torch.arange(side, device=delta.device) - start
        shape = (batch, 1, *(side if k == axis else 1 for k in range(len(sides))))
        inside = inside & ((at >= 0) & (at < reach)).view(shape)
        ramp = torch.minimum(at + 1, reach - at).clamp_min(0)
        two_sided = axis == asked % len(sides)
        bump = bump * (ramp.where(at < reach / 2, -ramp) if two_sided else ramp).view(shape)
    return inside, bump.to(delta.dtype).expand_as(delta)


def _signs(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    return 2 * torch.randint(2, shape, generator=generator, device=like.device).to(like.dtype) - 1


def _length(delta: Tensor) -> Tensor:
    return delta.flatten(1).norm(dim=1)


def _unit(delta: Tensor) -> Tensor:
    return delta / per_example(_length(delta).clamp_min(torch.finfo(delta.dtype).tiny), delta)
