"""Robust early stopping: keep a part of the training data back, and the weights that do best on it under attack.

Robust accuracy on new images may fall long before training ends ("robust overfitting"). The test data must not choose
the moment, for then it would no longer be a test.

Source: Rice, Wong & Kolter 2020 (arXiv:2002.11569).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustcourse.attacks import Attack
from robustcourse.checks import check_untargeted
from robustcourse.data import Split
from robustcourse.evaluate import correct
from robustcourse.runtime import stream


@dataclass(frozen=True)
class HoldOut:
    """Hold back a share of the training data, measure on it after every epoch, and end with the best weights.

    Args:
        attack: what the held-out images are attacked with, as PGD(threat, steps=10); None measures clean accuracy.
        share: of the training data, in (0, 1).
        patience: stop after so many epochs without a new best, ≥ 1; None trains to the end.

    Raises:
        ValueError: a number out of range, or a targeted attack.
    """

    attack: Attack | None = None
    share: float = 0.1
    patience: int | None = None

    def __post_init__(self) -> None:
        check_untargeted(self.attack)
        if not 0 < self.share < 1:
            raise ValueError(f"share must be in (0, 1), got {self.share}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be >= 1 or None, got {self.patience}")

    def split(self, train: Split, seed: int) -> tuple[Tensor, Tensor]:
        """The indices of what is left to train on, and of what is held back."""
        held = math.ceil(self.share * len(train))
        if held == len(train):
            raise ValueError(f"share={self.share} of {len(train)} examples leaves none to train on")
        # A stream of its own: label noise of the same seed would pick the very same examples.
        generator = stream(f"held out, {seed}")
        order = torch.randperm(len(train), generator=generator).to(train.y.device)
        return order[held:], order[:held]

    def score(self, model: nn.Module, held: Split) -> float:
        """Accuracy on the examples that were held back, under the attack."""
        return int(correct(model, held, self.attack).sum()) / len(held)
