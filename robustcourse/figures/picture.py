"""A matplotlib figure on a page: one SVG for light and dark, a text alternative, and a table of its data."""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from robustcourse.figures.style import INK, RC


@dataclass(frozen=True)
class Picture:
    """What `picture` returns; the last line of a cell shows it.

    Args:
        svg: the drawing, whose ink takes the colour of the text around it.
        alt: what the drawing shows, for readers who cannot see it.
        table: its data, column by column.
    """

    svg: str
    alt: str
    table: Mapping[str, Sequence[object]]

    def _repr_html_(self) -> str:
        cells = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in self.table)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in row) + "</tr>"
            for row in zip(*self.table.values(), strict=True)
        )
        return (
            f'<figure class="rc-picture" style="margin:0">{self.svg}'
            "<details><summary>Data of this figure</summary>"
            f"<table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></details></figure>"
        )

    def __repr__(self) -> str:
        return f"Picture: {self.alt}"


@contextmanager
def drawing() -> Iterator[None]:
    """The style of the course, for a figure drawn by hand: `with drawing(): fig, ax = plt.subplots()`."""
    with plt.rc_context(RC):
        yield


def picture(fig: Figure, alt: str, table: Mapping[str, Sequence[object]]) -> Picture:
    """Turn a figure that was drawn under `drawing()` into a `Picture`, and close it.

    Args:
        fig: a matplotlib figure.
        alt: what one sees in it, in one or two sentences.
        table: its data, as {"column": values}, all columns of one length.

    Raises:
        ValueError: no alt text, no table, or columns of different lengths.
    """
    if len(alt) < 20:
        raise ValueError(f"alt must say what the figure shows, in a sentence or two, got {alt!r}")
    if not table or len({len(column) for column in table.values()}) != 1:
        raise ValueError(f"table needs columns of one length, got { ({k: len(v) for k, v in table.items()}) }")
    name = "f" + hashlib.sha256(f"{alt}{table}".encode()).hexdigest()[:10]
    with plt.rc_context({**RC, "svg.hashsalt": name}):
        raw = io.StringIO()
        fig.savefig(raw, format="svg", metadata={"Date": None})
        plt.close(fig)
    svg = raw.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)

    def adapt(tag: re.Match[str]) -> str:  # in tags only, never in what a reader sees
        own = re.sub(r'id="|(?<=xlink:href=")#|url\(#', lambda m: m.group() + f"{name}-", tag.group())
        return own.replace(INK, "currentColor")

    svg = re.sub(r"<[^>]+>", adapt, svg)  # names become unique on the page
    label = html.escape(alt, quote=True)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}" style="max-width:100%;height:auto"', 1)
    return Picture(svg, alt, table)
