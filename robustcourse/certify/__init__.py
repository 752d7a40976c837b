"""Certificates: proofs that no attack exists."""

from robustcourse.certify.bounds import alpha_crown, crown, crown_ibp, ibp
from robustcourse.certify.branch import BranchAndBound
from robustcourse.certify.smoothing import Smoothed, smooth
from robustcourse.certify.verdict import Certificate, Verdict, certified, certified_accuracy, verify

__all__ = [
    "BranchAndBound",
    "Certificate",
    "Smoothed",
    "Verdict",
    "alpha_crown",
    "certified",
    "certified_accuracy",
    "crown",
    "crown_ibp",
    "ibp",
    "smooth",
    "verify",
]
