"""A small lesson that keeps every rule of the formatter, for tests to run, change and break."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import format

PRINTS = '# NBVAL_CHECK_OUTPUT\nprint("equal:", 1 + 1 == 2)'
SOLUTION = "def add(a, b):\n    ### BEGIN SOLUTION\n    return a + b\n    ### END SOLUTION"
CHECK = (
    '# Check (2 points)\nassert add(1, 2) == 3, f"add(1, 2) is 3, not {add(1, 2)}"\n'
    "### BEGIN HIDDEN TESTS\nassert add(5, 5) == 10\n### END HIDDEN TESTS"
)


def lesson(setup: str = "import math") -> NotebookNode:
    """The lesson as its author left it: the set-up cell is `setup`; marked cells store what they print."""
    text, code = new_markdown_cell, new_code_cell
    stored = [nbformat.v4.new_output("stream", name="stdout", text="equal: True\n")]
    cells = [
        text("# A lesson\n\nIts promise.\n\n## Before you start\n\nNothing."),
        code(setup, id="set-up"),
        text("## Predict\n\nA number."),
        code(PRINTS, id="compare", outputs=stored),
        text("## Exercise 1: the sum\n\nWrite `add(a, b)`."),
        code(SOLUTION, id="solution"),
        code(CHECK, id="check"),
        text("## What we measured\n\nNothing yet.", id="measured"),
        text("## What this does not show\n\nMuch."),
    ]
    cells[-1:-1] = [text(f"Text {number}.") for number in range(20 - len(cells))]
    notebook = new_notebook(cells=cells)
    format.name_cells(notebook)
    return notebook


def write(notebook: NotebookNode, path: Path) -> Path:
    """Store it as the formatter would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(format.canonical(notebook), encoding="utf-8")
    return path


def cell(notebook: NotebookNode, name: str) -> NotebookNode:
    """The cell with this id."""
    return next(cell for cell in notebook.cells if cell.id == name)
