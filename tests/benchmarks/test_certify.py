"""The benchmark of certificates: what it calls certified, and that a missing peer is named."""

from __future__ import annotations

import runpy
from pathlib import Path

from robustcourse import Linf, load, mlp
from tests.nets import points

BENCHMARK = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks/certify.py"))
DATA = points()
MODEL = mlp(DATA, width=8)
X = DATA.test.x[:6]
Y = MODEL(X).argmax(1)  # labels that the model agrees with


def compare(peers):
    return BENCHMARK["compare"](peers, MODEL, Linf(0.01), X, Y, 1)


def test_bounds_of_this_package_are_ordered_and_below_the_margins():
    peers = {name: peer for name, peer in BENCHMARK["BOUNDS"].items() if "auto_LiRPA" not in name}
    margins = [figures["margin"] for figures in compare(peers).values()]
    plain, boxes, mixed, tight, free = margins
    assert boxes <= mixed <= free <= plain
    assert tight <= free
    assert compare(peers)["forward pass"]["certified"].value == 1


def test_smoothing_gives_booleans_and_the_floor_makes_as_many_passes():
    passes = []
    hook = MODEL[-1].register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    votes = len(X) * BENCHMARK["VOTES"]
    for name, peer in BENCHMARK["SMOOTHING"].items():
        if name == "ART":
            continue
        passes.clear()
        figures = compare({name: peer})[name]  # twice: to warm up, and to be measured
        assert figures["margin"] is None
        assert figures["times floor"] == 1  # the first line is the floor
        assert 0 <= figures["certified"].value <= 1
        extra = 0 if name == "forward passes" else 2 * len(X) * 100
        if name == "robustcourse, one radius":
            assert sum(passes) <= 2 * votes + extra
        else:
            assert sum(passes) == 2 * votes + extra
    hook.remove()


def test_a_step_of_every_training_method_is_measured_and_trains(capsys):
    run = BENCHMARK["step"](lambda data: mlp(data, width=8), BENCHMARK["TRAINING"]["IBP"], DATA)
    assert run() > run()
    result = BENCHMARK["train"](lambda data: mlp(data, width=8), DATA, 3)
    assert list(result) == list(BENCHMARK["TRAINING"])
    assert result["standard"]["time"] == 1
    assert all(figures["ms"] > 0 for figures in result.values())
    BENCHMARK["show_training"]("A step", result)
    assert "CROWN-IBP, half lines" in capsys.readouterr().out


def test_branching_and_the_solver_answer_the_same_question(capsys):
    result = BENCHMARK["exact"](load("digits"), epochs=1, images=3, sample=3)
    assert list(result) == ["standard, ε = 0.05", "standard, ε = 0.1", "PGD, ε = 0.05", "PGD, ε = 0.1", "IBP, ε = 0.1"]
    for figures in result.values():
        decided = figures["verified"] + figures["falsified"]
        assert decided + figures["unknown"] == 3
        assert figures["solver agrees"] == f"{decided} of {decided}"
    BENCHMARK["show_exact"]("Exact", result)
    assert "IBP, ε = 0.1        verified" in capsys.readouterr().out


def test_a_peer_that_is_not_installed_is_named(capsys):
    def absent(*_):
        raise ImportError("No module named 'peer'")

    result = compare({"forward pass": BENCHMARK["BOUNDS"]["forward pass"], "peer": absent})
    BENCHMARK["show"]("Bounds", result)
    assert "peer                          missing: No module named 'peer'" in capsys.readouterr().out
