"""Robust and overparameterized models: the package behind the course.

Six nouns: a Dataset, a model, a Threat, an Attack, an Objective, a Certificate. Each is a plain callable or a frozen
dataclass, so what you have learned of one attack holds for all of them.
"""

from robustcourse.attacks import (
    APGD,
    BPDA,
    EOT,
    FGSM,
    FMN,
    PGD,
    Adaptive,
    AutoAttack,
    CarliniWagner,
    DeepFool,
    HopSkipJump,
    RandomSearch,
    Square,
    cross_entropy,
    dlr,
    dlr_targeted,
    margin_loss,
    margin_targeted,
    transfer,
)
from robustcourse.certify import alpha_crown, certified, certified_accuracy, crown, crown_ibp, ibp, smooth
from robustcourse.claims import claim
from robustcourse.data import TwoGaussians, load
from robustcourse.evaluate import (
    Estimate,
    accuracy,
    audit,
    break_distance,
    correct,
    margin,
    report,
    robust_accuracy,
    robustness_curve,
)
from robustcourse.models import cnn, mlp, parameters
from robustcourse.runtime import about, at_scale, device, scale
from robustcourse.threats import L1, L2, Linf
from robustcourse.train import AdversarialTraining, Standard, fit

__all__ = [
    "APGD",
    "BPDA",
    "EOT",
    "FGSM",
    "FMN",
    "L1",
    "L2",
    "PGD",
    "Adaptive",
    "AdversarialTraining",
    "AutoAttack",
    "CarliniWagner",
    "DeepFool",
    "Estimate",
    "HopSkipJump",
    "Linf",
    "RandomSearch",
    "Square",
    "Standard",
    "TwoGaussians",
    "about",
    "accuracy",
    "alpha_crown",
    "at_scale",
    "audit",
    "break_distance",
    "certified",
    "certified_accuracy",
    "claim",
    "cnn",
    "correct",
    "cross_entropy",
    "crown",
    "crown_ibp",
    "device",
    "dlr",
    "dlr_targeted",
    "fit",
    "ibp",
    "load",
    "margin",
    "margin_loss",
    "margin_targeted",
    "mlp",
    "parameters",
    "report",
    "robust_accuracy",
    "robustness_curve",
    "scale",
    "smooth",
    "transfer",
]
