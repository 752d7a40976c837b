"""Certificates: proofs that no attack exists."""

from robustcourse.certify.bounds import alpha_crown, crown, crown_ibp, ibp
from robustcourse.certify.certified import certified, certified_accuracy

__all__ = ["alpha_crown", "certified", "certified_accuracy", "crown", "crown_ibp", "ibp"]
