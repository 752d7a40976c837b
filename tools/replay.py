"""A pytest plugin that gives nbval the execution that `tools/execute.py` stored, so that no lesson runs twice.

    python -m pytest -p tools.replay --nbval-lax lessons

nbval compares the outputs that a lesson file stores with what this execution printed, and fails on cells that raised.
"""

from __future__ import annotations

import queue
from typing import Any

import pytest
from nbformat import NotebookNode
from nbval.plugin import IPyNbFile

from tools import execute


class ReplayKernel:
    """What nbval asks of a kernel, answered from an executed notebook."""

    def __init__(self, notebook: NotebookNode) -> None:
        self.cells = iter([cell for cell in notebook.cells if cell.cell_type == "code"])
        self.messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self.count = 0

    def execute_cell_input(self, source: str, allow_stdin: bool | None = None) -> str:
        """Find the next cell with this source and queue the messages that its execution sent."""
        cell = next(cell for cell in self.cells if cell.source == source)  # cells that pytest left out are passed over
        self.count += 1
        header = {"parent_header": {"msg_id": str(self.count)}}
        for output in cell.outputs:
            content = dict(output)
            self.messages.put({"msg_type": content.pop("output_type"), "content": content, **header})
        self.messages.put({"msg_type": "status", "content": {"execution_state": "idle"}, **header})
        return str(self.count)

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        return self.messages.get(timeout=timeout)

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None: ...

    def await_idle(self, parent_id: str, timeout: float | None = None) -> None: ...

    def is_alive(self) -> bool:
        return True

    def interrupt(self) -> None: ...

    def stop(self) -> None: ...


def replay(lesson: IPyNbFile) -> None:
    """Stands in for nbval's own `setup`, which would start a kernel."""
    bundle = execute.executed(lesson.nb)
    if bundle is None:
        pytest.fail(f"{lesson.path.name} as it is now has not been executed: run `make execute`", pytrace=False)
    lesson.kernel = ReplayKernel(bundle.nb)
    lesson.setup_sanitize_files()


def pytest_configure(config: pytest.Config) -> None:
    IPyNbFile.setup = replay
