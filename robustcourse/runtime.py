"""Where code runs, and how large.

Two switches, both environment variables: ROBUSTCOURSE_DEVICE picks the processor, ROBUSTCOURSE_SCALE the size of every
experiment. They are separate because a GPU may run the lesson size, and a laptop may run the full size overnight.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch

SCALES = ("smoke", "lesson", "full")

T = TypeVar("T")


def device() -> torch.device:
    """The processor to use: CUDA, else Apple's MPS, else the CPU; ROBUSTCOURSE_DEVICE overrides the choice.

    Raises:
        ValueError: ROBUSTCOURSE_DEVICE names no device, or one that this machine does not have.
    """
    name = os.environ.get("ROBUSTCOURSE_DEVICE")
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu")
    try:
        chosen = torch.device(name)
        if chosen.type not in {"cpu", "cuda", "mps"}:
            raise RuntimeError(f"device type {chosen.type} is not supported")
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:  # torch asserts when it was built without CUDA
        raise ValueError(
            f"ROBUSTCOURSE_DEVICE={name!r} is not usable here; use 'cpu', 'mps', 'cuda' or 'cuda:1', where present"
        ) from error
    return chosen


def scale() -> str:
    """The size of experiments: "smoke" (seconds, for tests), "lesson" (the default) or "full" (for a GPU).

    Raises:
        ValueError: ROBUSTCOURSE_SCALE is none of the three.
    """
    name = os.environ.get("ROBUSTCOURSE_SCALE") or "lesson"
    if name not in SCALES:
        raise ValueError(f"ROBUSTCOURSE_SCALE={name!r} is unknown; use one of {', '.join(SCALES)}")
    return name


def at_scale(*, smoke: T, lesson: T, full: T) -> T:
    """The one of three values that belongs to the present scale: `epochs = at_scale(smoke=1, lesson=30, full=100)`."""
    return {"smoke": smoke, "lesson": lesson, "full": full}[scale()]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with torch's global random state made from `seed`, and put the caller's state back afterwards."""
    mps = torch.mps.get_rng_state() if torch.mps.is_available() else None  # fork_rng keeps only the CPU's and CUDA's
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        # Not torch.manual_seed: where there is no GPU, it keeps a stack trace of every call, for ever.
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)
        if mps is not None:
            torch.mps.manual_seed(seed)
        try:
            yield
        finally:
            if mps is not None:
                torch.mps.set_rng_state(mps)


def stream(purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Random numbers for one purpose, as "label noise, 0": another purpose with the same seed draws others."""
    return torch.Generator(device).manual_seed(zlib.crc32(purpose.encode()))


def timed(run: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and its seconds: on a CPU its own, in which other programs do not count; on a GPU the clock's."""
    clock = time.perf_counter if device().type == "cuda" else time.process_time
    start = clock()
    result = run()
    if device().type == "cuda":
        torch.cuda.synchronize()
    return result, clock() - start


def versions() -> dict[str, str]:
    """Versions that a measurement depends on, as they are stored with every record."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in ("robustcourse", "torch", "numpy")
    }


def about() -> None:
    """Print versions, device and scale: the line with which every lesson starts."""
    listed = ", ".join(f"{name} {version}" for name, version in versions().items())
    print(f"{listed}\ndevice: {device()}, scale: {scale()}")


def described(setting: object) -> str:
    """A setting in words that are the same in every run: without the places of functions in memory."""
    return re.sub(r" at 0x\w+", "", str(setting))


def changes(was: Mapping[str, object], now: Mapping[str, object]) -> str:
    """Which settings are others now, in words: "epochs was 2 and is 3"; empty if none is."""

    def short(text: object) -> str:
        return str(text) if len(str(text)) < 80 else f"{str(text)[:77]}…"

    return ", ".join(f"{n} was {short(was.get(n))} and is {short(v)}" for n, v in now.items() if was.get(n) != v)
