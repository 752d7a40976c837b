"""Certificates: proofs that no attack exists."""

from robustcourse.certify.bounds import alpha_crown, crown, crown_ibp, ibp
from robustcourse.certify.branch import BranchAndBound
from robustcourse.certify.ladder import Ladder, Unsound, ladder
from robustcourse.certify.milp import milp
from robustcourse.certify.radius import certified_radius
from robustcourse.certify.smoothing import Smoothed, smooth
from robustcourse.certify.stretch import lipschitz
from robustcourse.certify.verdict import Certificate, Verdict, certified, certified_accuracy, verify
from robustcourse.certify.votes import Votes

__all__ = [
    "BranchAndBound",
    "Certificate",
    "Ladder",
    "Smoothed",
    "Unsound",
    "Verdict",
    "Votes",
    "alpha_crown",
    "certified",
    "certified_accuracy",
    "certified_radius",
    "crown",
    "crown_ibp",
    "ibp",
    "ladder",
    "lipschitz",
    "milp",
    "smooth",
    "verify",
]
