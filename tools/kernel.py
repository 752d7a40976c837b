"""How the tools and the tests talk to the kernels of notebooks: through files, and without trusting one alarm clock."""

from __future__ import annotations

import time
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from traitlets import Type
from traitlets.config import Config

LOOK = 2.0  # seconds between two looks for a message


class Channel(AsyncZMQSocketChannel):
    """A channel that looks for messages itself, now and then.

    On a busy machine the event loop may miss that one has come. The wait then ends with its time limit, which is that
    of a whole lesson.
    """

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:  # type: ignore[override]
        """The next message; raise Empty if none comes within the limit, in seconds."""
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            try:
                return await super().get_msg(max(0.0, min(LOOK, left)))
            except Empty:
                if left <= LOOK:
                    raise


class Client(AsyncKernelClient):
    """A client with such channels."""

    shell_channel_class = Type(Channel)
    iopub_channel_class = Type(Channel)


def sockets(folder: str) -> Config:
    """Let a kernel talk through files in this folder: two that start at once could be given one network port."""
    ip = str(Path(folder, "kernel"))
    return Config({"KernelManager": {"transport": "ipc", "ip": ip, "client_class": "tools.kernel.Client"}})
