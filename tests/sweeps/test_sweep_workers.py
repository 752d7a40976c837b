"""Sweeps over processes, on this machine or on a cluster: also when a worker dies in the middle."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib
import pytest
import torch
import torch.nn.functional as F
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from robustcourse.sweeps import grid, sweep
from tests.nets import points

DATA = points(n=40)
WIDTHS, STEPS = [8, 16, 24, 32, 40, 48], 3
MEMBERS = grid(width=WIDTHS, noise=0.2, seed=1)


@dataclass(frozen=True)
class Mortal:
    """Cross-entropy that notes in a file which widths it trains, step by step; at the first step of one it dies, once."""

    notes: Path
    at: int | None = None

    def __call__(self, model, x, y):
        widths = [stack.weights[0].shape[1] for stack in model.stacks for _ in range(len(stack))]
        with self.notes.open("a") as file:
            file.write("".join(f"{os.getpid()} {width}\n" for width in widths))
        grave = self.notes.with_suffix(".died")
        if self.at in widths and not grave.exists():
            grave.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return F.cross_entropy(model(x), y)

    def seen(self) -> tuple[int, Counter]:
        """By how many processes, and how many steps of each width."""
        notes = [tuple(map(int, line.split())) for line in self.notes.read_text().splitlines()]
        return len({process for process, _ in notes}), Counter(width for _, width in notes)


def run(objective: Mortal, folder: Path | None = None):
    return sweep(MEMBERS, DATA, objective, steps=STEPS, folder=folder, memory=1e6)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same in this process, all at once."""
    return run(Mortal(tmp_path_factory.mktemp("alone") / "notes"))


def check_equal(a, b):
    assert a.members == b.members
    assert torch.equal(a.hits, b.hits)
    torch.testing.assert_close(a.loss, b.loss, rtol=1e-4, atol=1e-6)
    for one, other in zip(a.models(), b.models(), strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-4, atol=1e-5)


@pytest.fixture
def processes() -> Iterator[None]:
    with joblib.parallel_config(n_jobs=2):
        yield
    get_reusable_executor().shutdown(wait=True)


def test_processes_share_a_sweep(tmp_path, alone, processes):
    objective = Mortal(tmp_path / "notes")
    check_equal(run(objective), alone)
    count, steps = objective.seen()
    assert count == 2
    assert steps == dict.fromkeys(WIDTHS, STEPS)


def test_a_process_that_died_is_an_error_and_the_next_call_goes_on(tmp_path, alone, processes):
    objective = Mortal(tmp_path / "notes", at=8)  # which comes last
    with pytest.raises(TerminatedWorkerError):
        run(objective, tmp_path / "members")
    stored = {path.name for path in (tmp_path / "members").glob("*.safetensors")}
    check_equal(run(objective, tmp_path / "members"), alone)
    _, steps = objective.seen()
    assert all(steps[member.width] == STEPS for member in alone.members if f"{member}.safetensors" in stored)
    assert all(STEPS <= steps[width] <= 2 * STEPS for width in WIDTHS)


def test_a_cluster_that_loses_a_worker_finishes_the_sweep(tmp_path, alone):
    distributed = pytest.importorskip("distributed")
    objective = Mortal(tmp_path / "notes", at=8)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path / "cluster")
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        spread = run(objective, tmp_path / "members")
    check_equal(spread, alone)
    assert len(list((tmp_path / "members").glob("*.safetensors"))) == len(MEMBERS)
    count, steps = objective.seen()
    assert count >= 2
    assert steps == dict.fromkeys(WIDTHS, STEPS) | {8: STEPS + 1}  # what was stored is not trained again
