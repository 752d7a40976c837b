"""Threat sets: which changes of an input are allowed.

A threat is a ball of radius ε around each input, cut by the box [0, 1] in which images live. Everything that depends on
the shape of the ball stands here and only here, so one attack serves every norm.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


def per_example(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (B,) to (B, 1, ..., 1), so that it broadcasts over `like` of shape (B, ...)."""
    return values.view(-1, *[1] * (like.dim() - 1))


@dataclass(frozen=True)
class Threat(ABC):
    """All δ with ‖δ‖ ≤ ε and x + δ in [0, 1].

    Args:
        eps: the radius ε, in units of the input range: 0.1 is a tenth of the way from nothing to full.

    Raises:
        ValueError: ε is negative or not finite.
    """

    eps: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise ValueError(f"eps must be a finite number >= 0, got {self.eps}")

    @abstractmethod
    def norm(self, delta: Tensor) -> Tensor:
        """‖δ‖ of each example: (B, ...) to (B,)."""

    @abstractmethod
    def dual(self, gradient: Tensor) -> Tensor:
        """Largest ⟨g, δ⟩ over ‖δ‖ ≤ 1, for each example: (B, ...) to (B,). Times ε: what a linear loss can gain."""

    @abstractmethod
    def steepest(self, gradient: Tensor) -> Tensor:
        """The δ with ‖δ‖ ≤ 1 that attains `dual`; zero where the gradient is zero. (B, ...) to (B, ...)."""

    @abstractmethod
    def clip(self, delta: Tensor) -> Tensor:
        """The nearest point (in L2) to each δ with ‖δ‖ ≤ ε. (B, ...) to (B, ...)."""

    @abstractmethod
    def draw(self, shape: torch.Size, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        """δ uniform in the ball, of the given shape (B, ...), on the generator's device."""

    def distance(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """‖x_adv − x‖ of each example: (B, ...) to (B,)."""
        return self.norm(x_adv - x)

    def project(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """Bring x_adv back into the ball around x, then into [0, 1].

        The second step cannot leave the ball: x is in the box, so clamping only moves x_adv towards x. The result is
        within rounding (1e-6) of the ball, and exactly in the box. For L2 it is inside, though not always nearest.
        """
        return (x + self.clip(x_adv - x)).clamp(0, 1)

    def random(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A random point of the threat set around each x: uniform in the ball, then clamped to [0, 1]."""
        return (x + self.draw(x.shape, generator, x.dtype)).clamp(0, 1)


@dataclass(frozen=True)
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
        return gradient.flatten(1).abs().sum(1)

    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def clip(self, delta: Tensor) -> Tensor:
        return delta.clamp(-self.eps, self.eps)

    def draw(self, shape: torch.Size, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        unit = torch.rand(shape, generator=generator, device=generator.device, dtype=dtype)
        return self.eps * (2 * unit - 1)


@dataclass(frozen=True)
class L2(Threat):
    """The straight-line length of the change is at most ε, spread over the pixels as the attacker likes."""

    def norm(self, delta: Tensor) -> Tensor:
        return delta.flatten(1).norm(dim=1)

    def dual(self, gradient: Tensor) -> Tensor:
        return self.norm(gradient)

    def steepest(self, gradient: Tensor) -> Tensor:
        # Dividing by the largest entry first keeps the squares of very small gradients from vanishing.
        tiny = torch.finfo(gradient.dtype).tiny
        scaled = gradient / per_example(gradient.flatten(1).abs().amax(1).clamp_min(tiny), gradient)
        return scaled / per_example(self.norm(scaled).clamp_min(tiny), gradient)

    def clip(self, delta: Tensor) -> Tensor:
        length = self.norm(delta).clamp_min(torch.finfo(delta.dtype).tiny)
        return delta * per_example((self.eps / length).clamp_max(1), delta)

    def draw(self, shape: torch.Size, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        direction = torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)
        dimension = direction[0].numel()
        radius = torch.rand(shape[:1], generator=generator, device=generator.device, dtype=dtype) ** (1 / dimension)
        return self.steepest(direction) * per_example(self.eps * radius, direction)
