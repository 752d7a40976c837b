"""What people measure: accuracies with intervals, clean and under attack."""

from robustcourse.evaluate.accuracy import accuracy, correct, robust_accuracy
from robustcourse.evaluate.estimate import Estimate
from robustcourse.evaluate.margin import margin
from robustcourse.evaluate.report import Report, counting, report

__all__ = ["Estimate", "Report", "accuracy", "correct", "counting", "margin", "report", "robust_accuracy"]
