"""The formatter: one text for each notebook, nbgrader's metadata, and a message for each thing left to the author."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from tests import tiny
from tools import format


@pytest.fixture
def course(tmp_path, monkeypatch):
    """An empty course folder, and in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_good_lesson_has_no_problems_and_formatting_it_again_changes_nothing(course, capsys):
    path = tiny.write(tiny.lesson(), course / "lessons/01-a.ipynb")
    before = path.read_text()
    assert format.main(["--check"]) == 0
    assert format.main([]) == 0
    assert path.read_text() == before
    assert capsys.readouterr() == ("", "")


def test_solutions_and_checks_get_nbgraders_metadata_and_nothing_else_does():
    notebook = tiny.lesson()
    tiny.cell(notebook, "set-up").metadata.update(collapsed=True, nbgrader={"grade": True}, tags=["hide-input"])
    notebook = format.read(format.canonical(notebook))
    common = {"schema_version": 3, "task": False}
    solution, check = tiny.cell(notebook, "solution").metadata, tiny.cell(notebook, "check").metadata
    assert solution.nbgrader == common | {"grade_id": "solution", "solution": True, "grade": False, "locked": False}
    assert check.nbgrader == common | {
        "grade_id": "check", "solution": False, "grade": True, "locked": True, "points": 2
    }  # fmt: skip
    assert solution.tags == ["hide-input"]
    assert all(c.metadata == {} for c in notebook.cells if c.id not in ("solution", "check"))


def test_a_check_counts_one_point_unless_it_says_otherwise():
    notebook = tiny.lesson()
    tiny.cell(notebook, "check").source = "# Check\nassert add(1, 2) == 3"
    assert tiny.cell(format.read(format.canonical(notebook)), "check").metadata.nbgrader.points == 1


def test_the_pieces_in_which_a_text_arrived_are_one():
    notebook = tiny.lesson()
    marked = tiny.cell(notebook, "compare")
    whole = marked.outputs[0].text
    marked.outputs = [new_output("stream", name="stdout", text=part) for part in (whole[:5], whole[5:])]
    format.canonical(notebook)
    assert [output.text for output in marked.outputs] == [whole]


def test_outputs_are_dropped_except_those_that_nbval_compares():
    notebook = tiny.lesson()
    tiny.cell(notebook, "set-up").outputs = [new_output("stream", text="torch 2.13")]
    tiny.cell(notebook, "set-up").execution_count = 7
    notebook = format.read(format.canonical(notebook))
    assert tiny.cell(notebook, "set-up").outputs == []
    assert tiny.cell(notebook, "set-up").execution_count is None
    assert tiny.cell(notebook, "compare").outputs[0].text == "equal: True\n"
    assert tiny.cell(notebook, "compare").execution_count == 1


@pytest.mark.filterwarnings("ignore:Non-unique cell id")
def test_cells_without_a_readable_name_are_named_after_their_heading():
    notebook = tiny.lesson()
    notebook.cells[4:4] = [new_code_cell("1"), new_code_cell("2"), new_code_cell("3", id="Xq_3")]
    notebook.cells.append(new_code_cell("4", id="set-up"))  # taken
    names = [c.id for c in format.read(format.canonical(notebook)).cells]
    assert names[4:7] == ["predict-2", "predict-3", "predict-4"]
    assert names[-1] == "what-this-does-not-show-2"
    assert names[1] == "set-up"
    assert len(set(names)) == len(names)


def test_check_names_a_file_that_is_not_canonical_and_leaves_it_alone(course, capsys):
    path = tiny.write(tiny.lesson(), course / "lessons/01-a.ipynb")
    path.write_text(path.read_text().replace(' "nbformat": 4', ' "nbformat" : 4'))
    before = path.read_text()
    assert format.main(["--check"]) == 1
    assert "lessons/01-a.ipynb: not canonical: run `make format`" in capsys.readouterr().err
    assert path.read_text() == before
    assert format.main([]) == 0
    assert path.read_text() != before
    assert format.main(["--check"]) == 0


def change(name, source):
    """A change to a good lesson: another source for one cell."""

    def apply(notebook):
        tiny.cell(notebook, name).source = source

    return apply


def drop(name):
    def apply(notebook):
        notebook.cells.remove(tiny.cell(notebook, name))

    return apply


def show_html(notebook):
    tiny.cell(notebook, "compare").outputs = [new_output("display_data", {"text/html": "<b>", "text/plain": "b"})]


def forget_output(notebook):
    tiny.cell(notebook, "compare").outputs = []


def second_exercise(notebook):
    at = notebook.cells.index(tiny.cell(notebook, "check"))
    notebook.cells[at:at] = [new_markdown_cell("### Exercise 2", id="two"), new_code_cell(tiny.SOLUTION, id="late")]


