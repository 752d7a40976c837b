"""Double descent where every model has a formula: nothing is trained, and all is in float64 (which Apple's MPS lacks)."""

from robustcourse.double_descent.features import FeatureModel, Path, RandomFeatures, every_penalty, every_width
from robustcourse.double_descent.regression import effective_dimension, leave_one_out, one_hot, ridge

__all__ = [
    "FeatureModel",
    "Path",
    "RandomFeatures",
    "effective_dimension",
    "every_penalty",
    "every_width",
    "leave_one_out",
    "one_hot",
    "ridge",
]
