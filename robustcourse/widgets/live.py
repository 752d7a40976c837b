"""A live figure is one piece of HTML: its data, and the few JavaScript modules beside this file that draw it.

The same piece works on a static page, in JupyterLab and in Colab.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

FIGURES = (
    "walls",
    "lab",
    "worst",
    "moons",
    "tradeoff",
    "epochs",
    "noise",
    "flow",
    "budget",
    "fit",
    "terrain",
    "descent",
)
IMPORT = re.compile(r'^import [^;]* from "\./([a-z0-9]+)\.mjs";\n', flags=re.MULTILINE)

State = Mapping[str, Any]


@dataclass(frozen=True)
class Live:
    """A figure that the reader can move.

    Args:
        figure: which one of `FIGURES`: the name of its module.
        state: what the figure shows, as JSON can hold it.
        title: a line above the figure.
        alt: what there is to see, for readers who cannot see it or have no JavaScript.

    Raises:
        ValueError: there is no such figure.
    """

    figure: str
    state: State
    title: str
    alt: str

    def __post_init__(self) -> None:
        if self.figure not in FIGURES:
            raise ValueError(f"figure must be one of {', '.join(FIGURES)}, got {self.figure!r}")

    def __repr__(self) -> str:
        return f"Live({self.figure}: {self.title})"

    def _repr_html_(self) -> str:
        state = json.dumps({**self.state, "title": self.title, "alt": self.alt})
        # "<" is written as an escape: whatever a title holds, it cannot end the script that it stands in.
        state = state.replace("<", "\\u003c")
        key = f"{self.figure}-{hashlib.sha256(state.encode()).hexdigest()[:12]}"
        text = html.escape(f"{self.title}. {self.alt} (This figure needs JavaScript.)")
        # JupyterLab leaves the keys that are pressed inside to the figure, where it finds data-lm-suppress-shortcuts.
        return (
            f'<div class="live" data-live="{key}" data-lm-suppress-shortcuts="true"><noscript><p>{text}</p></noscript>'
            f'</div>\n<script type="module">\n{script(self.figure)}\nlive("{key}", {self.figure}, {state});\n</script>'
        )


def script(figure: str) -> str:
    """A figure's module behind those that it builds on, as one script without the imports between them."""
    folder = resources.files("robustcourse.widgets")
    modules: dict[str, str] = {}

    def add(name: str) -> None:
        text = folder.joinpath(f"{name}.mjs").read_text("utf-8")
        for other in IMPORT.findall(text):
            if other not in modules:
                add(other)
        modules[name] = IMPORT.sub("", text)

    add(figure)
    return "\n".join(modules.values())
