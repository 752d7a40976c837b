"""A sweep on a cluster of processes, of which one dies in the middle."""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import joblib
import pytest
import torch
import torch.nn.functional as F

from robustcourse.sweeps import grid, sweep
from robustcourse.sweeps.chunks import footprint
from tests.nets import points

DATA = points(n=40)
WIDTHS, STEPS = [8, 16, 24, 32, 40, 48], 3
MEMBERS = grid(width=WIDTHS, noise=0.2, seed=1)


@dataclass(frozen=True)
class Mortal:
    """Cross-entropy that notes which widths it trains, step by step, and dies at the first step of one, but once."""

    notes: Path
    dies: int | None = None

    def __call__(self, model, x, y):
        widths = [stack.weights[0].shape[1] for stack in model.stacks for _ in range(len(stack))]
        with self.notes.open("a") as file:
            file.write(f"{os.getpid()} {' '.join(map(str, widths))}\n")
        grave = self.notes.with_suffix(".died")
        if self.dies in widths and not grave.exists():
            grave.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return F.cross_entropy(model(x), y)

    def seen(self) -> tuple[set[int], Counter[tuple[int, ...]]]:
        """By which processes, and how many steps of which chunks."""
        notes = [tuple(map(int, line.split())) for line in self.notes.read_text().splitlines()]
        return {process for process, *_ in notes}, Counter(tuple(widths) for _, *widths in notes)


def run(objective: Mortal, folder: Path | None = None):
    memory = 2 * footprint(MEMBERS[-1], DATA, objective)
    return sweep(MEMBERS, DATA, objective, steps=STEPS, folder=folder, memory=memory)


def check_equal(a, b):
    assert a.members == b.members
    assert torch.equal(a.hits, b.hits)
    torch.testing.assert_close(a.loss, b.loss, rtol=1e-4, atol=1e-6)
    for one, other in zip(a.models(), b.models(), strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-4, atol=1e-5)


def test_a_cluster_finishes_a_sweep_and_if_it_loses_a_worker_too(tmp_path):
    distributed = pytest.importorskip("distributed", reason="no distributed: pip install -e '.[dev]'")
    alone = run(Mortal(tmp_path / "alone"))
    objective = Mortal(tmp_path / "mortal", dies=8)  # which comes last
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path / "cluster")
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        check_equal(run(Mortal(tmp_path / "notes")), alone)
        check_equal(run(objective, tmp_path / "members"), alone)
    assert len(list((tmp_path / "members").glob("*.safetensors"))) == len(MEMBERS)
    processes, steps = objective.seen()
    assert len(processes) >= 2
    assert os.getpid() not in processes
    assert sorted(width for chunk in steps for width in chunk) == WIDTHS
    # The chunk that died with its worker is trained again. What was stored is not, also if it comes again.
    assert steps == {chunk: STEPS + (8 in chunk) for chunk in steps}
    assert len(steps) > 2
