"""Accuracy, clean and under attack, one example at a time.

Accuracy under an attack is an *upper* bound of the robust accuracy: a better attack may break more.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustcourse.attacks import Attack
from robustcourse.checks import check_images, check_labels, check_logits, check_model, check_untargeted
from robustcourse.data import Split
from robustcourse.evaluate.estimate import Estimate


def accuracy(model: nn.Module, split: Split, batch_size: int = 1024) -> Estimate:
    """Share of examples that the model reads correctly.

    Args:
        model: in evaluation mode.
        split: the examples, on the model's device.
        batch_size: examples at a time, ≥ 1; it changes memory and speed only.

    Raises:
        TypeError, ValueError: a wrong input, as `robustcourse.checks` says.
    """
    return Estimate.proportion(correct(model, split, batch_size=batch_size).cpu())


def robust_accuracy(model: nn.Module, split: Split, attack: Attack, batch_size: int = 1024, seed: int = 0) -> Estimate:
    """Share of examples that the model reads correctly both clean and under attack: an upper bound of its robustness.

    Args:
        attack: searches its threat set around every example; not a targeted one.
        batch_size: examples at a time, ≥ 1; with it change the random starts that each example gets.
        seed: of the attack's random starts.

    Raises:
        TypeError, ValueError: a wrong input, or an attack that left its threat set.
    """
    return Estimate.proportion(correct(model, split, attack, batch_size, seed).cpu())


def correct(
    model: nn.Module, split: Split, attack: Attack | None = None, batch_size: int = 1024, seed: int = 0
) -> Tensor:
    """Which examples the model reads correctly, clean and, if there is one, under the attack: (N,) booleans."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    check_model(model)
    check_untargeted(attack)
    generator = torch.Generator(split.x.device).manual_seed(seed)
    parts = []
    for x, y in zip(split.x.split(batch_size), split.y.split(batch_size), strict=True):
        right = _reads(model, x, y)
        if attack is not None:
            x_adv = attack(model, x, y, generator=generator)
            _check_allowed(attack, x, x_adv)
            right &= _reads(model, x_adv, y)
        parts.append(right)
    return torch.cat(parts)


@torch.no_grad()
def _reads(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    logits = model(x)
    check_logits(logits, x)
    check_labels(y, x, classes=logits.shape[1])
    return logits.argmax(1) == y


def _check_allowed(attack: Attack, x: Tensor, x_adv: Tensor) -> None:
    """A model must not be called broken by a change that the threat does not allow."""
    check_images(x_adv)
    farthest = float(attack.threat.distance(x, x_adv).max())
    if farthest > attack.threat.eps + 1e-5:
        raise ValueError(f"attack left its threat set {attack.threat}: it moved an input by {farthest:.4g}; project it")
