"""Data sets: tensors in memory, with their classes, shape and origin."""

from robustcourse.data.dataset import Dataset, Split
from robustcourse.data.gaussians import TwoGaussians
from robustcourse.data.load import load

__all__ = ["Dataset", "Split", "TwoGaussians", "load"]
