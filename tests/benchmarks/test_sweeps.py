"""The benchmark of sweeps: that all ways lead to the same eigenvalues, and what it writes."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import torch

FILE = Path(__file__).parents[2] / "benchmarks/sweeps.py"
BENCHMARK = runpy.run_path(str(FILE))


def test_all_ways_find_the_largest_eigenvalues_and_the_floor_makes_as_many_products_as_ours(capsys):
    diagonal, calls = torch.cat([torch.tensor([9.0, 8.5]), torch.linspace(0, 1, 48)]).double(), []

    def product(vector):
        calls.append(len(vector))
        return diagonal * vector

    result = BENCHMARK["compare_eigenvalues"](product, lambda: diagonal.diag(), diagonal[:2], 1)
    assert list(result) == ["floor", "robustcourse", "power iteration", "dense"]
    assert result["floor"]["products"] == result["robustcourse"]["products"] < result["power iteration"]["products"]
    assert result["dense"]["products"] == 50
    assert result["robustcourse"]["time"] == 1
    for name in ("robustcourse", "power iteration", "dense"):
        assert result[name]["deviation"] <= BENCHMARK["ACCURACY"]
        assert result[name]["seconds"] > 0
    assert len(calls) == 3 * result["floor"]["products"] + 2 * result["power iteration"]["products"]
    BENCHMARK["show_eigenvalues"]("Two", result)
    assert "power iteration" in capsys.readouterr().out


def test_a_quick_run_writes_its_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sweeps.py", "--quick", "--json", str(tmp_path / "figures.json")])
    runpy.run_path(str(FILE), run_name="__main__")
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["hessian_speedup"] == written["hessian"]["k = 5"]["power iteration"]["time"]
    assert written["hessian_speedup_of_one"] == written["hessian"]["k = 1"]["power iteration"]["time"]
