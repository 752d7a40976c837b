"""Landscapes as one would see them from a hill nearby: heights over a plane, all on one scale of height and colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from torch import Tensor

from robustcourse.figures.picture import Picture, drawing, picture

LOOK: dict[str, Any] = {"cmap": "cividis", "rstride": 1, "cstride": 1, "lw": 0.3, "ec": "#80808066"}


def surfaces(heights: Mapping[str, Tensor], at: Sequence[float], alt: str, top: float | None = None) -> Picture:
    """Surfaces side by side. What is higher in one of them is higher, and lighter, in all.

    Args:
        heights: for each surface by name (S, S) numbers, the first index towards the right, the second into the page.
        at: (S,) rising places along both sides.
        alt: what one sees.
        top: heights above are cut off; the highest of all if None.

    Raises:
        ValueError: heights of another shape than (S, S), or that are not finite.
    """
    for name, z in heights.items():
        if z.shape != (len(at), len(at)) or not z.isfinite().all():
            raise ValueError(f"heights must be {len(at)} × {len(at)} finite numbers, {name!r} is {tuple(z.shape)}")
    tables = {name: z.detach().cpu().double().numpy() for name, z in heights.items()}
    top = max(table.max() for table in tables.values()) if top is None else top
    right, back = np.meshgrid(at, at, indexing="ij")
    with drawing(), plt.rc_context({"grid.color": "#80808040"}):  # a grid in space knows no transparency of its own
        fig, axes = plt.subplots(
            1, len(tables), figsize=(3.7 * len(tables), 3.6), subplot_kw={"projection": "3d"}, squeeze=False
        )
        for ax, (name, table) in zip(axes[0], tables.items(), strict=True):
            ax.plot_surface(right, back, table.clip(max=top), vmin=0, vmax=top, **LOOK)
            ax.set(zlim=(0, top), title=name)
            for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
                axis.set_pane_color("#00000000")
    middle = len(at) // 2
    rows = [(name, table[middle, middle], table.min(), table.max()) for name, table in tables.items()]
    columns = zip(*((name, *(f"{number:.3g}" for number in numbers)) for name, *numbers in rows), strict=True)
    return picture(fig, alt, dict(zip(("surface", "in the middle", "lowest", "highest"), columns, strict=True)))
