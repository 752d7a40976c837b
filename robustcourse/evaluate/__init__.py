"""What people measure: accuracies with intervals, clean and under attack, and whether to believe them."""

from robustcourse.evaluate.accuracy import accuracy, correct, robust_accuracy
from robustcourse.evaluate.audit import Audit, audit
from robustcourse.evaluate.curve import break_distance, robustness_curve
from robustcourse.evaluate.estimate import Estimate
from robustcourse.evaluate.margin import margin
from robustcourse.evaluate.report import Report, counting, report

__all__ = [
    "Audit",
    "Estimate",
    "Report",
    "accuracy",
    "audit",
    "break_distance",
    "correct",
    "counting",
    "margin",
    "report",
    "robust_accuracy",
    "robustness_curve",
]
