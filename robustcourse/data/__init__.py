"""Data sets: tensors in memory, with their classes, shape and origin."""

from robustcourse.data.dataset import Dataset, Split
from robustcourse.data.gaussians import TwoGaussians
from robustcourse.data.load import load
from robustcourse.data.noise import label_noise

__all__ = ["Dataset", "Split", "TwoGaussians", "label_noise", "load"]
