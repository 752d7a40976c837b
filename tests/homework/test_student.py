"""The student copy: nothing of the solution is left, all of the checks are, and they tell right from wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from robustcourse.homework import release
from robustcourse.homework.student import LESSONS
from tests import tiny
from tools import format
from tools.kernel import sockets

LINK = "https://colab.research.google.com/github/a/b/blob/main/lessons/07-tiny.ipynb"
BADGE = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({LINK})"


@pytest.fixture
def lesson(tmp_path):
    """A formatted lesson with a solution, a check and hidden tests."""
    notebook = tiny.lesson()
    notebook.cells[0].source = f"# A lesson\n\n{BADGE}\n\nIts promise."
    return tiny.write(notebook, tmp_path / "07-tiny.ipynb")


def source(notebook):
    return "\n".join(cell.source for cell in notebook.cells)


def test_solutions_and_hidden_tests_go_and_checks_stay(lesson):
    student = release(lesson)
    text = source(student)
    assert "return a + b" not in text
    assert "add(5, 5)" not in text
    assert "BEGIN" not in text
    assert "END" not in text
    assert tiny.cell(student, "solution").source == 'def add(a, b):\n    raise NotImplementedError("your code here")'
    assert "assert add(1, 2) == 3" in tiny.cell(student, "check").source
    before = {c.id: c.source for c in nbformat.read(lesson, 4).cells}
    changed = {c.id for c in student.cells if c.source != before.get(c.id)}
    assert changed == {"student-copy", student.cells[1].id, "solution", "check"}


def test_it_holds_no_outputs_and_folds_nothing(lesson):
    student = release(lesson)
    assert all(not c.get("outputs") and c.get("execution_count") is None for c in student.cells)
    assert all("tags" not in c.metadata for c in student.cells)
    assert tiny.cell(student, "solution").metadata.nbgrader.solution
    assert tiny.cell(student, "check").metadata.nbgrader.locked


@pytest.mark.parametrize("link", [BADGE, f"[Open in Colab]({LINK})"], ids=["badge", "text"])
def test_it_says_what_it_is_and_has_no_link_that_opens_the_solutions_in_colab(lesson, link):
    lesson.write_text(lesson.read_text().replace(BADGE, link))
    student = release(lesson)
    assert "**Student copy** of the lesson [07-tiny](https://" in student.cells[0].source
    assert "/blob/main/lessons/07-tiny.ipynb)" in student.cells[0].source
    assert student.cells[1].source == "# A lesson\n\nIts promise."


def test_the_banner_says_what_to_do(lesson):
    assert release(lesson).cells[0].source == (
        f"> **Student copy** of the lesson [07-tiny]({LESSONS}07-tiny.ipynb).\n"
        "> Replace each `raise NotImplementedError(...)` by your own code, then run the check below it.\n"
        "> A check raises no error when your answer is right, and says what it expected when it is not."
    )


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("02-next.ipynb", f"{LESSONS}02-next.ipynb"),
        ("02-next.ipynb#end", f"{LESSONS}02-next.ipynb#end"),
        ("../book/notation.md", LESSONS.replace("lessons/", "book/notation.md")),
        ("https://arxiv.org/abs/1706.06083", "https://arxiv.org/abs/1706.06083"),
        ("mailto:a@b.c", "mailto:a@b.c"),
        ("#exercises", "#exercises"),
    ],
)
def test_links_hold_wherever_the_copy_lies(lesson, link, expected):
    notebook = nbformat.read(lesson, 4)
    notebook.cells[0].source += f"\n\nSee [one]({link}) and [two]({link})."
    tiny.write(notebook, lesson)
    assert release(lesson).cells[1].source.endswith(f"See [one]({expected}) and [two]({expected}).")


def test_code_is_not_searched_for_links(lesson):
    notebook = nbformat.read(lesson, 4)
    notebook.cells[1].source = "import math\n\n[math.sqrt][0](4)"
    tiny.write(notebook, lesson)
    assert release(lesson).cells[2].source == "import math\n\n[math.sqrt][0](4)"


def test_the_copy_is_a_valid_notebook_and_the_lesson_is_left_alone(lesson):
    before = lesson.read_bytes()
    nbformat.validate(release(lesson))
    assert lesson.read_bytes() == before
    assert release(lesson) == release(lesson)


def test_nbgrader_finds_nothing_to_object_to(lesson):
    from nbgrader.preprocessors import CheckCellMetadata

    CheckCellMetadata().preprocess(release(lesson), {})


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (None, 'NotImplementedError: your code here'),
        ("def add(a, b):\n    return a - b", "AssertionError: add(1, 2) is 3, not -1"),
        ("def add(a, b):\n    return sum([a, b])", None),
    ],
    ids=["stub", "wrong", "right"],
)  # fmt: skip
def test_the_check_tells_right_from_wrong_and_says_why(lesson, code, error):
    student = release(lesson)
    if code:
        tiny.cell(student, "solution").source = code
    with TemporaryDirectory() as short:
        client = NotebookClient(student, config=sockets(short), kernel_name="python3")
        if error is None:
            client.execute()
        else:
            with pytest.raises(CellExecutionError) as raised:
                client.execute()
            assert f"{raised.value.ename}: {raised.value.evalue}" == error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("    ### END SOLUTION", "no end solution statement found"),
        ("### END HIDDEN TESTS", "No end hidden tests statement found"),
    ],
)
def test_marks_that_do_not_pair_are_an_error(lesson, change, message):
    notebook = nbformat.read(lesson, 4)
    for cell in notebook.cells:
        cell.source = cell.source.replace(change, "")
    nbformat.write(notebook, lesson)
    with pytest.raises(ValueError, match=f"lesson: 07-tiny.ipynb: {message}"):
        release(lesson)


def test_a_lesson_that_was_not_formatted_is_an_error_and_not_a_leak(lesson):
    notebook = nbformat.read(lesson, 4)
    tiny.cell(notebook, "solution").metadata.clear()
    nbformat.write(notebook, lesson)
    with pytest.raises(ValueError, match="Solution region detected in a non-solution cell"):
        release(lesson)


def test_a_file_that_is_missing_or_no_notebook_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lesson: there is no file .*08-none\.ipynb"):
        release(tmp_path / "08-none.ipynb")
    for content in ("hello", "", "{}", "[]", "null", '{"nbformat": 4}'):
        (tmp_path / "09-text.ipynb").write_text(content)
        with pytest.raises(ValueError, match=r"lesson: 09-text\.ipynb: "):
            release(tmp_path / "09-text.ipynb")


def test_without_nbgrader_the_package_works_and_release_says_what_to_install(lesson, monkeypatch):
    monkeypatch.setitem(sys.modules, "nbgrader.preprocessors", None)
    with pytest.raises(ImportError, match=r'student copies need nbgrader: pip install "robustcourse\[homework\]"'):
        release(lesson)
    load = "import sys, robustcourse.homework, robustcourse.cli; sys.exit('nbgrader' in sys.modules)"
    subprocess.run([sys.executable, "-c", load], check=True, cwd=Path(__file__).parents[2])


def test_the_formatter_and_nbgrader_agree_on_the_marks():
    from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions

    solutions, hidden = ClearSolutions(), ClearHiddenTests()
    assert (f"### {solutions.begin_solution_delimeter}", f"### {solutions.end_solution_delimeter}") == format.SOLUTION
    assert (f"### {hidden.begin_test_delimeter}", f"### {hidden.end_test_delimeter}") == format.HIDDEN
