"""Accuracy, clean and under attack, one example at a time.

Accuracy under an attack is an *upper* bound of the robust accuracy: a better attack may break more.
"""

from __future__ import annotations

from torch import Tensor, nn

from robustcourse.attacks import Attack
from robustcourse.data import Split
from robustcourse.evaluate.estimate import Estimate
from robustcourse.evaluate.report import report


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
    return report(model, split, attack, batch_size, seed).right
