"""Threat sets: which changes of an input are allowed.

A threat is a ball of radius ε around each input, cut by the box [0, 1] in which images live. Everything that depends on
the shape of the ball stands here and only here, so one attack serves every norm.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustcourse.checks import check_nonnegative


def per_example(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (B,) to (B, 1, ..., 1), so that it broadcasts over `like` of shape (B, ...)."""
    return values.view(-1, *[1] * (like.dim() - 1))


def passable(x_adv: Tensor, gradient: Tensor) -> Tensor:
    """The gradient without the entries that lead out of the box: a pixel that is black or white cannot move on.

    In L1 and L2 a step has a length to spend on all pixels together, and would waste it on such pixels: on digits half
    of it, since most of the paper is empty.
    """
    room = (x_adv + gradient.sign()).clamp(0, 1) - x_adv
    return gradient * room.abs().ceil()  # ten times as fast as booleans


def dot(points: Tensor, weights: Tensor) -> Tensor:
    """⟨w, p⟩ for points (B, 1, ...) and weights (1 or B, S, ...), as (B, S)."""
    points, weights = points.flatten(2), weights.flatten(2)
    if len(weights) == 1:
        return points[:, 0] @ weights[0].T
    return torch.bmm(weights, points.mT).squeeze(2)


def least_in_box(low: Tensor, high: Tensor, weights: Tensor) -> Tensor:
    """The least of ⟨w, p⟩ for p in a box, (B, ...) twice, and weights (1 or B, S, ...): (B, S)."""
    middle, reach = (low + high)[:, None] * 0.5, (high - low)[:, None] * 0.5
    return dot(middle, weights) - dot(reach, weights.abs())


