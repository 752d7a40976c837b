"""Many models at once beside one at a time: what a sweep costs here, and in a plain loop.

Random features first: the best linear layer at every width, from one factorization, and from one call of `pinv` or
`lstsq` a width. How far predictions are from those of `pinv`, as a share of the largest, stands beside the seconds. The
first line is the floor: products that no method can do without, if it is to predict at every width.

Then the engine: networks of twenty widths and five seeds, trained together and in a plain loop, one after the other.
The loop and the floor are timed on a part of the steps of each width, and scaled to all of them. The floor is the five
matrix products of each step. Test errors of networks that were trained alone stand beside those of the engine.

Last, the largest eigenvalues of a Hessian, from products with vectors by Lanczos' method and by power iteration, and
from all its numbers. The floor is as many products as ours makes, and nothing else; deviations are from double
precision.

    python benchmarks/sweeps.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse import Estimate, fit, load, mlp
from robustcourse.data import Dataset, label_noise
from robustcourse.double_descent import RandomFeatures, every_width, one_hot
from robustcourse.evaluate import correct
from robustcourse.landscape import hessian, hessian_product, lanczos
from robustcourse.landscape.hessian import Product
from robustcourse.runtime import about, device, timed, versions
from robustcourse.sweeps import Curve, fit_together

Figures = dict[str, object]
Run = Callable[[], Tensor]  # (W, m, K) predictions, or (1, k) eigenvalues
Peer = Callable[[Tensor, Tensor, Tensor, list[int]], Run]
WIDTHS = [5, 10, 20, 30, 50, 75, 100, 130, 160, 190, 220, 250, 270, 280, 290, 295, 298, 300]
WIDTHS += [302, 305, 310, 320, 330, 350, 380, 420, 480, 560, 700, 900, 1200, 1600, 2200, 3000, 4000, 6000]
UNITS = [2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 50, 65, 80, 100, 150, 200]
ACCURACY = 1e-4  # of eigenvalues, as a share of the largest


def ours(features: Tensor, targets: Tensor, test: Tensor, widths: list[int]) -> Run:
    return lambda: every_width(features, targets, test, widths).predictions


def floor(features: Tensor, targets: Tensor, test: Tensor, widths: list[int]) -> Run:
    """Predictions from weights that lie ready, and one product of all examples with each other."""
    weights = every_width(features, targets, test, widths).weights

    def run() -> Tensor:
        features @ features.mT
        return torch.stack([test[:, :p] @ w for p, w in zip(widths, weights, strict=True)])

    return run


def one_at_a_time(
    solve: Callable[[Tensor, Tensor], Tensor], features: Tensor, targets: Tensor, test: Tensor, widths: list[int]
) -> Run:
    return lambda: torch.stack([test[:, :p] @ solve(features[:, :p], targets) for p in widths])


FEATURES: dict[str, Peer] = {
    "floor": floor,
    "robustcourse": ours,
    "pinv": partial(one_at_a_time, lambda x, y: torch.linalg.pinv(x) @ y),
    "lstsq": partial(one_at_a_time, lambda x, y: torch.linalg.lstsq(x, y).solution),
}


def compare(runs: dict[str, Run], rounds: int, truth: Tensor | None = None) -> dict[str, Figures]:
    """All in turn, so that what else the machine does falls on all of them alike; once before, to warm up.

    Times are also given as multiples of ours, round by round, so that a moment in which the machine is slow counts for
    both. Deviations are from the truth, which is what `pinv` says if None.
    """
    found = {name: run() for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(timed(run)[1])
    truth = found["pinv"] if truth is None else truth
    return {
        name: {
            "seconds": statistics.median(taken),
            "time": statistics.median(a / b for a, b in zip(taken, times["robustcourse"], strict=True)),
            "deviation": float(((found[name] - truth).flatten(1).abs().amax(1) / truth.flatten(1).abs().amax(1)).max()),
        }
        for name, taken in times.items()
    }


def show(title: str, result: dict[str, Figures]) -> None:
    print(f"\n{title}\n{'':<20}{'seconds':>9}{'× ours':>9}{'deviation':>12}")
    for name, f in result.items():
        print(f"{name:<20}{f['seconds']:>9.3f}{f['time']:>9.2f}{f['deviation']:>12.1e}", flush=True)


def features(n: int, widths: list[int], rounds: int) -> Figures:
    """n training images of digits, all others to predict, and both kinds of features; the smaller speedup counts."""
    data = load("digits").to("cpu" if device().type == "mps" else device())  # which has no float64
    x, y = torch.cat([data.train.x, data.test.x]), torch.cat([data.train.y, data.test.y])
    figures: dict[str, dict[str, Figures]] = {}
    for kind in ("fourier", "relu"):
        table = RandomFeatures(x[0].numel(), widths[-1], kind, center=x[:n].mean(0)).to(x.device)(x)
        problem = (table[:n], one_hot(y[:n], data.classes), table[n:], widths)
        figures[kind] = compare({name: peer(*problem) for name, peer in FEATURES.items()}, rounds)
        title = f"Random features ({kind}), {n} examples, {len(widths)} widths from {widths[0]} to {widths[-1]:,}"
        show(f"{title}: medians of {rounds} rounds", figures[kind])
    least = {name: min(table[name]["time"] for table in figures.values()) for name in ("pinv", "lstsq")}
    return {"features": figures, "features_speedup": least["pinv"], "features_speedup_lstsq": least["lstsq"]}


def alone(model: nn.Module, data: Dataset, steps: int) -> nn.Module:
    """So many steps of one network, as on a blackboard, with the optimizer that the engine has."""
    x, y = data.train.x, data.train.y
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def products(width: int, data: Dataset, steps: int) -> None:
    """The products of a step, two forward and three backward, and nothing between them."""
    x = data.train.x.flatten(1).T.contiguous()
    (pixels, n), classes = x.shape, data.classes
    shapes = (width, pixels), (classes, width), (width, n), (classes, n)
    first, second, hidden, logits = (torch.ones(shape, device=x.device) for shape in shapes)
    for _ in range(steps):
        first @ x
        second @ hidden
        logits @ hidden.T
        second.T @ logits
        hidden @ x.T


def engine(units: list[int], seeds: int, steps: int, part: int, rounds: int) -> Figures:
    """Widths × seeds, one hidden layer, 500 digits, a fifth of the labels wrong; the loop in two ways.

    The engine lets networks go that have learned all labels. A loop that does the same takes as many steps. The
    plainest one goes on to the end.
    """
    data = load("digits")
    data = replace(data, train=data.train[:500])
    sets, who = [label_noise(data, 0.2, seed) for seed in range(seeds)], [(w, s) for w in units for s in range(seeds)]

    def together() -> tuple[list[nn.Sequential], list[Curve]]:
        models = [mlp(data, width, 1, seed) for width, seed in who]
        return models, fit_together(models, [sets[s] for _, s in who], steps=steps, seeds=[s for _, s in who])

    times: dict[str, list[float]] = {
        name: [] for name in ("floor", "robustcourse", "loop, retiring", "loop, to the end")
    }
    alone(mlp(data, units[0], 1), sets[0], part)  # to warm up
    for _ in range(rounds):
        (models, curves), seconds = timed(together)
        taken = [curve.retired or steps for curve in curves]
        a_step = {w: timed(partial(alone, mlp(data, w, 1), sets[0], part))[1] / part for w in units}
        least = {w: timed(partial(products, w, data, part))[1] / part for w in units}
        times["floor"].append(sum(t * least[w] for t, (w, _) in zip(taken, who, strict=True)))
        times["robustcourse"].append(seconds)
        times["loop, retiring"].append(sum(t * a_step[w] for t, (w, _) in zip(taken, who, strict=True)))
        times["loop, to the end"].append(sum(steps * a_step[w] for w, _ in who))
    table: dict[str, Figures] = {
        name: {
            "seconds": statistics.median(taken_),
            "time": statistics.median(a / b for a, b in zip(taken_, times["robustcourse"], strict=True)),
            "steps": len(who) * steps if name == "loop, to the end" else sum(taken),
        }
        for name, taken_ in times.items()
    }
    print(f"\n{len(who)} networks, {steps} steps: medians of {rounds} rounds; loop and floor from {part} steps a width")
    print(f"{'':<20}{'seconds':>9}{'× ours':>9}{'steps':>12}")
    for name, f in table.items():
        print(f"{name:<20}{f['seconds']:>9.2f}{f['time']:>9.2f}{f['steps']:>12,}", flush=True)

    # Rounding is magnified by thousands of steps, so two runs agree in their errors, not in their weights.
    agreement = {}
    for k in range(0, len(who), max(1, len(who) // 10)):
        width, seed = who[k]
        ours = correct(models[k], data.test).cpu()
        theirs = correct(alone(mlp(data, width, 1, seed), sets[seed], taken[k]).eval(), data.test).cpu()
        agreement[f"{width} units, seed {seed}"] = {
            "together": 1 - float(ours.double().mean()),
            "alone": 1 - float(theirs.double().mean()),
        }
    off = Estimate.mean([e["together"] - e["alone"] for e in agreement.values()], unit="points", observed="networks")
    print(f"test error together − alone: {off}")
    return {
        "engine": table,
        "engine_seconds": table["robustcourse"]["seconds"],
        "engine_speedup": table["loop, to the end"]["time"],
        "engine_speedup_retiring": table["loop, retiring"]["time"],
        "engine_agreement": agreement,
        "engine_difference": off,
    }


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


def largest(product: Product, whole: Run, true: Tensor, rounds: int) -> dict[str, Figures]:
    """The largest eigenvalues, (k,), in every way; `whole` writes the matrix down."""
    k, size, made = len(true), len(whole()), 0

    def counted(vector: Tensor) -> Tensor:
        nonlocal made
        made += 1
        return product(vector)

    def floor() -> Tensor:
        for _ in range(counts["robustcourse"]):
            product(ready)
        return true[None]

    runs: dict[str, Run] = {
        "floor": floor,
        "robustcourse": lambda: lanczos(counted, size, k)[0][None],
        "power iteration": lambda: power_iteration(counted, size, true)[None],
        "dense": lambda: torch.linalg.eigvalsh(whole()).flip(0)[None, :k].to(true),
    }
    ready, counts = torch.ones(size), {}
    for name in ("robustcourse", "power iteration"):
        made = 0
        runs[name]()
        counts[name] = made
    result = compare(runs, rounds, true[None])
    for name, count in counts.items():
        result[name]["products"] = count
    return result


def eigenvalues(width: int, rounds: int) -> Figures:
    """The largest one and the five largest, for a trained network on 500 digits."""
    data = load("digits").to("cpu" if device().type == "mps" else device())  # which has no float64
    model, split = mlp(data, width, depth=1), data.train[:500]
    fit(model, data, epochs=20)
    true = torch.linalg.eigvalsh(hessian(deepcopy(model).double(), split)).flip(0).cpu()
    product, figures = hessian_product(model, split), {}
    for k in (1, 5):
        figures[f"k = {k}"] = found = largest(product, partial(hessian, model, split), true[:k], rounds)
        show(f"{k} of {len(true):,} eigenvalues of a Hessian: medians of {rounds} rounds", found)
        print("products:", ", ".join(f"{name} {f['products']}" for name, f in found.items() if "products" in f))
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
    figures |= features(40, WIDTHS[:8], 1) if arguments.quick else features(300, WIDTHS, 9)
    figures |= engine([3, 9], 2, 20, 4, 1) if arguments.quick else engine(UNITS, 5, 3000, 100, 3)
    figures |= eigenvalues(4, 1) if arguments.quick else eigenvalues(32, 9)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
