"""Adaptive attacks: an attack on another view of the model, one that the defence has not spoiled.

A defence that breaks gradients breaks the attack, and leaves the model's errors where they were. The attacker replaces
what is in the way, runs the same attack on the replacement, and takes the points back to the defended model.

Sources: Athalye, Carlini & Wagner 2018 (arXiv:1802.00420); EOT, Athalye et al. 2018 (arXiv:1707.07397); transfer,
Papernot et al. 2016 (arXiv:1605.07277).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustcourse.attacks.attack import Attack
from robustcourse.checks import check_logits, check_model, evaluating


@dataclass(frozen=True)
class Adaptive(Attack):
    """An attack on `view(model)` in place of the model: `Adaptive.of(PGD(threat), lambda defended: defended.model)`.

    Args:
        threat: the set to search.
        attack: searches it.
        view: the model under attack to the one to search on.

    Every threat that the attack has. Cost: that of the attack, in passes through the view.

    Raises:
        ValueError: the attack searches another set.
    """

    attack: Attack
    view: Callable[[nn.Module], nn.Module]

    def __post_init__(self) -> None:
        if self.attack.threat != self.threat:
            raise ValueError(f"attack must search {self.threat}, got one for {self.attack.threat}")

    @classmethod
    def of(cls, attack: Attack, view: Callable[[nn.Module], nn.Module]) -> Adaptive:
        """The same, on the attack's own threat set."""
        return cls(attack.threat, attack, view)

    @property
    def targeted(self) -> bool:
        """Whether the labels are targets."""
        return getattr(self.attack, "targeted", False)

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        view = self.view(model)
        with evaluating(view):  # a module that was just put together is in training mode
            return self.attack(view, x, y, generator)


def transfer(attack: Attack, surrogate: nn.Module) -> Adaptive:
    """Attack a model of one's own, and hope that the victim errs on the same points. It asks the victim nothing."""
    check_model(surrogate)
    return Adaptive.of(attack, lambda _: surrogate)


class EOT(nn.Module):
    """Expectation over transformation: a random model's answers, averaged over several draws.

    Args:
        model: answers at random.
        samples: draws to average over, ≥ 1; each is a pass of the model.

    Raises:
        ValueError: samples < 1.
    """

    def __init__(self, model: nn.Module, samples: int = 16) -> None:
        super().__init__()
        if samples < 1:
            raise ValueError(f"samples must be >= 1, got {samples}")
        self.model, self.samples = model, samples
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Mean log-probabilities (B, classes) of `samples` answers to x, (B, ...)."""
        copies = x.expand(self.samples, *x.shape).flatten(0, 1)  # each example its own draws, in one batch
        logits = self.model(copies)
        check_logits(logits, copies)
        return logits.log_softmax(1).unflatten(0, (self.samples, len(x))).mean(0)


class BPDA(nn.Module):
    """Backward pass, differentiable approximation: compute one function, and differentiate another.

    Args:
        function: what the defence does to its input; need not have a gradient.
        stand_in: something close to it that has one; the identity if None.
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor], stand_in: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.function, self.stand_in = function, stand_in or nn.Identity()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """function(x), with the gradient of stand_in(x)."""
        smooth = self.stand_in(x)
        return smooth + (self.function(x.detach()) - smooth).detach()