@dataclass(frozen=True, eq=False)
class Threat(ABC):
    """All δ with ‖δ‖ ≤ ε and x + δ in [0, 1].

    Args:
        eps: the radius ε, in units of the input range: 0.1 is a tenth of the way from nothing to full.
        mask: booleans of the shape of one input, True where it may change; everywhere if None. A frame of a picture, a
            patch, the columns of a table that an attacker can write.

    Raises:
        TypeError: the mask is no tensor of booleans.
        ValueError: ε is negative or not finite; later, where the mask meets inputs of another shape.
    """

    eps: float
    mask: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_nonnegative("eps", self.eps)
        if self.mask is not None and not (isinstance(self.mask, Tensor) and self.mask.dtype == torch.bool):
            got = self.mask.dtype if isinstance(self.mask, Tensor) else type(self.mask).__name__
            raise TypeError(f"mask must be a tensor of booleans, True where the input may change, got {got}")

    def __eq__(self, other: object) -> bool:  # the generated one would ask a tensor for its truth
        if type(self) is not type(other) or not isinstance(other, Threat) or self.eps != other.eps:
            return False
        return self.mask is other.mask or (
            self.mask is not None and other.mask is not None and torch.equal(self.mask, other.mask)
        )

    def __hash__(self) -> int:
        return hash((type(self), self.eps))

    @abstractmethod
    def norm(self, delta: Tensor) -> Tensor:
        """‖δ‖ of each example: (B, ...) to (B,)."""

    @abstractmethod
    def dual(self, gradient: Tensor) -> Tensor:
        """Largest ⟨g, δ⟩ over allowed ‖δ‖ ≤ 1, each example: (B, ...) to (B,). Times ε: what a linear loss can gain."""

    @abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """The δ with ‖δ‖ ≤ 1 that attains `dual`; zero where the gradient is zero. (B, ...) to (B, ...)."""

    @abstractmethod
    def clip(self, delta: Tensor, radius: Tensor | None = None) -> Tensor:
        """The nearest allowed point (in L2) to each δ with ‖δ‖ ≤ ε, or ≤ a radius of its own, (B,). (B, ...) both."""

    @abstractmethod
    def draw(self, shape: torch.Size, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        """δ uniform in the ball, of the given shape (B, ...), on the generator's device."""

    def distance(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """‖x_adv − x‖ of each example: (B, ...) to (B,)."""
        return self.norm(x_adv - x)

    def ascent(self, x_adv: Tensor, gradient: Tensor) -> Tensor:
        """Where to step from x_adv: the steepest direction that the box leaves open."""
        return self.steepest(passable(x_adv, gradient))

    def project(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """Bring x_adv back into the ball around x, then into [0, 1].

        The second step cannot leave the ball: x is in the box, so clamping only moves x_adv towards x. The result is
        within rounding (1e-6) of the ball, and exactly in the box. For L1 and L2 it is inside, but not always nearest.
        """
        return self.clip(x_adv - x).add_(x).clamp_(0, 1)

    def random(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A random point of the threat set around each x: uniform in the ball, then clamped to [0, 1]."""
        return (x + self.draw(x.shape, generator, x.dtype)).clamp(0, 1)

    def hull(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest box around the threat set: its lowest and its highest corner, (B, ...) each."""
        reach = self.free(torch.full_like(x, self.eps))
        return (x - reach).clamp(0, 1), (x + reach).clamp(0, 1)

    def length(self, x: Tensor) -> float:
        """How long a change of x, (B, ...), can be, in L2; or something longer: for certificates that know only L2.

        For L1 and L2 that is ε, and for L∞ ε √d with d pixels that are free to change: the corner of the box.
        """
        return self.eps * math.sqrt(int(self.free(torch.ones_like(x[:1])).sum()))

    def least(self, x: Tensor, weights: Tensor) -> Tensor:
        """The lowest that ⟨w, x'⟩ can be for x' in the threat set around x, or something lower: for certificates.

        Args:
            x: (B, ...).
            weights: (1 or B, S, ...), S linear functions for each example, or the same ones for all.

        Returns:
            (B, S); exact for L∞. For L1 and L2 the better of the ball without [0, 1] and its hull within it.
        """
        dual = self.dual(weights.flatten(0, 1)).unflatten(0, weights.shape[:2])
        return torch.maximum(dot(x[:, None], weights) - self.eps * dual, least_in_box(*self.hull(x), weights))

    def free(self, values: Tensor) -> Tensor:
        """The values (B, ...) where the mask allows a change, zero elsewhere."""
        if self.mask is None:
            return values
        if self.mask.shape != values.shape[1:]:
            raise ValueError(
                f"mask must have the shape of one input, {tuple(values.shape[1:])}, got {tuple(self.mask.shape)}"
            )
        return values.where(self.mask.to(values.device), 0)


@dataclass(frozen=True, eq=False)
class Linf(Threat):
    """Every pixel may move by up to ε, all of them at once: the ball is a cube.

    Raises:
        ValueError: ε is negative, not finite, or above 1, where the whole box is already allowed.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps > 1:
            raise ValueError(f"eps of Linf must be in [0, 1], the range of a pixel, got {self.eps}; 8/255, not 8")

    def norm(self, delta: Tensor) -> Tensor:
        return delta.flatten(1).abs().amax(1)

    def dual(self, gradient: Tensor) -> Tensor:
        return self.free(gradient).flatten(1).abs().sum(1)

    def steepest(self, gradient: Tensor) -> Tensor:
        return self.free(gradient).sign()

    def ascent(self, x_adv: Tensor, gradient: Tensor) -> Tensor:
        return self.steepest(gradient)  # each pixel moves for itself, and one at the border takes nothing from others

    def clip(self, delta: Tensor, radius: Tensor | None = None) -> Tensor:
        if radius is None:
            return self.free(delta).clamp(-self.eps, self.eps)
        radius = per_example(radius, delta)
        return self.free(delta).clamp(-radius, radius)

    def least(self, x: Tensor, weights: Tensor) -> Tensor:
        return least_in_box(*self.hull(x), weights)

    def draw(self, shape: torch.Size, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        delta = torch.empty(shape, device=generator.device, dtype=dtype)
        return self.free(delta.uniform_(-self.eps, self.eps, generator=generator))


@dataclass(frozen=True, eq=False)
class L2(Threat):
    """The straight-line length of the change is at most ε, spread over the pixels as the attacker likes."""

    def norm(self, delta: Tensor) -> Tensor:
        return delta.flatten(1).norm(dim=1)

    def dual(self, gradient: Tensor) -> Tensor:
        return self.norm(self.free(gradient))

    def steepest(self, gradient: Tensor) -> Tensor:
        gradient = self.free(gradient)
        # Summed in high precision, where the squares of very small gradients do not vanish.
        length = torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=_widest(gradient)).to(gradient.dtype)
        return gradient / per_example(length.where(length > 0, 1), gradient)

    def clip(self, delta: Tensor, radius: Tensor | None = None) -> Tensor:
        delta = self.free(delta)
        length = self.norm(delta).clamp_min(torch.finfo(delta.dtype).tiny)
        return delta * per_example(((self.eps if radius is None else radius) / length).clamp_max(1), delta)

    def length(self, x: Tensor) -> float:
        return min(self.eps, super().length(x))

    def draw(self, shape: torch.Size, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        direction = torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)
        dimension = direction[0].numel() if self.mask is None else max(1, int(self.mask.sum()))
        radius = torch.rand(shape[:1], generator=generator, device=generator.device, dtype=dtype) ** (1 / dimension)
        return self.steepest(direction) * per_example(self.eps * radius, direction)


@dataclass(frozen=True, eq=False)
class L1(Threat):
    """The changes of all pixels add up to at most ε: few pixels change, but those may change much."""

    def norm(self, delta: Tensor) -> Tensor:
        return delta.flatten(1).abs().sum(1)

    def dual(self, gradient: Tensor) -> Tensor:
        return self.free(gradient).flatten(1).abs().amax(1)

    def steepest(self, gradient: Tensor) -> Tensor:
        flat = self.free(gradient).flatten(1)
        best = flat.abs().argmax(1, keepdim=True)  # the whole radius goes into one pixel
        return torch.zeros_like(flat).scatter(1, best, flat.gather(1, best).sign()).view_as(gradient)

    def clip(self, delta: Tensor, radius: Tensor | None = None) -> Tensor:
        # Shrink all entries by the same amount until they add up to the radius (Duchi et al. 2008); in high precision,
        # for that amount may be much larger than what it leaves.
        delta = self.free(delta)
        size = delta.flatten(1).abs().to(_widest(delta))
        radius = size.new_full(size.shape[:1], self.eps) if radius is None else radius
        sums = size.sort(1, descending=True).values.cumsum(1)
        # What the k largest entries would have to give up, each; the right k is the one that asks for most.
        shrink = (sums - radius[:, None]) / torch.arange(1, size.shape[1] + 1, device=size.device)
        kept = (size - shrink.amax(1).clamp_min(0)[:, None]).clamp_min(0)
        # Exact but for rounding, which a δ of 10¹¹ makes visible.
        kept = kept * (radius / kept.sum(1).clamp_min(torch.finfo(kept.dtype).tiny)).clamp_max(1)[:, None]
        return kept.to(delta.dtype).view_as(delta).copysign(delta)

    def length(self, x: Tensor) -> float:
        return min(self.eps, super().length(x))

    def draw(self, shape: torch.Size, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        # Exponentials divided by their sum and one more are uniform under the simplex; signs make it the ball.
        size = torch.empty(shape, device=generator.device, dtype=dtype).exponential_(generator=generator)
        more = torch.empty(shape[:1], device=generator.device, dtype=dtype).exponential_(generator=generator)
        size, signs = self.free(size), torch.rand(shape, generator=generator, device=generator.device) < 0.5
        return self.eps * size.where(signs, -size) / per_example(self.norm(size) + more, size)


def _widest(like: Tensor) -> torch.dtype:
    """float64, but for Apple's GPUs, which have none."""
    return like.dtype if like.device.type == "mps" else torch.float64
