"""Accuracy over ε in one pass: once the distance to the nearest break is known, every ε is answered."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustcourse.attacks import FMN, MinimumNorm
from robustcourse.checks import check_model
from robustcourse.data import Split
from robustcourse.evaluate.estimate import Estimate
from robustcourse.runtime import seeded
from robustcourse.threats import Threat


def break_distance(
    model: nn.Module,
    split: Split,
    threat: Threat,
    attack: MinimumNorm | None = None,
    batch_size: int = 1024,
    seed: int = 0,
) -> Tensor:
    """How far away the nearest misread point is that an attack finds, in the norm of the threat; its ε has no say.

    Args:
        model: in evaluation mode.
        split: the examples, on the model's device.
        threat: the norm, and the mask if there is one.
        attack: looks for the smallest change; FMN(threat) if None.
        batch_size: examples at a time, ≥ 1.
        seed: of the attack, and of the model if it is random.

    Returns:
        (N,): 0 where the image itself is misread, ∞ where no break was found. An upper bound: there may be nearer ones.

    Raises:
        TypeError, ValueError: a wrong input, as `robustcourse.checks` says.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    check_model(model)
    attack = attack or FMN(threat)
    generator, parts = torch.Generator(split.x.device).manual_seed(seed), []
    with seeded(seed), torch.no_grad():
        for x, y in zip(split.x.split(batch_size), split.y.split(batch_size), strict=True):
            x_adv = attack.closest(model, x, y, generator)
            parts.append(threat.distance(x, x_adv).masked_fill(model(x_adv).argmax(1) == y, torch.inf))
    return torch.cat(parts)


def robustness_curve(distance: Tensor, eps: Sequence[float]) -> list[Estimate]:
    """Accuracy at each ε: the share of examples whose distance is larger.

    Args:
        distance: (N,) to the nearest known break, as `break_distance` gives them, for an upper bound of the robust
            accuracy. Or how far each is certified, as `Smoothed.reach` says, 0 where it is not, for a lower one.
        eps: the radii, ≥ 0.

    Raises:
        ValueError: a negative radius, or distances that are NaN.
    """
    if distance.isnan().any():
        raise ValueError("distance must not be NaN")
    if any(not radius >= 0 for radius in eps):
        raise ValueError(f"eps must be >= 0, got {list(eps)}")
    return [Estimate.proportion((distance > radius).cpu()) for radius in eps]
