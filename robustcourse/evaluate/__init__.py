"""What people measure: accuracies with intervals, clean and under attack."""

from robustcourse.evaluate.accuracy import accuracy, correct, robust_accuracy
from robustcourse.evaluate.estimate import Estimate
from robustcourse.evaluate.margin import margin

__all__ = ["Estimate", "accuracy", "correct", "margin", "robust_accuracy"]
