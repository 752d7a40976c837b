"""Kernels: a message that came unnoticed is found all the same, and long before the limit."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from queue import Empty

import nbformat
import pytest
from jupyter_client.channels import AsyncZMQSocketChannel
from nbclient import NotebookClient

from tools import kernel


@pytest.fixture
def deaf(monkeypatch):
    """A socket whose messages are noticed only by a look of its own, when a wait begins or ends."""
    waits = []

    async def get_msg(_, timeout=None):
        waits.append(timeout)
        await asyncio.sleep(0 if timeout is None else timeout)
        if len(waits) < 3:
            raise Empty
        return {"content": "it came"}

    monkeypatch.setattr(AsyncZMQSocketChannel, "get_msg", get_msg)
    monkeypatch.setattr(kernel, "LOOK", 0.01)
    return waits


def ask(timeout):
    channel = kernel.Channel.__new__(kernel.Channel)  # without a socket
    channel.socket = None
    with ThreadPoolExecutor(1) as pool:  # this thread may have a loop already, that of the browser's tests
        return pool.submit(asyncio.run, channel.get_msg(timeout)).result()


@pytest.mark.parametrize("limit", [None, 600])
def test_a_message_that_was_not_noticed_is_found_after_a_while(deaf, limit):
    assert ask(limit) == {"content": "it came"}
    assert deaf == [0.01] * 3


def test_the_limit_stays_a_limit(deaf):
    start = time.monotonic()
    with pytest.raises(Empty):
        ask(0.015)
    assert len(deaf) == 2
    assert sum(deaf) == pytest.approx(0.015, abs=0.01)
    deaf.clear()
    with pytest.raises(Empty):
        ask(0)
    assert deaf == [0]
    assert time.monotonic() - start < 60


def test_a_notebook_runs_with_such_a_kernel(tmp_path, monkeypatch):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(6 * 7)")])
    asked = []

    async def get_msg(channel, timeout=None):
        asked.append(timeout)
        return await patient(channel, timeout)

    patient = kernel.Channel.get_msg
    monkeypatch.setattr(kernel.Channel, "get_msg", get_msg)
    NotebookClient(notebook, config=kernel.sockets(str(tmp_path)), kernel_name="python3", timeout=99).execute()
    assert notebook.cells[0].outputs[0].text == "42\n"
    assert any(limit and limit <= 99 for limit in asked)  # the reply to a cell was waited for in this way
