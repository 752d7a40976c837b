"""Training methods beside their floor and their peers: what an epoch costs, and what it buys.

First the cost of an epoch. The floor of a method with p passes a step is p forward and backward passes, of which all
but the last are for the input alone, and one step of the optimizer, on images that lie ready: no loop can do without.
A plain loop is written as on a blackboard. Then each method trains in full, and AutoAttack says what is left: robust
accuracy against cost.

    python benchmarks/training.py [--quick] [--json FILE]

Peers are compared where they are installed: `pip install -e .[peers]`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse import PGD, AdversarialTraining, AutoAttack, Estimate, Linf, Standard, cnn, fit, load, mlp
from robustcourse.data import Dataset
from robustcourse.evaluate import correct, counting
from robustcourse.runtime import about, device, seeded, timed, versions
from robustcourse.threats import Threat
from robustcourse.train import AWP, EMA, MART, NFGSM, TRADES, Free, Objective, fast

Epoch = Callable[[], object]  # one epoch of training
Peer = Callable[[nn.Module, Dataset, Threat], Epoch]  # ImportError if missing
Figures = dict[str, object]
RATE, BATCH = 5e-3, 128

METHODS: dict[str, Callable[[Threat], Objective]] = {
    "standard": lambda t: Standard(),
    "FGSM": lambda t: AdversarialTraining(PGD(t, steps=1, step_size=t.eps, random_start=False)),
    "fast (FGSM-RS)": fast,
    "N-FGSM": NFGSM,
    "free, 4 replays": Free,
    "PGD-2": lambda t: AdversarialTraining(PGD(t, steps=2)),
    "PGD-7": lambda t: AdversarialTraining(PGD(t, steps=7)),
    "half clean, PGD-7": lambda t: AdversarialTraining(PGD(t, steps=7), weight=0.5),
    "TRADES-7": lambda t: TRADES(PGD(t, steps=7)),
    "MART-7": lambda t: MART(PGD(t, steps=7)),
    "AWP, PGD-7": lambda t: AWP(AdversarialTraining(PGD(t, steps=7))),
}


def batches(data: Dataset) -> list[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0)).to(data.train.x.device)
    return [(data.train.x[index], data.train.y[index]) for index in order.split(BATCH)]


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    optimizer.step()


def ours(steps: int, model: nn.Module, data: Dataset, threat: Threat) -> Epoch:
    return lambda: fit(model, data, AdversarialTraining(PGD(threat, steps=steps)), epochs=1)


def method(name: str, model: nn.Module, data: Dataset, threat: Threat) -> Epoch:
    return lambda: fit(model, data, METHODS[name](threat), epochs=1)


def floor(steps: int, model: nn.Module, data: Dataset, threat: Threat) -> Epoch:
    """`steps` gradients of the input and one of the weights a batch, at points of the threat set drawn beforehand."""
    optimizer, ready = torch.optim.Adam(model.parameters(), RATE, fused=True), []  # the quickest, as in `fit`
    generator = torch.Generator(data.train.x.device).manual_seed(0)
    for x, y in batches(data):
        ready.append(([threat.random(x, generator) for _ in range(steps + 1)], y))

    def run() -> None:
        model.train()
        for (*walk, last), y in ready:
            for point in walk:
                torch.autograd.grad(F.cross_entropy(model(point.requires_grad_()), y, reduction="sum"), point)
            descend(model, optimizer, last, y)
        model.eval()

    return run


def plain_loop(steps: int, model: nn.Module, data: Dataset, threat: Threat) -> Epoch:
    """Madry's loop with no check of anything, L∞ only."""
    optimizer, eps = torch.optim.Adam(model.parameters(), RATE), threat.eps

    def run() -> None:
        for x, y in batches(data):
            x_adv = x
            if steps:
                x_adv = (x + torch.empty_like(x).uniform_(-eps, eps)).clamp(0, 1)
            for _ in range(steps):
                loss = F.cross_entropy(model(x_adv.requires_grad_()), y, reduction="sum")
                (up,) = torch.autograd.grad(loss, x_adv)
                x_adv = x_adv.detach() + 2.5 * eps / steps * up.sign()
                x_adv = x_adv.clamp(x - eps, x + eps).clamp(0, 1)
            descend(model, optimizer, x_adv, y)

    return run


def torchattacks(steps: int, model: nn.Module, data: Dataset, threat: Threat) -> Epoch:
    """A loop around an attack of a library, as in its examples."""
    import torchattacks

    attack = torchattacks.PGD(model, eps=threat.eps, alpha=2.5 * threat.eps / steps, steps=steps)
    optimizer = torch.optim.Adam(model.parameters(), RATE)

    def run() -> None:
        for x, y in batches(data):
            descend(model, optimizer, attack(x, y), y)

    return run


def art(steps: int, model: nn.Module, data: Dataset, threat: Threat) -> Epoch:
    from art.defences.trainer import AdversarialTrainerMadryPGD
    from art.estimators.classification import PyTorchClassifier

    optimizer = torch.optim.Adam(model.parameters(), RATE)
    kind = "cpu" if device().type == "cpu" else "gpu"
    wrapped = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), data.shape, data.classes, optimizer, clip_values=(0.0, 1.0), device_type=kind
    )
    size = {"nb_epochs": 1, "batch_size": BATCH, "max_iter": steps, "num_random_init": 1}
    trainer = AdversarialTrainerMadryPGD(wrapped, eps=threat.eps, eps_step=2.5 * threat.eps / steps, **size)
    trainer.attack.verbose = False
    x, y = data.train.x.cpu().numpy(), np.eye(data.classes, dtype=np.float32)[data.train.y.cpu().numpy()]
    return lambda: trainer.fit(x, y)


