"""nbval, fed with a stored execution: it fails where a kernel would have failed, and never starts one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from nbformat import NotebookNode
from nbformat.v4 import new_output

from tests import tiny
from tools import execute, format

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def course(tmp_path, monkeypatch):
    """A course folder without lessons, in it."""
    monkeypatch.chdir(tmp_path)
    execute.CACHE.mkdir(parents=True)
    execute.STAMP.write_text(execute.key())


def store(notebook: NotebookNode) -> None:
    """Pretend that this is what running the lesson gave."""
    notebook = format.read(tiny.write(notebook, Path("lessons/01-a.ipynb")).read_text())
    entry = CacheBundleIn(notebook, "lessons/01-a.ipynb", data={})
    get_cache(str(execute.CACHE)).cache_notebook_bundle(entry, check_validity=False, overwrite=True)


def nbval(*options: str) -> str:
    """What `pytest --nbval-lax lessons` says."""
    how = ["-q", "-p", "tools.replay", "--nbval-lax", "--color=no", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *how, *options, "lessons"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False).stdout


def test_an_execution_that_says_what_the_lesson_stores_passes():
    store(tiny.lesson())
    assert "4 passed" in nbval()
    assert "3 passed, 1 deselected" in nbval("--deselect", "lessons/01-a.ipynb::Cell 1")


def test_a_wrong_stored_output_fails():
    notebook = tiny.lesson()
    store(notebook)
    tiny.cell(notebook, "compare").outputs = [new_output("stream", name="stdout", text="equal: False\n")]
    tiny.write(notebook, Path("lessons/01-a.ipynb"))
    printed = nbval()
    assert "Cell outputs differ" in printed
    assert "1 failed, 3 passed" in printed


def test_a_cell_that_raised_fails():
    notebook = tiny.lesson()
    tiny.cell(notebook, "check").source += "\n# NBVAL_CHECK_OUTPUT"  # the only way for a test to store an output here
    tiny.cell(notebook, "check").outputs = [new_output("error", ename="AssertionError", evalue="no", traceback=["no"])]
    store(notebook)
    printed = nbval()
    assert "Cell execution caused an exception" in printed
    assert "1 failed, 3 passed" in printed


@pytest.mark.parametrize("change", ["the lesson", "the package"])
def test_what_has_not_been_executed_fails_and_says_what_to_run(change):
    notebook = tiny.lesson()
    store(notebook)
    if change == "the lesson":
        tiny.cell(notebook, "set-up").source = "import cmath"
        tiny.write(notebook, Path("lessons/01-a.ipynb"))
    else:
        Path("constraints.txt").write_text("torch==1.0\n")
    printed = nbval()
    assert "01-a.ipynb as it is now has not been executed: run `make execute`" in printed
    assert "4 errors" in printed
