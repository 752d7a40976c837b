"""Double descent where every model has a formula. Nothing is trained, all is in float64, which Apple's MPS lacks."""

from robustcourse.double_descent.asymptotic import (
    finite_risk,
    misspecified_risk,
    optimal_ridge_risk,
    risk,
    simulate_risk,
)
from robustcourse.double_descent.bias_variance import Parts, bias_variance
from robustcourse.double_descent.features import FeatureModel, RandomFeatures
from robustcourse.double_descent.flow import TwoScale
from robustcourse.double_descent.path import Path, every_penalty, every_width
from robustcourse.double_descent.regression import effective_dimension, leave_one_out, one_hot, ridge

__all__ = [
    "FeatureModel",
    "Parts",
    "Path",
    "RandomFeatures",
    "TwoScale",
    "bias_variance",
    "effective_dimension",
    "every_penalty",
    "every_width",
    "finite_risk",
    "leave_one_out",
    "misspecified_risk",
    "one_hot",
    "optimal_ridge_risk",
    "ridge",
    "risk",
    "simulate_risk",
]