def costs(steps: int) -> dict[str, Peer]:
    """Those who train with PGD of so many steps; 0 is standard training."""
    named = {"floor": floor, "robustcourse": ours if steps else None, "plain loop": plain_loop}
    if steps:
        named |= {"torchattacks": torchattacks, "ART": art}
    peers = {name: partial(peer, steps) for name, peer in named.items() if peer}
    return peers if steps else {"floor": peers["floor"], "robustcourse": partial(method, "standard"), **peers}


def compare(
    peers: dict[str, Peer], build: Callable[[Dataset], nn.Sequential], data: Dataset, threat: Threat, rounds: int
) -> dict[str, Figures]:
    """Epochs of all in turn, so that what else the machine does falls on all of them alike; ratios to the first."""
    result: dict[str, Figures] = {}
    runs: dict[str, Epoch] = {}
    with seeded(0):
        for name, peer in peers.items():
            model = build(data)
            try:
                runs[name] = peer(model, data, threat)
            except ImportError as error:
                result[name] = {"missing": str(error)}
                continue
            with counting(model[-1]) as passes:
                runs[name]()  # which also warms up
            per = {what: round(count / len(data.train), 2) for what, count in vars(passes).items()}
            result[name] = {**per, "times": []}
        for _ in range(rounds):
            for name, run in runs.items():
                result[name]["times"].append(timed(run)[1])
    first = result[next(iter(runs))]["times"]
    for name in runs:
        times = result[name].pop("times")
        result[name]["seconds"] = statistics.median(times)
        result[name]["time"] = statistics.median(t / base for t, base in zip(times, first, strict=True))
    return {name: result[name] for name in peers}


def show(title: str, result: dict[str, Figures]) -> None:
    print(f"\n{title}\n{'':<20}{'seconds':>9}{'×':>7}{'forward':>9}{'backward':>9}")
    for name, f in result.items():
        if "missing" in f:
            print(f"{name:<20}  missing: {f['missing']}")
        else:
            print(f"{name:<20}{f['seconds']:>9.3f}{f['time']:>7.2f}{f['forward']:>9.2f}{f['backward']:>9.2f}")


def worth(
    build: Callable[..., nn.Sequential], data: Dataset, threat: Threat, epochs: int, seeds: int, test: int
) -> dict[str, Figures]:
    """Train each method over seeds: seconds, clean accuracy, and what AutoAttack leaves."""
    result = {}
    with_average = {f"{name} + EMA": name for name in ("PGD-7", "TRADES-7")}
    for name in [*METHODS, *with_average]:
        spent, clean, robust = [], [], []
        for seed in range(seeds):
            model = build(data, seed=seed)
            average = EMA(0.995) if name in with_average else None
            objective = METHODS[with_average.get(name, name)](threat)
            passes_over_data = epochs // getattr(objective, "replays", 1)  # as many steps for all
            spent.append(
                timed(partial(fit, model, data, objective, epochs=passes_over_data, average=average, seed=seed))[1]
            )
            clean.append(correct(model, data.test[:test]).cpu().numpy())
            robust.append(correct(model, data.test[:test], AutoAttack(threat)).cpu().numpy())
        result[name] = {
            "seconds": statistics.median(spent),
            "clean": Estimate.over_seeds(np.stack(clean)),
            "robust": Estimate.over_seeds(np.stack(robust)),
        }
        result[name]["time"] = result[name]["seconds"] / result["standard"]["seconds"]
        f = result[name]
        print(f"{name:<20}{f['seconds']:>9.2f}{f['time']:>7.2f}  {f['clean']!s:<44}{f['robust']}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test of this benchmark: its figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    rounds, epochs, seeds, test = (1, 1, 2, 16) if arguments.quick else (25, 40, 5, 360)

    about()
    torch.set_num_threads(1)  # the CPU's seconds count threads that wait for each other, too
    data, threat = load("digits"), Linf(0.15)
    networks = {"mlp, width 256": mlp, "cnn, width 32": cnn}
    figures: Figures = {"versions": versions(), "device": str(device()), "threads": torch.get_num_threads()}
    for title, build in networks.items():
        for steps in (0, 1, 7):
            what = f"PGD-{steps} training" if steps else "standard training"
            result = compare(costs(steps), build, data, threat, rounds)
            show(f"An epoch of {what}, {title}: medians of {rounds} rounds, passes an example", result)
            figures[f"{what}, {title}"] = result
        everyone = {name: partial(method, name) for name in METHODS}
        result = compare(everyone, build, data, threat, rounds)
        show(f"An epoch of each method, {title}", result)
        figures[f"methods, {title}"] = result
    print(f"\n{epochs} epochs of each method on {title}, {seeds} seeds: seconds, × standard, clean, under AutoAttack")
    figures["worth"] = worth(cnn, data, threat, epochs, seeds, test)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
