"""Attacks: frozen configurations that search a threat set for the worst input."""

from robustcourse.attacks.pgd import FGSM, PGD, Attack, cross_entropy

__all__ = ["FGSM", "PGD", "Attack", "cross_entropy"]
