"""Certificates: proofs that no attack exists."""

from robustcourse.certify.bounds import alpha_crown, crown, crown_ibp, ibp
from robustcourse.certify.branch import BranchAndBound
from robustcourse.certify.ladder import Ladder, Unsound, ladder
from robustcourse.certify.radius import certified_radius
from robustcourse.certify.smoothing import Smoothed, smooth
from robustcourse.certify.verdict import Certificate, Verdict, certified, certified_accuracy, verify

__all__ = [
    "BranchAndBound",
    "Certificate",
    "Ladder",
    "Smoothed",
    "Unsound",
    "Verdict",
    "alpha_crown",
    "certified",
    "certified_accuracy",
    "certified_radius",
    "crown",
    "crown_ibp",
    "ibp",
    "ladder",
    "smooth",
    "verify",
]
