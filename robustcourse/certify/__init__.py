"""Certificates: proofs that no attack exists."""

from robustcourse.certify.bounds import alpha_crown, crown, crown_ibp, ibp
from robustcourse.certify.certified import certified, certified_accuracy
from robustcourse.certify.milp import milp
from robustcourse.certify.smoothing import Smoothed, smooth

__all__ = ["Smoothed", "alpha_crown", "certified", "certified_accuracy", "crown", "crown_ibp", "ibp", "milp", "smooth"]
