"""Robust and overparameterized models: the package behind the course.

Six nouns: a Dataset, a model, a Threat, an Attack, an Objective, a Certificate. Each is a plain callable or a frozen
dataclass, so what you have learned of one attack holds for all of them.
"""

from robustcourse.attacks import FGSM, PGD
from robustcourse.claims import claim
from robustcourse.data import TwoGaussians, load
from robustcourse.evaluate import Estimate, accuracy, correct, margin, robust_accuracy
from robustcourse.models import cnn, mlp, parameters
from robustcourse.runtime import about, at_scale, device, scale
from robustcourse.threats import L2, Linf
from robustcourse.train import AdversarialTraining, Standard, fit

__all__ = [
    "FGSM",
    "L2",
    "PGD",
    "AdversarialTraining",
    "Estimate",
    "Linf",
    "Standard",
    "TwoGaussians",
    "about",
    "accuracy",
    "at_scale",
    "claim",
    "cnn",
    "correct",
    "device",
    "fit",
    "load",
    "margin",
    "mlp",
    "parameters",
    "robust_accuracy",
    "scale",
]
