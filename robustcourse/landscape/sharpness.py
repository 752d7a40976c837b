"""Sharpness: how far the loss can rise when all weights together move by a little.

A ball of one radius for all weights sees a scale that the function does not: multiply a ReLU layer by c, divide the
next by c, and the same function is sharper or flatter. A ball relative to each weight sees no difference.

Sources: sharpness-aware minimization, Foret, Kleiner, Mobahi & Neyshabur 2021 (arXiv:2010.01412); adaptive, Kwon, Kim,
Park & Choi 2021 (arXiv:2102.11600).
"""

from __future__ import annotations

import torch
from torch import nn

from robustcourse.checks import check_nonnegative
from robustcourse.data import Split
from robustcourse.landscape.surface import Surface
from robustcourse.train.objectives import Objective


def sharpness(
    model: nn.Module,
    split: Split,
    rho: float = 0.05,
    objective: Objective | None = None,
    *,
    adaptive: bool = False,
    steps: int = 1,
    seed: int = 0,
) -> float:
    """The rise of the loss from θ to the highest point that is found with ‖d‖₂ ≤ ρ: L(θ + d) − L(θ).

    The search walks along the gradient: one step of length ρ as in the paper, or several shorter ones, each along the
    gradient where it is. What it finds is a lower bound of the largest rise.

    Args:
        model: in evaluation mode; its weights are θ, and stay as they are.
        split: the examples, on the model's device. The graph for all of them is kept, so this is what needs memory.
        rho: ρ ≥ 0, the radius; the paper's is 0.05, and 0.5 or more if adaptive.
        objective: the loss, `Standard()` if None. A robust one attacks anew at each point, from the same random starts.
        adaptive: measure d relative to each weight, ‖d / |θ|‖₂ ≤ ρ; then rescaling a layer changes nothing.
        steps: of length ρ / steps each, ≥ 1.
        seed: of the objective's random choices.

    Cost: a forward and a backward pass a step, and two forward passes.

    Raises:
        TypeError, ValueError: a wrong input, as `robustcourse.checks` says, ρ < 0 or steps < 1.
    """
    check_nonnegative("rho", rho)
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    surface = Surface(model, split, objective, len(split), seed)
    theta = surface.centre
    scale = theta.abs() if adaptive else torch.ones_like(theta)
    for _ in range(steps):
        uphill = scale * surface.gradient(theta).detach()
        theta = theta + rho / steps * scale * uphill / uphill.norm().clamp_min(torch.finfo(theta.dtype).tiny)
    low, high = surface.heights(torch.stack([surface.centre, theta]))
    return float(high - low)
