"""Loss landscapes: slices, curvature, sharpness, and the way from one network to another."""

from robustcourse.landscape.hessian import hessian, hessian_product, lanczos, trace
from robustcourse.landscape.slices import filter_normalized, random_direction, slice1d, slice2d
from robustcourse.landscape.surface import weights, with_weights

__all__ = [
    "filter_normalized",
    "hessian",
    "hessian_product",
    "lanczos",
    "random_direction",
    "slice1d",
    "slice2d",
    "trace",
    "weights",
    "with_weights",
]
