"""What a sweep over networks asks of each: here the curvature of its loss.

The largest eigenvalues of a Hessian: from its products with vectors by Lanczos' method and by power iteration, and from
all its numbers. How far they are from those in double precision, as a share of the largest, stands beside products and
seconds. The first line is the floor: as many products as ours makes, and nothing else.

    python benchmarks/sweeps.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor

from robustcourse import fit, load, mlp
from robustcourse.landscape import hessian, hessian_product, lanczos
from robustcourse.landscape.hessian import Product
from robustcourse.runtime import about, device, versions

Figures = dict[str, object]
Run = Callable[[], Tensor]  # (k,) eigenvalues, the largest first
ACCURACY = 1e-4  # of the largest eigenvalue


def power_iteration(product: Product, size: int, true: Tensor) -> Tensor:
    """One eigenvalue after the other, in what those before it leave over.

    It is told the true ones, and stops as soon as it is near enough: no rule that does not know them could be better.
    """
    generator, vectors, values = torch.Generator().manual_seed(0), true.new_zeros(0, size), []
    for goal in true:
        image = torch.randn(size, generator=generator).to(true)
        for _ in range(10_000):
            rest = image - vectors.T @ (vectors @ image)
            vector = rest / rest.norm()
            image = product(vector).to(true)
            value = vector @ image
            if (value - goal).abs() <= ACCURACY * true[0]:
                break
        vectors, values = torch.cat([vectors, vector[None]]), [*values, value]
    return torch.stack(values)


def timed(run: Run) -> tuple[Tensor, float]:
    """The result, and its seconds: on a CPU its own, in which other programs do not count; on a GPU the clock's."""
    clock = time.perf_counter if device().type == "cuda" else time.process_time
    start = clock()
    result = run()
    if device().type == "cuda":
        torch.cuda.synchronize()
    return result, clock() - start


def compare_eigenvalues(product: Product, whole: Run, true: Tensor, rounds: int) -> dict[str, Figures]:
    """Products, deviation, seconds, and seconds as multiples of ours: all in turn, and round by round."""
    k, size, made = len(true), len(whole()), 0

    def counted(vector: Tensor) -> Tensor:
        nonlocal made
        made += 1
        return product(vector)

    runs: dict[str, Run] = {
        "robustcourse": lambda: lanczos(counted, size, k)[0],
        "power iteration": lambda: power_iteration(counted, size, true),
        "dense": lambda: torch.linalg.eigvalsh(whole()).flip(0)[:k],
    }
    result: dict[str, Figures] = {"floor": {"deviation": None}}
    for name, run in runs.items():
        made = 0
        off = (run().to(true) - true).abs().max() / true[0]
        result[name] = {"products": made or size, "deviation": float(off)}
    fewest = result["floor"]["products"] = result["robustcourse"]["products"]
    runs["floor"] = lambda: torch.stack([product(torch.ones(size)) for _ in range(fewest)])
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(timed(run)[1])
    for name, taken in times.items():
        ratios = [a / b for a, b in zip(taken, times["robustcourse"], strict=True)]
        result[name] |= {"seconds": statistics.median(taken), "time": statistics.median(ratios)}
    return result


def show_eigenvalues(title: str, result: dict[str, Figures]) -> None:
    print(f"\n{title}\n{'':<20}{'products':>9}{'seconds':>9}{'× ours':>9}{'deviation':>12}")
    for name, f in result.items():
        deviation = "" if f["deviation"] is None else f"{f['deviation']:.1e}"
        print(f"{name:<20}{f['products']:>9}{f['seconds']:>9.3f}{f['time']:>9.2f}{deviation:>12}", flush=True)


def eigenvalues(width: int, rounds: int) -> Figures:
    """The largest one and the five largest, for a trained network on 500 digits."""
    data = load("digits").to("cpu" if device().type == "mps" else device())  # which has no float64
    model, split = mlp(data, width, depth=1).to(data.train.x.device), data.train[:500]
    fit(model, data, epochs=20)
    true = torch.linalg.eigvalsh(hessian(deepcopy(model).double(), split)).flip(0).cpu()
    product, figures = hessian_product(model, split), {}
    for k in (1, 5):
        result = compare_eigenvalues(product, lambda: hessian(model, split), true[:k], rounds)
        show_eigenvalues(f"{k} of {len(true):,} eigenvalues of a Hessian: medians of {rounds} rounds", result)
        figures[f"k = {k}"] = result
    one, five = (table["power iteration"]["time"] for table in figures.values())
    return {"hessian": figures, "hessian_speedup": five, "hessian_speedup_of_one": one}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test of this benchmark: its figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()

    about()
    torch.set_num_threads(1)  # the CPU's seconds count threads that wait for each other, too
    figures: Figures = {"versions": versions(), "device": str(device()), "threads": torch.get_num_threads()}
    figures |= eigenvalues(4, 1) if arguments.quick else eigenvalues(32, 5)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
