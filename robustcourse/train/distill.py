"""Robust distillation: learn from a robust teacher what to say, also where somebody has changed the image.

The teacher's probabilities say more than a label does: which digits an image might almost be. To hand down robustness
for certain, the student has to repeat them near the images too; on clean images alone it may inherit much, or nothing.

Sources: ARD, Goldblum et al. 2020 (arXiv:1905.09747); RSLAD, Zi et al. 2021 (arXiv:2108.07969).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse.attacks import PGD
from robustcourse.checks import check_model, check_share, check_untargeted
from robustcourse.train.objectives import Network, Robust, search
from robustcourse.train.trades import divergence


@dataclass(frozen=True)
class ARD(Robust):
    """Mean of α t² KL(T(x) ‖ S(x + δ)) + (1 − α) ℓ(S(x), y): teacher T, student S, both at temperature t in the first.

    Args:
        attack: finds δ, against the labels and the student, as PGD(threat, steps=7).
        teacher: in evaluation mode; its weights stay as they are.
        temperature: t > 0, by which logits are divided before they become probabilities; the paper's is 30 on CIFAR-10.
        weight: α in [0, 1].

    Cost: with k steps, k + 1 forward and backward passes of the student, one more if α < 1, and a forward pass of the
    teacher.

    Raises:
        TypeError, ValueError: the teacher is no module or in training mode, the attack is targeted, or a number is out
            of range.
    """

    attack: PGD
    teacher: nn.Module
    temperature: float = 30.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        _check(self.attack, self.teacher, self.weight)
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be a finite number > 0, got {self.temperature}")

    def worst(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return search(self.attack, model, x, y) if self.weight else x

    def loss(self, model: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        if not self.weight:
            return F.cross_entropy(model(x), y)
        t = self.temperature
        taught = t**2 * divergence(asked(self.teacher, x) / t, model(x_adv) / t).mean()
        return taught if self.weight == 1 else self.weight * taught + (1 - self.weight) * F.cross_entropy(model(x), y)


@dataclass(frozen=True)
class RSLAD(Robust):
    """Mean of α KL(T(x) ‖ S(x + δ)) + (1 − α) KL(T(x) ‖ S(x)): no labels at all, neither in the loss nor in the attack.

    Args:
        attack: the walk that finds δ, as PGD(threat, steps=10); its loss is replaced by the first divergence.
        teacher: in evaluation mode; its weights stay as they are.
        weight: α in [0, 1], the paper's is 5/6. With 0 nothing is searched: plain distillation on clean images (Hinton
            et al. 2015, arXiv:1503.02531).

    Cost: with k steps, k + 2 forward and backward passes of the student, and two forward passes of the teacher.

    Raises:
        TypeError, ValueError: as `ARD`, and for an attack that restarts or leaves early.
    """

    attack: PGD
    teacher: nn.Module
    weight: float = 5 / 6

    def __post_init__(self) -> None:
        _check(self.attack, self.teacher, self.weight)
        if self.attack.restarts > 1 or self.attack.early_exit:
            raise ValueError(f"attack must be one whole walk, got {self.attack}")

    def worst(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if not self.weight:
            return x
        taught = asked(self.teacher, x)
        return search(replace(self.attack, loss=lambda z, _: divergence(taught, z)), model, x, y)

    def loss(self, model: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        taught = asked(self.teacher, x)
        if x_adv is x:
            return divergence(taught, model(x)).mean()
        apart = [divergence(taught, model(images)).mean() for images in (x_adv, x)]
        return self.weight * apart[0] + (1 - self.weight) * apart[1]


@torch.no_grad()
def asked(teacher: nn.Module, x: Tensor) -> Tensor:
    """The teacher's logits, without a graph."""
    logits: Tensor = teacher(x)
    return logits


def _check(attack: PGD, teacher: nn.Module, weight: float) -> None:
    check_untargeted(attack)
    check_model(teacher)
    check_share("weight", weight)