PROBLEMS = [
    (lambda nb: nb.cells.extend(new_markdown_cell(".") for _ in range(26)), "46 cells; a lesson has 20 to 45"),
    (drop("measured"), "19 cells; a lesson has 20 to 45"),
    (change("measured", "What we saw"), 'no heading with "What we measured"'),
    (change("predict", "## Guess"), 'no heading with "Predict"'),
    (change("solution", "### BEGIN SOLUTION\n1"), "cell solution: `### BEGIN SOLUTION` and `### END SOLUTION` do not"),
    (change("solution", "1\n### END SOLUTION"), "cell solution: `### BEGIN SOLUTION` and `### END SOLUTION` do not"),
    (change("check", "# Check\nassert 1\n### BEGIN HIDDEN TESTS"), "`### END HIDDEN TESTS` do not come in pairs"),
    (change("measured", "### BEGIN SOLUTION\n1\n### END SOLUTION"), "`### BEGIN SOLUTION` stands in a text cell"),
    (change("set-up", "### BEGIN HIDDEN TESTS\n### END HIDDEN TESTS"), "stands outside of a `# Check` cell"),
    (change("check", "# Check\nassert 1\n" + tiny.SOLUTION), "cell check: a solution and its check share a cell"),
    (change("check", "# Check\nprint(add(1, 2))"), "cell check: a `# Check` cell without an assert checks nothing"),
    (change("check", "assert add(1, 2) == 3"), "cell solution: no `# Check` cell follows"),
    (second_exercise, "cell solution: no `# Check` cell follows"),
    (change("set-up", "x = 1\n" * 26), "cell set-up: 26 lines of code; at most 25"),
    (change("measured", "See {ref}`there`."), "cell measured: `{ref}`` is MyST, which Colab shows raw"),
    (change("measured", "```{note}\nHello\n```"), "is MyST, which Colab shows raw"),
    (change("measured", ":::{tip}\nHello\n:::"), "is MyST, which Colab shows raw"),
    (change("measured", "(label)=\n# Title"), "is MyST, which Colab shows raw"),
    (change("measured", "![](a.png)"), "cell measured: an image without a text"),
    (change("measured", '<img src="a.png" alt="">'), "cell measured: an image without a text"),
    (change("set-up", 'open("/home/me/data.csv")'), "cell set-up: `/home/me` looks like a path of one machine"),
    (change("measured", r"In C:\Users\me."), "looks like a path of one machine"),
    (forget_output, "cell compare: marked NBVAL_CHECK_OUTPUT but stores no output"),
    (show_html, "cell compare: marked NBVAL_CHECK_OUTPUT but shows more than printed text"),
]


@pytest.mark.parametrize(("break_it", "message"), PROBLEMS, ids=[message[:40] for _, message in PROBLEMS])
def test_each_problem_is_named_with_its_cell(break_it, message):
    notebook = tiny.lesson()
    break_it(notebook)
    assert any(message in problem for problem in format.problems(notebook)), list(format.problems(notebook))


@pytest.mark.parametrize(
    "source",
    [
        "$\\frac{1}{2}$ and $x/y/z$, half/half, 1/2/3, $\\{a\\}/b/c$",
        "[a page](https://example.org/a/b) and <https://example.org/a>",
        "<details><summary>Hint</summary>\n\nRead.\n\n</details>",
        '![three digits](a.png) and <img src="b.png" alt="two curves">',
        "```python\nx = {a: b}\n```",
    ],
)
def test_ordinary_text_is_no_problem(source):
    notebook = tiny.lesson()
    tiny.cell(notebook, "measured").source += "\n" + source
    assert list(format.problems(notebook)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [("no", "Expecting value"), ("{}", "not a notebook of format 4"), ('{"nbformat": 4, "cells": []}', "'metadata'")],
)
def test_a_file_that_is_no_notebook_is_named_and_the_next_one_still_formatted(course, capsys, text, message):
    (course / "lessons").mkdir()
    (course / "lessons/01-broken.ipynb").write_text(text)
    tiny.write(tiny.lesson(), course / "lessons/02-good.ipynb")
    assert format.main([]) == 1
    printed = capsys.readouterr().err
    assert "lessons/01-broken.ipynb: " in printed
    assert message in printed
    assert "02-good" not in printed


def test_no_lessons_is_an_error(course, capsys):
    assert format.main(["--check"]) == 1
    assert "no lessons/*.ipynb here" in capsys.readouterr().err


def test_store_without_an_execution_says_what_to_run(course, capsys):
    tiny.write(tiny.lesson(), course / "lessons/01-a.ipynb")
    assert format.main(["--store"]) == 1
    assert "01-a.ipynb as it is now has not been executed: run `make execute` first" in capsys.readouterr().err
