"""The benchmark of sweeps: that all methods give the same answers, and what it writes."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).parents[2] / "benchmarks/sweeps.py"
BENCHMARK = runpy.run_path(str(FILE))


def test_every_width_is_compared_with_one_at_a_time(capsys):
    found = BENCHMARK["features"](20, [5, 18, 20, 21, 40], 2)
    for table in found["features"].values():
        assert list(table) == ["floor", "robustcourse", "pinv", "lstsq"]
        assert table["robustcourse"]["time"] == 1
        for figures in table.values():
            assert figures["seconds"] > 0
            assert figures["deviation"] < 1e-8
    assert found["features_speedup"] == min(table["pinv"]["time"] for table in found["features"].values())
    assert found["features_speedup_lstsq"] == min(table["lstsq"]["time"] for table in found["features"].values())
    assert "Random features (relu), 20 examples, 5 widths from 5 to 40: medians of 2 rounds" in capsys.readouterr().out


def test_all_ways_find_the_largest_eigenvalues_and_the_floor_makes_as_many_products_as_ours():
    diagonal, calls = torch.cat([torch.tensor([9.0, 8.5]), torch.linspace(0, 1, 48)]).double(), []

    def product(vector):
        calls.append(len(vector))
        return diagonal * vector

    found = BENCHMARK["largest"](product, lambda: diagonal.diag(), diagonal[:2], 1)
    assert list(found) == ["floor", "robustcourse", "power iteration", "dense"]
    assert all(figures["deviation"] <= BENCHMARK["ACCURACY"] for figures in found.values())
    ours, power = found["robustcourse"]["products"], found["power iteration"]["products"]
    assert 2 < ours < power
    assert len(calls) == 2 * ours + 3 * (ours + power)  # counted, warmed up and timed; of the floor the last two


def test_a_quick_run_writes_its_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sweeps.py", "--quick", "--json", str(tmp_path / "figures.json")])
    runpy.run_path(str(FILE), run_name="__main__")
    written = json.loads((tmp_path / "figures.json").read_text())
    assert {"versions", "device", "features", "features_speedup", "features_speedup_lstsq"} <= written.keys()
    assert written["hessian_speedup"] == written["hessian"]["k = 5"]["power iteration"]["time"]
    assert written["hessian_speedup_of_one"] == written["hessian"]["k = 1"]["power iteration"]["time"]
    assert written["features_speedup"] == pytest.approx(min(t["pinv"]["time"] for t in written["features"].values()))


def test_the_widths_are_as_many_and_as_large_as_said():
    assert len(BENCHMARK["WIDTHS"]) == 36
    assert (BENCHMARK["WIDTHS"][0], BENCHMARK["WIDTHS"][-1]) == (5, 6000)
