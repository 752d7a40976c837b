"""Certified accuracy: the share of examples that are read right, and that no perturbation can change.

It is a *lower* bound of the robust accuracy, as accuracy under an attack is an upper one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustcourse.data import Split
from robustcourse.evaluate import Estimate
from robustcourse.threats import Threat

# (model, x, y, threat) to lower bounds of the margins, (B, classes).
Certificate = Callable[[nn.Module, Tensor, Tensor, Threat], Tensor]
# Bounds are computed with the numbers of the model, and so are its answers. Rounding moves both, by some units in the
# last place of the largest logit; a bound counts as a proof only if it is above zero by far more than that.
ROUNDING = 1000


def certified_accuracy(
    model: nn.Module, split: Split, certificate: Certificate, threat: Threat, batch_size: int = 256
) -> Estimate:
    """Share of examples that the model reads right wherever in the threat set: a lower bound of its robustness.

    Args:
        model: in evaluation mode.
        split: the examples, on the model's device.
        certificate: as `crown`.
        threat: the set of allowed perturbations.
        batch_size: examples at a time, ≥ 1; it changes memory and speed only.

    Raises:
        TypeError, ValueError: a wrong input, or a layer without bounds.
    """
    return Estimate.proportion(certified(model, split, certificate, threat, batch_size).cpu())


def certified(
    model: nn.Module, split: Split, certificate: Certificate, threat: Threat, batch_size: int = 256
) -> Tensor:
    """Which examples are certified, (N,) booleans. Arguments and errors are those of `certified_accuracy`."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    proved = []
    with torch.no_grad():
        for at in torch.arange(len(split)).split(batch_size):
            x, y = split.x[at], split.y[at]
            margins = certificate(model, x, y, threat)
            others = margins.scatter(1, y[:, None], torch.inf)
            above = ROUNDING * torch.finfo(x.dtype).eps * model(x).abs().amax(1)
            proved.append(others.amin(1) > above)
    return torch.cat(proved)
