"""Opened in Colab, a lesson installs the course from the repository and runs, and torch and numpy stay as they were.

A stand-in for Colab: its versions, as far as this Python has them, in an environment that holds nothing of ours. The
repository's address leads to a copy of this working tree, through git's own `url.….insteadOf`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).parents[1]
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
LESSONS = sorted((ROOT / "lessons").glob("*.ipynb"))
COLAB = [
    "torch==2.13.0",  # Colab's is older; the one for which this project's tests have a wheel at hand
    "numpy==2.1.3",
    "scipy<1.17",
    "matplotlib==3.10.*",
    "scikit-learn==1.6.1",
    "ipywidgets==7.7.1",
    "ipykernel",
    "nbclient",
    "pip",
]
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
path = sys.argv[1]
notebook = nbformat.read(path, as_version=4)
NotebookClient(notebook, kernel_name="python3", timeout=600).execute()
nbformat.write(notebook, path)
"""


def call(*command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a command; fail with what it printed."""
    done = subprocess.run([str(c) for c in command], env=env, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def repository(tmp_path_factory) -> Path:
    """This working tree as the one commit of a repository of its own: git's list of files, none of the ignored ones."""
    copy = tmp_path_factory.mktemp("repository")
    listed = call("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    call("git", "init", "-q", "-b", "main", copy)
    call("git", "add", "-A", cwd=copy)
    call("git", *who, "commit", "-q", "-m", "The working tree", cwd=copy)
    return copy


@pytest.fixture(scope="session")
def colab(tmp_path_factory) -> Path:
    """The Python of the stand-in, kept in _build until the list of versions changes."""
    name = hashlib.sha256("\n".join([sys.version, *COLAB]).encode()).hexdigest()[:12]
    folder = ROOT / "_build/colab" / name
    python = folder / "bin/python"
    if not (folder / "ready").exists():
        probe = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", tmp_path_factory.mktemp("probe")]
        found = subprocess.run([*map(str, probe), "setuptools"], capture_output=True, text=True, check=False)
        if found.returncode != 0:
            pytest.skip(f"no package index can be reached: {found.stderr.strip().splitlines()[-1]}")
        shutil.rmtree(folder.parent, ignore_errors=True)
        call(sys.executable, "-m", "venv", folder)
        call(python, "-m", "pip", "install", "-qq", *COLAB)
        (folder / "ready").touch()
    call(python, "-m", "pip", "uninstall", "-q", "-y", "robustcourse")
    return python


def versions(python: Path) -> str:
    """Of torch and numpy, as pip sees them."""
    return call(python, "-c", "from importlib.metadata import version; print(version('torch'), version('numpy'))")


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_installs_the_course_and_runs(path, colab, repository, tmp_path):
    """The first to run installs for all: every lesson begins with the same cell, word for word (test_project.py)."""
    env = {
        **{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")},
        "PATH": f"{colab.parent}{os.pathsep}{os.environ['PATH']}",
        "ROBUSTCOURSE_SCALE": "smoke",
        "OMP_NUM_THREADS": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{repository}.insteadOf",
        "GIT_CONFIG_VALUE_0": REPOSITORY,
    }
    before = versions(colab)
    shutil.copy(path, tmp_path)
    call(colab, "-c", EXECUTE, path.name, env=env, cwd=tmp_path)
    assert versions(colab) == before
    find = "import importlib.util; print(importlib.util.find_spec('robustcourse').origin)"
    where = call(colab, "-c", find, cwd=tmp_path).strip()
    assert Path(where).is_relative_to(colab.parents[1]), "the lesson ran with another copy of the package"
