"""The command `robustcourse`: each sub-command is one function of the package, called with what was typed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; return 0, or 1 after a message to stderr."""
    parser = argparse.ArgumentParser(prog="robustcourse", description="Robust and Overparameterized Models")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    homework = commands.add_parser("homework", help="make homework from lessons")
    tasks = homework.add_subparsers(required=True, metavar="TASK")

    task = tasks.add_parser("release", help="write the student copy of a lesson")
    task.add_argument("lesson", metavar="LESSON", help="its number (02), its name, or the path of its .ipynb")
    task.add_argument("--to", metavar="DIR", type=Path, default=Path("student"), help="folder (default: student)")
    task.add_argument("--force", action="store_true", help="replace a student copy that is there already")
    task.set_defaults(run=_release)

    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (OSError, ValueError, ImportError) as problem:
        print(f"robustcourse: {problem}", file=sys.stderr)
        return 1
    return 0


def _release(options: argparse.Namespace) -> None:
    from robustcourse.homework import release

    lesson = find_lesson(options.lesson)
    target = options.to / lesson.name
    if target.exists() and not options.force:
        raise FileExistsError(f"{target} is there already; --force replaces it")
    if target.exists() and target.samefile(lesson):
        raise ValueError(f"--to: {options.to} is where the lesson itself lies; choose another folder")
    import nbformat

    text: str = nbformat.writes(release(lesson))
    options.to.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")  # an interrupted run leaves no half of a notebook
    part.write_text(text + "\n", encoding="utf-8")
    os.replace(part, target)
    print(target)


def find_lesson(name: str) -> Path:
    """Find a lesson by number (`2`, `02`), name (`02-adversarial-examples` or `adversarial-examples`) or path.

    Raises:
        FileNotFoundError: no lesson in `lessons/` of the current folder goes by this name; the message lists them.
    """
    if name.endswith(".ipynb") and Path(name).is_file():
        return Path(name)
    lessons = sorted(Path("lessons").glob("*.ipynb"))
    for lesson in lessons:
        number, _, slug = lesson.stem.partition("-")
        if name in (lesson.stem, number, slug) or (name.isdigit() and name.zfill(2) == number):
            return lesson
    known = ", ".join(lesson.stem for lesson in lessons) or "none; run this in the root of a copy of the course"
    raise FileNotFoundError(f"LESSON: no lesson {name!r}; lessons here: {known}")
