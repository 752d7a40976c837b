"""Loss landscapes: slices, curvature, sharpness, and the way from one network to another."""

from robustcourse.landscape.connect import Way, connect, matched
from robustcourse.landscape.hessian import hessian, hessian_product, lanczos, trace
from robustcourse.landscape.path import Plane, plane
from robustcourse.landscape.sharpness import sharpness
from robustcourse.landscape.slices import filter_normalized, random_direction, slice1d, slice2d
from robustcourse.landscape.surface import weights, with_weights

__all__ = [
    "Plane",
    "Way",
    "connect",
    "filter_normalized",
    "hessian",
    "hessian_product",
    "lanczos",
    "matched",
    "plane",
    "random_direction",
    "sharpness",
    "slice1d",
    "slice2d",
    "trace",
    "weights",
    "with_weights",
]
