"""Live figures: interactive pictures that compute in the reader's browser, with no kernel and no network."""

from robustcourse.widgets.computed import attack_lab, bounds_flow, fit_curve, minimax, noise_cloud, two_walls
from robustcourse.widgets.live import Live
from robustcourse.widgets.measured import Route, budget, descent, epoch_slider, terrain, trade_off, worst_case

__all__ = [
    "Live",
    "Route",
    "attack_lab",
    "bounds_flow",
    "budget",
    "descent",
    "epoch_slider",
    "fit_curve",
    "minimax",
    "noise_cloud",
    "terrain",
    "trade_off",
    "two_walls",
    "worst_case",
]
