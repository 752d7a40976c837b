"""Models: any module that takes inputs in [0, 1] and returns logits; normalization is its first layer."""

from robustcourse.models.lipschitz import MaxMin, lipschitz_mlp
from robustcourse.models.networks import cnn, mlp, parameters
from robustcourse.models.normalize import Normalize
from robustcourse.models.residual import preact_resnet, wide_resnet

__all__ = ["MaxMin", "Normalize", "cnn", "lipschitz_mlp", "mlp", "parameters", "preact_resnet", "wide_resnet"]
