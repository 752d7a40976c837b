"""What is said in more than one place is the same everywhere: the address, the versions, the pins, the commands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import tomllib
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
NAME = REPOSITORY.removeprefix("https://github.com/")
LESSONS = sorted((ROOT / "lessons").glob("*.ipynb"))
INSTALL = f"""import importlib.util

if importlib.util.find_spec("robustcourse") is None:
    %pip install -q "git+{REPOSITORY}\""""


def text_files() -> list[Path]:
    """All text files of the project that people wrote (git's list: what is ignored is not part of it)."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    endings = {".py", ".mjs", ".js", ".md", ".ipynb", ".yml", ".yaml", ".toml", ".cff", ".txt", ".json", ".css", ""}
    return [ROOT / f for f in listed if Path(f).suffix in endings and "vendor" not in f and (ROOT / f).is_file()]


def test_every_address_of_the_repository_is_the_one_in_pyproject():
    pattern = re.compile(r"(?:github\.com|colab\.research\.google\.com/github)/([\w.-]+/robustcourse)\b(?!\.py)")
    found = {(path.name, name) for path in text_files() for name in pattern.findall(path.read_text())}
    assert {name for _, name in found} == {NAME}, found
    assert {"README.md", "_config.yml", "CITATION.cff", "student.py"} <= {file for file, _ in found}


def test_the_site_opens_its_lessons_from_the_same_place():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["repository"]["url"] == REPOSITORY
    assert config["repository"]["branch"] == "main"
    assert not config["repository"].get("path_to_book")


def test_the_citation_agrees_with_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == REPOSITORY


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_installs_the_package_in_the_same_words(path):
    code = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert code[0].startswith(INSTALL + "\n\n")
    assert not any("pip install" in source for source in code[1:])


def test_every_lesson_is_in_the_table_of_contents():
    toc = (ROOT / "_toc.yml").read_text()
    assert re.findall(r"file: (lessons/\S+)", toc) == [f"lessons/{path.stem}" for path in LESSONS]


def test_the_pins_are_exact_portable_and_within_the_ranges():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {}
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line), f"{line!r} is not NAME==VERSION"
        name, version = line.split("==")
        pins[name.lower().replace("_", "-")] = version
    assert len(pins) == len(lines)
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["homework"], *extras["book"], *extras["dev"]]
    for requirement in map(Requirement, wanted):
        if requirement.name != PROJECT["name"]:
            assert requirement.name in pins, f"constraints.txt does not pin {requirement.name}"
            assert pins[requirement.name] in requirement.specifier, requirement


def test_the_installed_command_is_the_module():
    command = [sys.executable, "-m", "robustcourse", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("usage: robustcourse")
    assert PROJECT["scripts"] == {"robustcourse": "robustcourse.cli:main"}


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_ask_for_no_more_rights_than_they_need(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "timeout-minutes" in job or name == "deploy"
        more = job.get("permissions", {})
        assert more == ({"pages": "write", "id-token": "write"} if name == "deploy" else {})
        for step in job["steps"]:
            assert re.fullmatch(r"actions/[\w-]+@v\d+", step.get("uses", "actions/checkout@v4")), step


def test_continuous_integration_runs_the_readmes_test_command():
    assert "make test" in (ROOT / "README.md").read_text()
    assert (ROOT / ".ci/run").read_text().rstrip().endswith("\nmake test")
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    assert workflow["jobs"]["test"]["steps"][-1] == {"run": ".ci/run"}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_that_a_page_names_exists(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^\s*make ([a-z]+)|`make ([a-z]+)", (ROOT / page).read_text(), re.MULTILINE))
    assert {a or b for a, b in named}
    assert {a or b for a, b in named} <= targets


def test_an_old_python_is_refused_with_a_way_out(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1" && exit\nexit 1\n')
    old.chmod(0o755)
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / file).write_text((ROOT / file).read_text())
    made = subprocess.run(["make", "setup", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert "robustcourse needs Python 3.11 or newer; found: Python 3.9.1." in made.stdout
    assert "make setup PYTHON=" in made.stdout
    assert not (tmp_path / ".venv").exists()


def test_the_project_speaks_of_no_ones_machine():
    pattern = re.compile(r"(?<![\w.])/(?:home|root|Users|opt|work)/\w")
    skip = {"test_project.py", "test_format.py"}  # which hold such paths to test against them
    skip |= {"colab.yml"}  # which clears a runner's own paths
    found = [path for path in text_files() if path.name not in skip and pattern.search(path.read_text())]
    assert found == []
