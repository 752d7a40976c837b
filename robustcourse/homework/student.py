"""The student copy of a lesson: its solutions become stubs, its checks stay, its hidden tests go.

nbgrader's own preprocessors do the work, so that what is handed out is what nbgrader can collect and grade.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

if TYPE_CHECKING:
    from nbformat import NotebookNode

LESSONS = "https://github.com/robustcourse/robustcourse/blob/main/lessons/"  # tested against pyproject.toml
STUB = 'raise NotImplementedError("your code here")'

# The lesson's own Colab link, badge or text: it would open the lesson, solutions and all, and not this file.
COLAB = re.compile(r"^\[(?:!\[[^\]]*\]\([^)]*\)|[^\]]*)\]\(https://colab\.[^)]*\)\n*", re.MULTILINE)

# A link that holds beside the lesson only; a student copy lies anywhere.
LINK = re.compile(r"\]\((?!\w+:|#)([^)\s]+)\)")


def release(lesson: Path) -> NotebookNode:
    """Make the student copy of a lesson.

    Args:
        lesson: the lesson's `.ipynb`, formatted (its nbgrader metadata say which cells are solutions and checks).

    Returns:
        The notebook to hand out: no outputs, solutions or hidden tests, and a first cell that says what it is.

    Raises:
        ImportError: nbgrader is not installed.
        FileNotFoundError: there is no such file.
        ValueError: the file is not a notebook, or its marks and its metadata disagree.
    """
    if not lesson.is_file():
        raise FileNotFoundError(f"lesson: there is no file {lesson}")
    try:
        import nbformat
        from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions
    except ImportError as problem:
        raise ImportError('student copies need nbgrader: pip install "robustcourse[homework]"') from problem

    try:
        notebook: NotebookNode = nbformat.read(lesson, as_version=4)
        for step in (ClearSolutions(code_stub={"python": STUB}), ClearHiddenTests()):
            notebook, _ = step.preprocess(notebook, {})
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError, RuntimeError) as problem:
        # RuntimeError is nbgrader's, for marks
        raise ValueError(f"lesson: {lesson.name}: {problem}") from problem

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = LINK.sub(lambda link: f"]({urljoin(LESSONS, link[1])})", COLAB.sub("", cell.source))
        tags = [tag for tag in cell.metadata.get("tags", []) if tag != "hide-input"]
        cell.metadata.pop("tags", None)
        if tags:
            cell.metadata.tags = tags
    banner = nbformat.v4.new_markdown_cell(_banner(lesson), id="student-copy")
    notebook.cells.insert(0, banner)
    return notebook


def _banner(lesson: Path) -> str:
    return (
        f"> **Student copy** of the lesson [{lesson.stem}]({LESSONS}{lesson.name}).\n"
        "> Replace each `raise NotImplementedError(...)` by your own code, then run the check below it.\n"
        "> A check raises no error when your answer is right, and says what it expected when it is not."
    )
