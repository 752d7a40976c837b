"""The colour language of the course: a family of models has one colour, a kind of accuracy one line.

The colours are near Okabe and Ito's, which survive colour blindness, each with a contrast of 3 or more on white and on
the dark pages of the site. Clean is solid, attacked dashed, certified dotted.
"""

from __future__ import annotations

from typing import Any

COLOURS = {"standard": "#1a80c4", "robust": "#d55e00", "certified": "#128a66", "reference": "#808080"}
MARKERS = {"standard": "o", "robust": "D", "certified": "P"}  # no meaning rests on colour alone
LINES = {"clean": "-", "attacked": "--", "certified": ":"}

# Stands for "the colour of the text around": replaced by currentColor once matplotlib has drawn.
INK = "#010203"

RC: dict[Any, Any] = {
    "svg.fonttype": "none",  # letters stay letters: they can be searched, copied and read aloud
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "lines.linewidth": 2,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "figure.constrained_layout.use": True,
    **dict.fromkeys(
        ["text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"], INK
    ),
    "grid.color": INK,
}


def colour(name: str) -> str:
    """The colour of a series, by the first word of its name; grey if that is no family of the colour language."""
    return COLOURS.get(_family(name), COLOURS["reference"])


def marker(name: str) -> str:
    """The marker of a series, by its family."""
    return MARKERS.get(_family(name), "^")


def _family(name: str) -> str:
    return name.replace(",", " ").split(" ")[0]


def line(name: str) -> str:
    """The line of a series: dashed if its name says attacked, dotted if it says certified, else solid."""
    return next((style for word, style in LINES.items() if word in name), "-")
