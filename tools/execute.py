"""Run every lesson once: what nbval checks, what the book shows and what the records hold is this one execution.

    python -m tools.execute [LESSON.ipynb ...]

It works in the current folder, the root of the course, and keeps its results in the cache that Jupyter Book reads.
A lesson runs again only if a code cell or its tags changed, or anything else that its results depend on (see `key`).
"""

from __future__ import annotations

import hashlib
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, CacheBundleOut
from nbclient import NotebookClient
from nbformat import NotebookNode

from tools.kernel import sockets

CACHE = Path("_build/.jupyter_cache")  # where `jupyter-book build .` looks
RECORDS = Path("_build/records")
STAMP = CACHE / "robustcourse.sha256"
WORKERS = 2
LIMIT = 600  # seconds that one lesson may take; its budget on one free core is 90
WIDGET = "application/vnd.jupyter.widget-view+json"


def key() -> str:
    """A hash of what a lesson's results depend on beside its own code, which is all that jupyter-cache looks at."""
    h = hashlib.sha256(sys.version.encode())
    for name in ("ROBUSTCOURSE_SCALE", "ROBUSTCOURSE_DEVICE", "ROBUSTCOURSE_DATA"):
        h.update(f"{name}={os.environ.get(name, '')}\n".encode())
    package = [p for p in Path("robustcourse").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    for path in sorted([*package, *Path().glob("constraints.txt")]):
        h.update(f"{path.as_posix()}\n".encode() + path.read_bytes())
    if folder := os.environ.get("ROBUSTCOURSE_DATA"):
        for path in sorted(Path(folder).rglob("*")):
            h.update(f"{path}: {path.stat().st_size}\n".encode())
    return h.hexdigest()


def executed(notebook: NotebookNode) -> CacheBundleOut | None:
    """The stored execution of this notebook with the present package, or None if there is none."""
    if not STAMP.exists() or STAMP.read_text() != key():
        return None
    cache = get_cache(str(CACHE))
    try:
        return cache.get_cache_bundle(cache.match_cache_notebook(notebook).pk)
    except KeyError:
        return None


def run(path: Path) -> tuple[NotebookNode, dict[str, Any], str]:
    """Execute one lesson in an empty folder; return it with its outputs, what was measured, and its error or ''."""
    notebook = nbformat.read(path, as_version=4)
    start, cpu = time.monotonic(), _children()
    place, error = "its kernel", ""

    def enter(cell: NotebookNode, cell_index: int) -> None:
        nonlocal place
        place = f"cell {cell.get('id', cell_index)}"

    with tempfile.TemporaryDirectory() as folder:
        workplace = Path(folder, "lesson")
        workplace.mkdir()
        records = workplace / "records"
        # The lesson may not find anything but the installed package, as on a reader's machine. One thread each:
        # lessons run side by side, and small networks are slower on two threads than on one.
        # A page shows no progress bars, and nbval would compare their seconds.
        own = {"ROBUSTCOURSE_RECORDS": str(records), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        client = NotebookClient(
            notebook,
            config=sockets(folder),
            kernel_name="python3",
            extra_arguments=["--IPKernelApp.log_level=50"],  # silent about its own plumbing
            on_cell_start=enter,
            record_timing=False,
            resources={"metadata": {"path": str(workplace)}},
            timeout_func=lambda _cell: max(1, round(LIMIT - (time.monotonic() - start))),
        )
        try:
            client.execute(env={**os.environ, **own})
        except Exception as problem:  # a raising cell, a time limit, a kernel that died: all end this lesson only
            error = f"{path}, {place}: {_short(problem)}"
        _drop_unseen_widgets(notebook)
        found = {p.name: p.read_text() for p in sorted(records.glob("*.json"))} if records.is_dir() else {}
    measured = {
        "execution_seconds": round(time.monotonic() - start, 1),  # this name is MyST-NB's
        "cpu_seconds": round(_children() - cpu, 1),
        "records": found,
    }
    return notebook, measured, error


def _drop_unseen_widgets(notebook: NotebookNode) -> None:
    """Forget the state of widgets that no page shows: with it, a page loads the 3.6 MB that would draw them."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    seen = [cell for cell in cells if "remove-output" not in cell.metadata.get("tags", [])]
    if not any(WIDGET in output.get("data", {}) for cell in seen for output in cell.outputs):
        notebook.metadata.pop("widgets", None)


def _children() -> float:
    """CPU seconds of all kernels that this process has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _short(problem: Exception) -> str:
    """The end of a traceback, without colours: where the lesson broke and why."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(problem)).strip()
    lines = text.splitlines() or [type(problem).__name__]
    return "\n".join([type(problem).__name__, *(f"    {line}" for line in lines[-20:])])


def main(arguments: list[str]) -> int:
    """Bring the cache and the records up to date; return 1 if a lesson failed."""
    lessons = [Path(a) for a in arguments] or sorted(Path("lessons").glob("*.ipynb"))
    if missing := [str(p) for p in lessons if not p.is_file()]:
        print(f"no such lesson: {', '.join(missing)}", file=sys.stderr)
        return 1
    if not lessons:
        print("no lessons/*.ipynb here: run this in the root of the course", file=sys.stderr)
        return 1
    stamp = key()
    if not STAMP.exists() or STAMP.read_text() != stamp:
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True)
        STAMP.write_text(stamp)
    cache, width = get_cache(str(CACHE)), max(len(p.stem) for p in lessons)
    waiting, changed, failed = [], False, []

    for path in lessons:
        notebook = nbformat.read(path, as_version=4)
        if (bundle := executed(notebook)) is None:
            waiting.append(path)
            continue
        print(f"{path.stem:{width}}  unchanged ({bundle.record.data['execution_seconds']:.1f} s when it ran)")

    # On Ctrl-C a worker that runs a lesson ends its kernel, and one that waits has nothing to do.
    with ProcessPoolExecutor(WORKERS, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        jobs = {pool.submit(run, path): path for path in waiting}
        try:
            for job in as_completed(jobs):  # each is stored as it ends: an interruption costs only what is running
                path = jobs[job]
                notebook, measured, error = job.result()
                print(
                    f"{path.stem:{width}}  {'FAILED after' if error else 'ran in'} "
                    f"{measured['execution_seconds']:.1f} s ({measured['cpu_seconds']:.1f} s of CPU)",
                    flush=True,
                )
                if error:
                    failed.append(error)
                    continue
                entry = CacheBundleIn(notebook, str(path), data=measured)
                cache.cache_notebook_bundle(entry, check_validity=False, overwrite=True)
                changed = True
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            print("interrupted; lessons that had ended are kept", file=sys.stderr)
            return 130

    _collect_records()
    if changed:  # Sphinx watches the lessons' files only, and would go on showing the old outputs
        shutil.rmtree("_build/.doctrees", ignore_errors=True)
    for error in failed:
        print(f"\n{error}", file=sys.stderr)
    return bool(failed)


def _collect_records() -> None:
    """Make `_build/records` what the stored executions of the present lessons say, and nothing else."""
    shutil.rmtree(RECORDS, ignore_errors=True)
    RECORDS.mkdir(parents=True)
    for path in sorted(Path("lessons").glob("*.ipynb")):
        if bundle := executed(nbformat.read(path, as_version=4)):
            for name, text in bundle.record.data["records"].items():
                Path(RECORDS, name).write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
