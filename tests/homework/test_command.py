"""`robustcourse homework release`: which lesson is meant, where the copy goes, and what is never overwritten."""

from __future__ import annotations

import nbformat
import pytest

from robustcourse.cli import main
from tests import tiny


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of two lessons, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("01-first-look", "02-second-look"):
        tiny.write(tiny.lesson(), tmp_path / f"lessons/{name}.ipynb")
    return tmp_path


@pytest.mark.parametrize("name", ["2", "02", "02-second-look", "second-look", "lessons/02-second-look.ipynb"])
def test_a_lesson_goes_by_number_name_or_path(course, capsys, name):
    assert main(["homework", "release", name]) == 0
    assert capsys.readouterr().out == "student/02-second-look.ipynb\n"
    student = nbformat.read(course / "student/02-second-look.ipynb", 4)
    assert tiny.cell(student, "solution").source.endswith('raise NotImplementedError("your code here")')
    assert [p.name for p in (course / "student").iterdir()] == ["02-second-look.ipynb"]


def test_the_copy_goes_where_it_is_told(course, capsys):
    assert main(["homework", "release", "1", "--to", "class/week 1"]) == 0
    assert (course / "class/week 1/01-first-look.ipynb").is_file()


def test_a_students_work_is_replaced_only_by_force(course, capsys):
    (course / "student").mkdir()
    copy = course / "student/01-first-look.ipynb"
    copy.write_text("my answers")
    assert main(["homework", "release", "1"]) == 1
    assert "student/01-first-look.ipynb is there already; --force replaces it" in capsys.readouterr().err
    assert copy.read_text() == "my answers"
    assert main(["homework", "release", "1", "--force"]) == 0
    assert nbformat.read(copy, 4).cells[0].id == "student-copy"


def test_a_lesson_is_never_replaced_by_its_copy(course, capsys):
    before = (course / "lessons/01-first-look.ipynb").read_bytes()
    assert main(["homework", "release", "1", "--to", "lessons", "--force"]) == 1
    assert "--to: lessons is where the lesson itself lies" in capsys.readouterr().err
    assert (course / "lessons/01-first-look.ipynb").read_bytes() == before


@pytest.mark.parametrize("name", ["3", "third", "lessons/03.ipynb", "", "../01-first-look"])
def test_an_unknown_lesson_lists_the_known_ones(course, capsys, name):
    assert main(["homework", "release", name]) == 1
    expected = f"robustcourse: LESSON: no lesson {name!r}; lessons here: 01-first-look, 02-second-look\n"
    assert capsys.readouterr().err == expected


def test_outside_of_the_course_it_says_where_to_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["homework", "release", "1"]) == 1
    assert "lessons here: none; run this in the root of a copy of the course" in capsys.readouterr().err


def test_a_bad_lesson_leaves_no_file(course, capsys):
    (course / "lessons/02-second-look.ipynb").write_text("broken")
    assert main(["homework", "release", "2"]) == 1
    assert "lesson: 02-second-look.ipynb: " in capsys.readouterr().err
    assert not (course / "student").exists()


@pytest.mark.parametrize("arguments", [[], ["homework"], ["homework", "release"], ["nonsense"]])
def test_a_call_that_says_too_little_shows_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: robustcourse" in capsys.readouterr().err
