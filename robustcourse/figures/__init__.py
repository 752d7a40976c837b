"""Figures: one drawing that reads on light and dark pages, with a text for those who cannot see it and its numbers."""

from robustcourse.figures.network import network
from robustcourse.figures.picture import Picture, drawing, picture
from robustcourse.figures.plots import (
    curves,
    differences,
    guesses,
    histogram,
    images,
    intervals,
    lines,
    plane,
    report_card,
    scatter,
)
from robustcourse.figures.style import COLOURS, colour
from robustcourse.figures.surfaces import surfaces

__all__ = [
    "COLOURS",
    "Picture",
    "colour",
    "curves",
    "differences",
    "drawing",
    "guesses",
    "histogram",
    "images",
    "intervals",
    "lines",
    "network",
    "picture",
    "plane",
    "report_card",
    "scatter",
    "surfaces",
]
