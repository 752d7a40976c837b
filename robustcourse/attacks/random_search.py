"""Random search: blind guesses in the threat set, and the bar that every attack has to clear.

An attack that breaks fewer points than luck with as many forward passes is broken itself, or its gradients are masked.

Source: as a check of other attacks, Carlini et al. 2019, section 4.1 (arXiv:1902.06705).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from robustcourse.attacks.attack import Attack, Standing, misread, query
from robustcourse.attacks.losses import margin_loss
from robustcourse.threats import per_example


@dataclass(frozen=True)
class RandomSearch(Attack):
    """Uniform points of the threat set, for L∞, L2 and L1. It sees logits, and needs no gradient.

    Args:
        threat: the set to search.
        queries: guesses a point, ≥ 1; the first is x itself.

    Returns the first guess that breaks a point; where none does, the one of largest margin loss. Cost: at most
    `queries` forward passes a point, and no more once it is broken.

    Raises:
        ValueError: queries < 1.
    """

    queries: int = 1000

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise ValueError(f"queries must be >= 1, got {self.queries}")

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        s = SimpleNamespace(x=x, y=y, x_adv=x, best_x=x, best=x.new_full((len(x),), -torch.inf))
        standing = Standing(model, s)
        for _ in range(self.queries):
            logits = query(model, s.x_adv, s.y)
            s.value = margin_loss(logits, s.y)
            better = s.value > s.best
            s.best, s.best_x = s.value.where(better, s.best), s.x_adv.where(per_example(better, s.x), s.best_x)
            if not standing.leave(s, misread(logits, s.y)):
                break
            s.x_adv = self.threat.random(s.x, generator)
        return standing.close(s, "best_x")[0]
