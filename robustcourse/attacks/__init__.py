"""Attacks: frozen configurations that search a threat set for the worst input."""

from robustcourse.attacks.adaptive import BPDA, EOT, Adaptive, transfer
from robustcourse.attacks.apgd import APGD
from robustcourse.attacks.attack import Attack
from robustcourse.attacks.autoattack import AutoAttack
from robustcourse.attacks.carlini_wagner import CarliniWagner
from robustcourse.attacks.chain import Chain
from robustcourse.attacks.deepfool import DeepFool
from robustcourse.attacks.fmn import FMN, MinimumNorm
from robustcourse.attacks.hop_skip_jump import HopSkipJump
from robustcourse.attacks.losses import cross_entropy, dlr, dlr_targeted, margin_loss, margin_targeted
from robustcourse.attacks.pgd import FGSM, PGD
from robustcourse.attacks.random_search import RandomSearch
from robustcourse.attacks.square import Square

__all__ = [
    "APGD",
    "BPDA",
    "EOT",
    "FGSM",
    "FMN",
    "PGD",
    "Adaptive",
    "Attack",
    "AutoAttack",
    "CarliniWagner",
    "Chain",
    "DeepFool",
    "HopSkipJump",
    "MinimumNorm",
    "RandomSearch",
    "Square",
    "cross_entropy",
    "dlr",
    "dlr_targeted",
    "margin_loss",
    "margin_targeted",
    "transfer",
]
