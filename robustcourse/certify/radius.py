"""The certified radius: how far from each image does the proof reach?

Accuracy at one ε hides whether an image was far from the border or close. So ask at ever finer steps: halve the range
of ε in which the answer turns, for all images at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from robustcourse.certify.verdict import Certificate, certified
from robustcourse.data import Split
from robustcourse.threats import Linf, Threat


def certified_radius(
    model: nn.Module,
    split: Split,
    certificate: Certificate,
    norm: Callable[[float], Threat] = Linf,
    largest: float = 0.5,
    steps: int = 8,
    batch_size: int = 256,
) -> Tensor:
    """The largest ε at which each example was found to be verified.

    Args:
        model: in evaluation mode.
        split: the examples, on the model's device.
        certificate: as for `verify`.
        norm: ε to the threat.
        largest: the largest ε that is tried, > 0.
        steps: halvings, ≥ 1: radii are multiples of largest / 2^steps.
        batch_size: examples at a time, ≥ 1.

    Returns:
        (N,) float64; 0 for an example that is not verified at the first step, nor at any smaller one, or is misread.
        Those that are asked for the same ε are asked together, so the cost is at most `steps` certificates an example.

    Raises:
        TypeError, ValueError: a wrong input, or a layer without bounds.
    """
    if not 0 < largest < float("inf") or steps < 1:
        raise ValueError(f"largest must be > 0 and steps >= 1, got {largest} and {steps}")
    units = 2**steps
    reached = torch.zeros(len(split), dtype=torch.int64)
    for step in range(steps):
        asked = reached + units // 2 ** (step + 1)
        for place in asked.unique().tolist():
            at = (asked == place).nonzero().squeeze(1)
            proved = certified(
                model, split[at.to(split.x.device)], certificate, norm(largest * place / units), batch_size
            )
            reached[at[proved.cpu()]] = place
    return largest * reached.double() / units
