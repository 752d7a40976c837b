"""The training benchmark: what it counts, that its loops are what they say, and that a missing peer is named."""

from __future__ import annotations

import runpy
from functools import partial
from pathlib import Path

import pytest
import torch

from robustcourse import Linf, mlp
from tests.nets import points

BENCHMARK = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/training.py"))
DATA, THREAT = points(), Linf(0.1)


def compare(peers):
    return BENCHMARK["compare"](peers, partial(mlp, width=8), DATA, THREAT, 1)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_floor_the_plain_loop_and_ours_pass_the_same_examples(steps):
    peers = {name: peer for name, peer in BENCHMARK["costs"](steps).items() if name not in ("torchattacks", "ART")}
    assert set(peers) == {"floor", "robustcourse", "plain loop"}
    for name, figures in compare(peers).items():
        # `fit` looks at the model once before it trains.
        assert figures["forward"] == pytest.approx(steps + 1, abs=0.05), name
        assert figures["backward"] == pytest.approx(steps + 1, abs=0.05), name


@pytest.mark.parametrize("name", ["floor", "plain loop"])
def test_the_loops_train(name):
    model = mlp(DATA, width=8)
    before = [weight.clone() for weight in model.parameters()]
    BENCHMARK["costs"](2)[name](model, DATA, THREAT)()
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_peer_that_is_not_installed_is_named(capsys):
    def absent(*_):
        raise ImportError("No module named 'peer'")

    result = compare({"floor": BENCHMARK["costs"](1)["floor"], "peer": absent})
    assert result["peer"] == {"missing": "No module named 'peer'"}
    BENCHMARK["show"]("An epoch", result)
    assert "peer                  missing: No module named 'peer'" in capsys.readouterr().out


def test_every_method_has_its_cost_measured():
    peers = {name: partial(BENCHMARK["method"], name) for name in BENCHMARK["METHODS"]}
    result = compare(peers)
    assert all(figures["seconds"] > 0 for figures in result.values())
    assert result["PGD-7"]["forward"] == pytest.approx(8, abs=0.05)
    assert result["free, 4 replays"]["forward"] == pytest.approx(4, abs=0.05)
