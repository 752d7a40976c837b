"""Sweeps: many models at once, over widths, seeds, label noise and penalties."""

from robustcourse.sweeps.ensemble import Ensemble
from robustcourse.sweeps.together import Curve, fit_together, hits_together

__all__ = ["Curve", "Ensemble", "fit_together", "hits_together"]
