"""Sweeps: many models at once, over widths, seeds, label noise and penalties."""

from robustcourse.sweeps.ensemble import Ensemble
from robustcourse.sweeps.member import Member, grid
from robustcourse.sweeps.sweep import Sweep, sweep
from robustcourse.sweeps.together import Curve, fit_together, hits_together

__all__ = ["Curve", "Ensemble", "Member", "Sweep", "fit_together", "grid", "hits_together", "sweep"]
