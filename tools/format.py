"""Keep the lessons' files canonical, write their nbgrader metadata, and check their form.

    python tools/format.py [--check | --store] [LESSON.ipynb ...]

A lesson is stored without outputs, except for cells marked `# NBVAL_CHECK_OUTPUT`: the text that they store is what
nbval compares each execution with. `--store` takes that text from the last execution. `--check` writes nothing and
fails if a file is not canonical. In all three, what only an author can repair is printed, with the lesson and the cell.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbval.plugin import coalesce_streams

from robustcourse.files import replacing
from tools import execute

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
KEPT = ("mystnb", "tags")  # cell metadata that an author writes; nbgrader's is ours, the rest is editors' noise
CELLS = range(20, 46)
LINES = 25
HEADINGS = ("Before you start", "Predict", "Exercise", "What we measured", "does not show")

SOLUTION = "### BEGIN SOLUTION", "### END SOLUTION"
HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
CHECK = re.compile(r"# Check\b(?: \((\d+) points?\))?")
MARKED = re.compile(r"^\s*# NBVAL_CHECK_OUTPUT\s*$", re.MULTILINE)
MYST = re.compile(r"\{[a-z][\w:.+-]*\}`|^\s*(?:`{3,}|:{3,})\s*\{|^\([\w-]+\)=\s*$", re.MULTILINE)
NO_ALT = re.compile(r"!\[\s*\]\(|<img\b(?![^>]*\balt=[\"'][^\"'])", re.IGNORECASE)
MACHINE_PATH = re.compile(r"(?<![\w.:/<~\\)}\]$*-])/(?!/)[A-Za-z][\w.-]*/[\w.-]+|\b[A-Z]:\\\w")


def is_solution(cell: NotebookNode) -> bool:
    """Whether a student writes this cell."""
    return cell.cell_type == "code" and SOLUTION[0] in cell.source


def is_check(cell: NotebookNode) -> bool:
    """Whether this cell checks what a student wrote."""
    return cell.cell_type == "code" and CHECK.match(cell.source) is not None


def is_marked(cell: NotebookNode) -> bool:
    """Whether nbval compares this cell's text."""
    marked = MARKED.search(cell.source) or "nbval-check-output" in cell.metadata.get("tags", [])
    return cell.cell_type == "code" and bool(marked)


def read(text: str) -> NotebookNode:
    """The notebook in this text, every cell named; raise ValueError or ValidationError if it is not one."""
    raw = json.loads(text)
    if not isinstance(raw, dict) or raw.get("nbformat") != 4:
        raise ValueError("not a notebook of format 4")
    nbformat.validate(raw)
    notebook = nbformat.v4.reads(text)
    notebook.nbformat_minor = 5
    name_cells(notebook)
    return notebook


def canonical(notebook: NotebookNode) -> str:
    """The one text that this notebook may be stored as."""
    for cell in notebook.cells:
        cell.source = cell.source.rstrip("\n")
        tags = {tag for tag in cell.metadata.get("tags", []) if tag != "hide-input"}
        if is_solution(cell):
            tags.add("hide-input")  # the page shows it folded
        metadata = {name: cell.metadata[name] for name in KEPT if name in cell.metadata} | {"tags": sorted(tags)}
        if is_solution(cell) or is_check(cell):
            metadata["nbgrader"] = nbgrader(cell)
        cell.metadata = NotebookNode({name: value for name, value in metadata.items() if value})
        if cell.cell_type != "code":
            continue
        # As one text, as nbval compares it: in how many pieces a stream arrives is a matter of chance.
        cell.outputs = coalesce_streams(cell.outputs) if is_marked(cell) else []
        cell.execution_count = 1 if cell.outputs else None  # nbval refuses an output whose cell has no count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = 1
    notebook.metadata = NotebookNode({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    return nbformat.v4.writes(notebook).rstrip("\n") + "\n"  # sorted keys, one space of indent


def nbgrader(cell: NotebookNode) -> dict[str, object]:
    """The metadata by which nbgrader tells a student's cells and the checks from the text around them."""
    check = is_check(cell)
    metadata: dict[str, object] = {
        "schema_version": 3,
        "grade_id": cell.id,
        "solution": not check,
        "grade": check,
        "locked": check,
        "task": False,
    }
    if check:
        points = CHECK.match(cell.source)[1]
        metadata["points"] = int(points or 1)
    return metadata


def name_cells(notebook: NotebookNode) -> None:
    """Give each cell without a readable name of its own one from the heading above it."""
    taken: set[str] = set()
    heading = "start"
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^#+ (.+)$", cell.source, re.MULTILINE)):
            heading = re.sub(r"[^a-z0-9]+", "-", found[1].lower()).strip("-")[:40].strip("-") or "start"
        name = cell.get("id", "")
        random = re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name)
        if random or not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,47}", name) or name in taken:
            name, number = heading, 1
            while name in taken:
                number += 1
                name = f"{heading}-{number}"
        cell.id = name
        taken.add(name)


