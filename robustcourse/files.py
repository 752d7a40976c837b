"""Files that are either whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to the path that this gives, beside `path`; at the end it takes the place of `path`.

    That is one step for the file system: no reader sees a half, and what stood there stays if the writing fails.
    Folders are made where they are missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by the number of the process: on two machines it may be the same.
    beside = path.with_name(f"{path.name}.{token_hex(4)}.part")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
