"""Sweeps: many models at once, over widths, seeds, label noise and penalties."""

from robustcourse.sweeps.ensemble import Ensemble
from robustcourse.sweeps.sweep import Member, Sweep, grid, sweep
from robustcourse.sweeps.together import Curve, fit_together, hits_together

__all__ = ["Curve", "Ensemble", "Member", "Sweep", "fit_together", "grid", "hits_together", "sweep"]
