"""A network small enough to be drawn: every neuron, every weight, and what is known of each neuron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
from torch import Tensor

from robustcourse.figures.picture import Picture, drawing, picture
from robustcourse.figures.style import INK, colour


def network(columns: Sequence[Mapping[str, str]], weights: Sequence[Tensor], alt: str) -> Picture:
    """The neurons in columns, inputs at the left, and a line for each weight that is not zero.

    Args:
        columns: for each layer, {name of a neuron: what is known of it, in a line or two}.
        weights: between each column and the next, (neurons there, neurons here).
        alt: what one sees.

    Raises:
        ValueError: weights that do not fit the columns.
    """
    sizes = [len(column) for column in columns]
    wanted = [(there, here) for here, there in pairwise(sizes)]
    if (got := [tuple(weight.shape) for weight in weights]) != wanted:
        raise ValueError(f"weights must be of shapes {wanted}, as many as lie between the columns, got {got}")
    with drawing():
        fig, ax = plt.subplots(figsize=(1.9 * len(columns), 1.5 * max(sizes)))
        heights = [[(max(sizes) - size) / 2 + row for row in range(size)] for size in sizes]
        for at, weight in enumerate(weights):
            for there, row in zip(heights[at + 1], weight.tolist(), strict=True):
                for here, number in zip(heights[at], row, strict=True):
                    if number:
                        start, text = 0.29 if here == there else 0.2, f"{number:g}".replace("-", "−")
                        ends = [start, 1 - start]  # from frame to frame
                        steps = [here + share * (there - here) for share in ends]
                        ax.plot([at + share for share in ends], steps, color=colour("reference"), lw=1)
                        # Not in the middle: there the lines cross.
                        ax.text(at + 0.36, here + 0.36 * (there - here), text, va="bottom")
        for at, (column, places) in enumerate(zip(columns, heights, strict=True)):
            for place, (name, known) in zip(places, column.items(), strict=True):
                frame = {"boxstyle": "round,pad=0.4", "facecolor": "#80808022", "edgecolor": colour("certified")}
                ax.text(at, place, f"{name}\n{known}", ha="center", va="center", bbox=frame, color=INK, fontsize=10)
        ax.set(xlim=(-0.45, len(columns) - 0.55), ylim=(max(sizes) - 0.5, -0.5))
        ax.axis("off")
    known_of = {name: known for column in columns for name, known in column.items()}
    return picture(fig, alt, {"neuron": list(known_of), "what is known": list(known_of.values())})