def store(notebook: NotebookNode, name: str) -> None:
    """Copy the outputs of marked cells from the last execution; raise LookupError if it has not been executed."""
    bundle = execute.executed(notebook)
    if bundle is None:
        raise LookupError(f"{name} as it is now has not been executed: run `make execute` first")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell, ran in zip(code, bundle.nb.cells, strict=True):
        if is_marked(cell):
            cell.outputs = ran.outputs


def problems(notebook: NotebookNode) -> Iterator[str]:
    """What only an author can repair, one line each."""
    if len(notebook.cells) not in CELLS:
        yield f"{len(notebook.cells)} cells; a lesson has {CELLS[0]} to {CELLS[-1]}"
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for heading in HEADINGS:
        if not re.search(rf"^(?:#+ |\*\*).*{heading}", text, re.MULTILINE | re.IGNORECASE):
            yield f'no heading with "{heading}"'

    unchecked = None
    for cell in notebook.cells:
        for problem in _cell_problems(cell):
            yield f"cell {cell.id}: {problem}"
        new_part = cell.cell_type == "markdown" and re.search(r"^#{1,2} |^#+ .*Exercise", cell.source, re.MULTILINE)
        if unchecked and new_part:
            yield f"cell {unchecked}: no `# Check` cell follows this solution in its exercise"
            unchecked = None
        if is_solution(cell):
            unchecked = cell.id
        elif is_check(cell):
            unchecked = None
    if unchecked:
        yield f"cell {unchecked}: no `# Check` cell follows this solution in its exercise"


def _cell_problems(cell: NotebookNode) -> Iterator[str]:
    source, code = cell.source, cell.cell_type == "code"
    for begin, end in (SOLUTION, HIDDEN):
        marks = re.findall(f"{begin}|{end}", source)
        if marks != [begin, end] * (len(marks) // 2):
            yield f"`{begin}` and `{end}` do not come in pairs"
        elif marks and not code:
            yield f"`{begin}` stands in a text cell, where it would not be cleared"
    if code and HIDDEN[0] in source and not is_check(cell):
        yield f"`{HIDDEN[0]}` stands outside of a `# Check` cell"
    if is_check(cell) and is_solution(cell):
        yield "a solution and its check share a cell: a student would lose the check"
    if is_check(cell) and not re.search(r"^\s*assert\b", source, re.MULTILINE):
        yield "a `# Check` cell without an assert checks nothing"
    if code and (lines := len(source.splitlines())) > LINES:
        yield f"{lines} lines of code; at most {LINES}, the rest belongs in the package"
    if not code and (found := MYST.search(source)):
        yield f"`{found[0].strip()}` is MyST, which Colab shows raw: lessons are CommonMark and $math$"
    if not code and NO_ALT.search(source):
        yield "an image without a text for those who cannot see it"
    if found := MACHINE_PATH.search(source):
        yield f"`{found[0]}` looks like a path of one machine"
    if is_marked(cell) and not cell.outputs:
        yield "marked NBVAL_CHECK_OUTPUT but stores no output: run `make execute`, then format with --store"
    if is_marked(cell) and any(_not_text(output) for output in cell.outputs):
        yield "marked NBVAL_CHECK_OUTPUT but shows more than printed text, which cannot be compared"


def _not_text(output: NotebookNode) -> bool:
    return output.get("name") != "stdout" and set(output.get("data", {"": ""})) != {"text/plain"}


def main(arguments: list[str] | None = None) -> int:
    """Format the given lessons, or all; return 1 if something is left for an author to do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="write nothing; fail if a file is not canonical")
    how.add_argument("--store", action="store_true", help="take the outputs of marked cells from the last execution")
    parser.add_argument("lessons", nargs="*", type=Path, help="default: lessons/*.ipynb")
    options = parser.parse_args(arguments)
    lessons = options.lessons or sorted(Path("lessons").glob("*.ipynb"))
    if not lessons:
        print("no lessons/*.ipynb here: run this in the root of the course", file=sys.stderr)
    bad = not lessons
    for path in lessons:
        try:
            old = path.read_text(encoding="utf-8")
            notebook = read(old)
            if options.store:
                store(notebook, path.name)
            new = canonical(notebook)
        except (OSError, ValueError, LookupError, nbformat.ValidationError) as problem:
            print(f"{path}: {str(problem).splitlines()[0]}", file=sys.stderr)
            bad = True
            continue
        if new != old and options.check:
            print(f"{path}: not canonical: run `make format`", file=sys.stderr)
            bad = True
        elif new != old:
            with replacing(path) as file:
                file.write_text(new, encoding="utf-8")
            print(f"{path}: formatted")
        for problem in problems(notebook):
            print(f"{path}: {problem}", file=sys.stderr)
            bad = True
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
