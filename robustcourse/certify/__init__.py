"""Certificates: proofs that no attack exists."""

from robustcourse.certify.bounds import alpha_crown, crown, crown_ibp, ibp
from robustcourse.certify.smoothing import Smoothed, smooth
from robustcourse.certify.stretch import lipschitz
from robustcourse.certify.verdict import Certificate, Verdict, certified, certified_accuracy, verify
from robustcourse.certify.votes import Votes

__all__ = [
    "Certificate",
    "Smoothed",
    "Verdict",
    "Votes",
    "alpha_crown",
    "certified",
    "certified_accuracy",
    "crown",
    "crown_ibp",
    "ibp",
    "lipschitz",
    "smooth",
    "verify",
]
