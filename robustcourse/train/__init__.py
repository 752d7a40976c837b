"""Training: one loop, and a training method is just a loss."""

from robustcourse.train.fit import History, fit
from robustcourse.train.objectives import AdversarialTraining, Objective, Standard

__all__ = ["AdversarialTraining", "History", "Objective", "Standard", "fit"]
