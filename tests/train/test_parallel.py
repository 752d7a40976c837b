"""Two processes train as one: the same losses for the same batches, within rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from robustcourse import PGD, AdversarialTraining, Linf, fit, load, mlp

WALK = PGD(Linf(0.1), steps=2, random_start=False)  # a random start would be another one in each process
OBJECTIVES = {
    "standard": None,
    "adversarial": AdversarialTraining(WALK),
    "mixed": AdversarialTraining(WALK, 0.5),
}

WORKER = """
import json, sys
import torch
from torch import distributed as dist
from robustcourse import fit, load, mlp
from tests.train.test_parallel import OBJECTIVES, run

dist.init_process_group("gloo")
found = {name: run(objective) for name, objective in OBJECTIVES.items()}
if dist.get_rank() == 0:
    json.dump(found, open(sys.argv[1], "w"))
try:
    fit(mlp(load("digits"), width=4), load("digits"), epochs=1, batch_size=1436)
except ValueError as error:
    assert "batch_size=1436 leaves a last batch of 1, too few for 2 processes" in str(error)
else:
    raise AssertionError("an empty batch was not refused")
dist.destroy_process_group()
"""


def run(objective):
    """Losses, gradient norms and the sum of the weights after two epochs; the last batch of an epoch is odd."""
    data, model = load("digits"), mlp(load("digits"), width=32)
    history = fit(model, data, objective, epochs=2, batch_size=110, clip=1.0)
    weights = torch.nn.utils.parameters_to_vector(model.parameters())
    return [*history.loss, *history.gradient_norm, float(weights.sum()), float(weights.norm())]


def test_two_processes_train_as_one(tmp_path):
    script, found = tmp_path / "worker.py", tmp_path / "found.json"
    script.write_text(WORKER)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, found]
    env = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(launch, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, values in json.loads(found.read_text()).items():
        assert values == pytest.approx(run(OBJECTIVES[name]), rel=2e-3), name
