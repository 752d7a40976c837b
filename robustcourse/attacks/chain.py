"""Attacks one after the other: each gets the points that survived those before it.

What is left is the worst case of every point, and each attack is credited with what it added.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from robustcourse.attacks.attack import Attack, misread, query
from robustcourse.checks import check_untargeted


@dataclass(frozen=True)
class Chain(Attack):
    """What `a | b` makes: b searches only where a failed. Points that are misread as they are need no attack.

    Args:
        threat: the set that all of them search.
        attacks: in this order, cheap ones first; at least one.
        note: what a report on it should say, such as what it leaves out.

    Raises:
        ValueError: no attack, one that searches another set, or a targeted one.
    """

    attacks: tuple[Attack, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if not self.attacks:
            raise ValueError("attacks must be at least one, got none")
        for attack in self.attacks:
            if attack.threat != self.threat:
                raise ValueError(f"attacks must all search one set, got {self.threat} and {attack.threat}")
            check_untargeted(attack)

    @classmethod
    def of(cls, *attacks: Attack) -> Chain:
        """One chain of attacks and of chains."""
        return cls(attacks[0].threat, tuple(link for attack in attacks for link in links(attack)))

    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        x_adv, left = x.clone(), (~misread(query(model, x, y), y)).nonzero().squeeze(1)
        for attack in self.attacks:
            if not len(left):
                break
            x_adv[left] = stopping(attack)(model, x[left], y[left], generator)
            left = left[~misread(query(model, x_adv[left], y[left]), y[left])]
        return x_adv


def links(attack: Attack) -> tuple[Attack, ...]:
    """The attacks of a chain; of another attack, itself."""
    return attack.attacks if isinstance(attack, Chain) else (attack,)


def stopping(attack: Attack) -> Attack:
    """The same attack, where it can, leaving each point once it is broken: all that an evaluation asks."""
    if not hasattr(attack, "early_exit"):
        return attack
    switch: dict[str, Any] = {"early_exit": True}
    return dataclasses.replace(attack, **switch)
