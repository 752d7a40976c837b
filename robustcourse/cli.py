"""The command `robustcourse`: each sub-command is one function of the package, called with what was typed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from robustcourse.files import replacing


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

    train = commands.add_parser("train", help="make a full-size model by its recipe, and measure it")
    train.add_argument("recipe", metavar="RECIPE", help="cifar10, cifar10-wide, fashion_mnist, mnist-ibp-0.1 …")
    train.add_argument("--record", metavar="FILE", type=Path, help="write what was measured to this JSON file")
    train.add_argument("--checkpoint", metavar="FILE", type=Path, help="keep the state here, and go on from it")
    train.add_argument("--epochs", metavar="N", type=int, help="other than the recipe's")
    train.add_argument("--examples", metavar="N", type=int, help="use only so many, for a trial run")
    train.add_argument("--compile", action="store_true", help="run the network through torch.compile")
    train.add_argument("--seed", metavar="N", type=int, default=0)
    train.set_defaults(run=_train)

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
    with replacing(target) as file:
        file.write_text(text + "\n", encoding="utf-8")
    print(target)


def _train(options: argparse.Namespace) -> None:
    import torch
    from torch import distributed as dist

    from robustcourse.evaluate import Estimate
    from robustcourse.train import recipes

    if "LOCAL_RANK" in os.environ:  # under torchrun: each process has a GPU of its own, where there are any
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group()
    try:
        record = recipes.make(
            options.recipe,
            epochs=options.epochs,
            examples=options.examples,
            compiled=options.compile,
            checkpoint=options.checkpoint,
            seed=options.seed,
        )
        if not dist.is_initialized() or dist.get_rank() == 0:
            for what in ("clean", "autoattack", "certified"):
                if what in record:
                    print(f"{what:<11}", Estimate(**record[what]))
            print("seconds    ", record["seconds"])
            if options.record:
                recipes.write(record, options.record)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


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
