"""Every lesson keeps its form and its budget, works at every size, and gives a student copy that works as homework."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from robustcourse.homework import release
from tools import execute, format
from tools.kernel import sockets

LESSONS = sorted(Path("lessons").glob("*.ipynb"))
BUDGET = 90  # seconds on one core
SMOKE_LIMIT = 300

each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def run(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Execute at the smallest size, in an empty folder, past cells that raise."""
    env = {
        **os.environ,
        "ROBUSTCOURSE_SCALE": "smoke",
        "ROBUSTCOURSE_RECORDS": str(folder / "records"),
        "OMP_NUM_THREADS": "1",
    }
    with TemporaryDirectory() as short:  # the path of a socket has room for a hundred characters
        client = NotebookClient(
            notebook,
            config=sockets(short),
            kernel_name="python3",
            timeout=SMOKE_LIMIT,
            allow_errors=True,
            extra_arguments=["--IPKernelApp.log_level=50"],
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute(env=env)
    return notebook


def errors(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """The error that each cell shows, by the cell's id."""
    return {
        cell.id: output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "error"
    }


def test_there_are_lessons():
    assert LESSONS, "tests run in the root of the course"


def test_lessons_are_numbered_without_gaps():
    assert [path.stem[:3] for path in LESSONS] == [f"{number:02}-" for number in range(1, len(LESSONS) + 1)]


@each_lesson
def test_form(path):
    assert list(format.problems(read(path))) == []


@each_lesson
def test_first_cell_is_title_promise_and_a_badge_that_opens_this_very_file(path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# \d*\.? ?\S", first.source), "a lesson opens with its title"
    text = "\n".join(cell.source for cell in read(path).cells[:2])
    links = re.findall(r"\[Open in Colab\]\((https://colab\.research\.google\.com/github/[^)\s]+)\)", text)
    assert len(links) == 1, "one Colab badge in the first two cells"
    assert links[0].endswith(f"/blob/main/lessons/{path.name}")


@each_lesson
def test_has_three_to_five_exercises(path):
    checks = [cell for cell in read(path).cells if format.is_check(cell)]
    solutions = [cell for cell in read(path).cells if format.is_solution(cell)]
    assert 3 <= len(solutions) <= 8
    assert len(checks) >= 3


@each_lesson
def test_runs_within_its_budget(path):
    bundle = execute.executed(read(path))
    assert bundle, f"{path} as it is now has not been executed: run `make execute`"
    # The same lesson takes up to twice as long on a slow or busy machine: `make execute` prints what it took.
    assert bundle.record.data["cpu_seconds"] <= 2 * BUDGET


def disagreements(fresh: dict[str, Any], published: dict[str, Any]) -> Iterator[str]:
    """How a new record speaks against the published one of the same claim and scale.

    Digits differ between machines, so each new value has to lie in the published interval, no more.
    """
    for what in ("claim", "lesson", "rule", "verdict"):
        if fresh[what] != published[what]:
            yield f"{what}: {fresh[what]!r}, published {published[what]!r}"
    if fresh["conditions"].keys() != published["conditions"].keys():
        yield f"conditions: {list(fresh['conditions'])}, published {list(published['conditions'])}"
    for condition in fresh["conditions"].keys() & published["conditions"].keys():
        value, interval = fresh["conditions"][condition]["value"], published["conditions"][condition]
        if not interval["low"] <= value <= interval["high"]:
            yield f"{condition}: {value:.4g} is not in the published [{interval['low']:.4g}, {interval['high']:.4g}]"


@each_lesson
def test_its_claims_are_those_of_the_published_records(path):
    """What the lesson's execution recorded and what the repository publishes: the same claims, ending the same way."""
    bundle = execute.executed(read(path))
    assert bundle, f"{path} as it is now has not been executed: run `make execute`"
    fresh = {name: json.loads(text) for name, text in bundle.record.data["records"].items()}
    published = {p.name: json.loads(p.read_text("utf-8")) for p in Path("records").glob(f"{path.stem}.*.json")}
    assert fresh
    assert fresh.keys() == published.keys(), "run `make records`"
    if {record["scale"] for record in fresh.values()} != {record["scale"] for record in published.values()}:
        pytest.skip("executed at another scale than the published records")
    assert {name: found for name in fresh if (found := list(disagreements(fresh[name], published[name])))} == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"cpu_seconds": 9.0, "device": "cuda"}, []),
        ({"conditions": {"ε = 0.1": {"value": 0.31}}}, []),
        ({"conditions": {"ε = 0.1": {"value": 0.41}}}, ["ε = 0.1: 0.41 is not in the published [0.2, 0.4]"]),
        ({"conditions": {"ε = 0.1": {"value": 0.19}}}, ["ε = 0.1: 0.19 is not in the published [0.2, 0.4]"]),
        ({"conditions": {"ε = 0.2": {"value": 0.3}}}, ["conditions: ['ε = 0.2'], published ['ε = 0.1']"]),
        ({"verdict": "contradicted"}, ["verdict: 'contradicted', published 'holds'"]),
        ({"rule": "at most 60 %"}, ["rule: 'at most 60 %', published 'at most 50 %'"]),
        ({"claim": "C02"}, ["claim: 'C02', published 'C01'"]),
    ],
)
def test_disagreements_with_a_published_record_are_named(change, said):
    published = {"claim": "C01", "lesson": "01-a", "rule": "at most 50 %", "verdict": "holds", "cpu_seconds": 1.0}
    published["conditions"] = {"ε = 0.1": {"value": 0.3, "low": 0.2, "high": 0.4}}
    assert list(disagreements(published | change, published)) == said


@each_lesson
def test_the_student_copy_holds_no_solution(path):
    student = release(path)
    text = "\n".join(cell.source for cell in student.cells)
    assert "BEGIN SOLUTION" not in text
    assert "HIDDEN TESTS" not in text
    for cell in read(path).cells:
        for solution in re.findall(r"### BEGIN SOLUTION\n(.*?)\s*### END SOLUTION", cell.source, re.DOTALL):
            assert solution.strip() not in text
    kept = {cell.id for cell in student.cells if format.is_check(cell)}
    assert kept == {cell.id for cell in read(path).cells if format.is_check(cell)}


@each_lesson
def test_runs_at_the_smallest_size_without_the_solutions_and_then_with_them(path, tmp_path):
    """A student who has written nothing sees every check fail with a reason, and the rest of the lesson work.

    One who then goes back to the exercises, and solves them, sees every check pass, with its hidden tests.
    """
    student = release(path)
    checks = {cell.id for cell in student.cells if format.is_check(cell)}
    stubs = {cell.id for cell in student.cells if cell.metadata.get("nbgrader", {}).get("solution")}
    solved = [cell for cell in read(path).cells if format.is_solution(cell) or format.is_check(cell)]
    for cell in solved:
        cell.id += "-solved"
    student.cells += solved
    raised = errors(run(student, tmp_path))
    assert {cell.id: raised.pop(cell.id) for cell in solved if cell.id in raised} == {}
    assert checks <= set(raised), f"checks that pass though nothing was written: {checks - set(raised)}"
    assert set(raised) <= checks | stubs, f"cells that need a solution: {set(raised) - checks - stubs}"
    for name in checks:
        assert raised[name].ename in ("NotImplementedError", "AssertionError", "NameError"), raised[name]
        assert raised[name].evalue, f"check {name} fails without saying why"
