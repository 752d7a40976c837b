"""One execution for all: what runs again, what is kept, what a failure says, and that the book takes it from there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_cache import get_cache

from tests import tiny
from tools import execute, format

SETUP = """
import json, os, pathlib
with open(os.environ["RUNS"], "a") as log:
    log.write("{name} ")
records = pathlib.Path(os.environ["ROBUSTCOURSE_RECORDS"])
records.mkdir(parents=True)
(records / "{name}.C01.json").write_text(json.dumps({{"threads": os.environ["OMP_NUM_THREADS"], "here": os.listdir()}}))
{extra}
"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course with two lessons and a package of one file, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    for switch in ("ROBUSTCOURSE_DATA", "ROBUSTCOURSE_SCALE"):
        monkeypatch.delenv(switch, raising=False)
    (tmp_path / "robustcourse").mkdir()
    (tmp_path / "robustcourse/module.py").write_text("x = 1\n")
    write("01-a")
    write("02-b")
    return tmp_path


def write(name: str, extra: str = "") -> Path:
    """Write a lesson that logs its run and stores a record."""
    setup = SETUP.format(name=name, extra=extra).strip()
    return tiny.write(tiny.lesson(setup), Path(f"lessons/{name}.ipynb"))


def run() -> tuple[int, list[str]]:
    """Execute; return the exit status and the lessons that ran."""
    Path("runs").write_text("")
    status = execute.main([])
    return status, sorted(Path("runs").read_text().split())


def test_a_lesson_runs_once_until_it_or_the_package_or_a_switch_changes(course, monkeypatch, capsys):
    assert run() == (0, ["01-a", "02-b"])
    assert run() == (0, [])
    assert "01-a  unchanged" in capsys.readouterr().out

    write("02-b", extra="changed = True")
    assert run() == (0, ["02-b"])

    (course / "robustcourse/module.py").write_text("x = 2\n")
    assert run() == (0, ["01-a", "02-b"])

    monkeypatch.setenv("ROBUSTCOURSE_SCALE", "smoke")
    assert run() == (0, ["01-a", "02-b"])


def test_data_and_pins_are_part_of_the_key(course, monkeypatch):
    keys = {execute.key()}
    (course / "constraints.txt").write_text("torch==2.13.0\n")
    keys.add(execute.key())
    (course / "data").mkdir()
    monkeypatch.setenv("ROBUSTCOURSE_DATA", "data")
    keys.add(execute.key())
    (course / "data/images.npz").write_bytes(b"123")
    keys.add(execute.key())
    (course / "robustcourse/widgets").mkdir()
    (course / "robustcourse/widgets/figure.mjs").write_text("export {}")
    keys.add(execute.key())
    assert len(keys) == 5
    (course / "robustcourse/__pycache__").mkdir()
    (course / "robustcourse/__pycache__/module.pyc").write_bytes(b"1")
    assert execute.key() in keys


def test_records_are_those_of_the_present_lessons_only(course):
    run()
    record = json.loads(Path("_build/records/01-a.C01.json").read_text())
    assert record["threads"] == "1"
    assert record["here"] == ["records"]  # a lesson starts in an empty folder
    Path("lessons/02-b.ipynb").unlink()
    run()
    assert [p.name for p in Path("_build/records").iterdir()] == ["01-a.C01.json"]


def test_a_failing_lesson_is_named_with_its_cell_and_the_others_are_kept(course, capsys):
    write("01-a", extra="1 / 0")
    assert run() == (1, ["01-a", "02-b"])
    printed = capsys.readouterr()
    assert "01-a  FAILED after" in printed.out
    assert "lessons/01-a.ipynb, cell set-up: CellExecutionError" in printed.err
    assert "ZeroDivisionError: division by zero" in printed.err
    assert "\x1b" not in printed.err
    assert [p.name for p in Path("_build/records").iterdir()] == ["02-b.C01.json"]
    assert run() == (1, ["01-a"])


def test_a_lesson_that_takes_too_long_or_loses_its_kernel_fails(course, capsys, monkeypatch):
    monkeypatch.setattr(execute, "LIMIT", 5)
    write("01-a", extra="import time; time.sleep(60)")
    write("02-b", extra="os._exit(1)")
    assert run()[0] == 1
    printed = capsys.readouterr().err
    assert "lessons/01-a.ipynb, cell set-up: CellTimeoutError" in printed
    assert "lessons/02-b.ipynb, cell set-up: DeadKernelError" in printed


def test_processor_seconds_are_those_of_the_lesson(course):
    write("02-b", extra="import time\nend = time.process_time() + 2\nwhile time.process_time() < end: pass")
    run()
    data = {Path(r.uri).stem: r.data for r in get_cache(str(execute.CACHE)).list_cache_records()}
    assert data["02-b"]["cpu_seconds"] - data["01-a"]["cpu_seconds"] > 1
    assert data["02-b"]["execution_seconds"] >= 2


@pytest.mark.parametrize("shown", [True, False])
def test_only_widgets_that_a_page_shows_keep_their_state(course, shown):
    """Beside text in the same cell, and a cell without a widget that is shown."""
    notebook = format.read(write("01-a").read_text())
    cell = tiny.cell(notebook, "compare")
    cell.source = "import ipywidgets\nprint('text')\nipywidgets.IntSlider()"
    cell.metadata.tags = [] if shown else ["remove-output"]
    path = tiny.write(notebook, Path("lessons/01-a.ipynb"))
    assert execute.main([str(path)]) == 0
    ran = execute.executed(format.read(path.read_text())).nb
    assert any(execute.WIDGET in output.get("data", {}) for output in tiny.cell(ran, "compare").outputs)
    assert ("widgets" in ran.metadata) == shown


def test_store_takes_what_marked_cells_printed(course):
    notebook = format.read(write("01-a").read_text())
    tiny.cell(notebook, "compare").source = "# NBVAL_CHECK_OUTPUT\nprint('three')\n3"
    tiny.write(notebook, Path("lessons/01-a.ipynb"))
    run()
    assert format.main(["--store"]) == 0
    outputs = tiny.cell(format.read(Path("lessons/01-a.ipynb").read_text()), "compare").outputs
    assert [o.get("text") or o.data["text/plain"] for o in outputs] == ["three\n", "3"]
    assert run() == (0, [])


def test_the_book_shows_this_execution_and_runs_nothing(course):
    (course / "_toc.yml").write_text("format: jb-book\nroot: lessons/01-a\nchapters:\n  - file: lessons/02-b\n")
    (course / "_config.yml").write_text("title: Tiny\nexecute: {execute_notebooks: cache}\n")

    def build() -> str:
        start = "from jupyter_book.cli.main import main; main(['build', '.', '-W'])"
        subprocess.run([sys.executable, "-c", start], check=True, capture_output=True)
        return Path("_build/html/lessons/02-b.html").read_text()

    run()
    assert "equal: True" in build()
    write("02-b", extra="print('only now')")
    (course / "robustcourse/module.py").write_text("x = 2\n")  # Sphinx sees no change in 01-a
    run()
    assert "only now" in build()
    assert Path("runs").read_text().split() in (["01-a", "02-b"], ["02-b", "01-a"])


def test_wrong_calls_say_what_is_missing(course, capsys):
    assert execute.main(["lessons/03-c.ipynb"]) == 1
    assert "no such lesson: lessons/03-c.ipynb" in capsys.readouterr().err
    for lesson in Path("lessons").iterdir():
        lesson.unlink()
    assert execute.main([]) == 1
    assert "no lessons/*.ipynb here: run this in the root of the course" in capsys.readouterr().err
