"""The attacks of this package beside their peers: same models, data, ε, steps and batch, in turn in one process.

First PGD, whose time is compared with the floor: the forward passes and input gradients that no loop of so many steps
can do without, on the very points that the attack visits. Then the ensemble, whose strength to match is that of the
reference AutoAttack. Beside the time stand the passes, in examples: they depend on no machine; and the examples that an
attack missed, for ours breaks them, or added, for ours does not.

    python benchmarks/attacks.py [--quick] [--json FILE]

Peers are compared where they are installed: `pip install -e .[peers] git+https://github.com/fra31/auto-attack`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse import L2, PGD, AdversarialTraining, Estimate, Linf, Standard, cnn, fit, load, mlp
from robustcourse.attacks import AutoAttack, Chain
from robustcourse.data import Dataset
from robustcourse.evaluate import counting
from robustcourse.runtime import about, device, seeded, timed, versions
from robustcourse.threats import Threat

Run = Callable[[], Tensor]  # one attack on one batch: to x_adv
Peer = Callable[[nn.Module, Threat, Tensor, Tensor, int], Run]  # model, threat, x, y, steps; ImportError if missing
Figures = dict[str, object]

NORM = {Linf: np.inf, L2: 2}


# PGD of each package, with the step size that ours has: 2.5 ε / steps.


def ours(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, steps: int) -> Run:
    return lambda: PGD(threat, steps)(model, x, y)


def ours_early_exit(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, steps: int) -> Run:
    return lambda: PGD(threat, steps, early_exit=True)(model, x, y)


def floor(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, steps: int) -> Run:
    """The gradients along our attack's own walk, and nothing else."""
    walk: list[Tensor] = []
    watch = model.register_forward_pre_hook(lambda _, inputs: walk.append(inputs[0].detach().clone()))
    PGD(threat, steps)(model, x, y)
    watch.remove()
    assert len(walk) == steps

    def run() -> Tensor:
        for point in walk:
            torch.autograd.grad(F.cross_entropy(model(point.requires_grad_()), y, reduction="sum"), point)
        return point

    return run


def plain_loop(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, steps: int) -> Run:
    """PGD as one would write it on a blackboard, with no check of anything."""
    eps, step = threat.eps, 2.5 * threat.eps / steps

    def length(delta: Tensor) -> Tensor:
        return delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1) + 1e-12

    def run() -> Tensor:
        x_adv = threat.random(x, torch.Generator(x.device).manual_seed(0))
        for _ in range(steps):
            loss = F.cross_entropy(model(x_adv.requires_grad_()), y, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x_adv)
            if isinstance(threat, Linf):
                delta = (x_adv.detach() + step * gradient.sign() - x).clamp(-eps, eps)
            else:
                delta = x_adv.detach() + step * gradient / length(gradient) - x
                delta = delta * (eps / length(delta)).clamp(max=1)
            x_adv = (x + delta).clamp(0, 1)
        return x_adv

    return run


def torchattacks(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, steps: int) -> Run:
    import torchattacks

    attack = {Linf: torchattacks.PGD, L2: torchattacks.PGDL2}[type(threat)]
    attack = attack(model, eps=threat.eps, alpha=2.5 * threat.eps / steps, steps=steps)
    return lambda: attack(x, y)


def foolbox(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, steps: int) -> Run:
    import foolbox

    attack = {Linf: foolbox.attacks.LinfPGD, L2: foolbox.attacks.L2PGD}[type(threat)]
    attack = attack(abs_stepsize=2.5 * threat.eps / steps, steps=steps)
    wrapped = foolbox.PyTorchModel(model, (0, 1), device=device())
    return lambda: attack.run(wrapped, x, y, epsilon=threat.eps)


def cleverhans(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, steps: int) -> Run:
    from cleverhans.torch.attacks.projected_gradient_descent import projected_gradient_descent

    norm, step = NORM[type(threat)], 2.5 * threat.eps / steps
    return lambda: projected_gradient_descent(model, x, threat.eps, step, steps, norm, 0.0, 1.0, y)


def art(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, steps: int) -> Run:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    kind = "cpu" if device().type == "cpu" else "gpu"
    wrapped = PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0), device_type=kind)
    norm, step = NORM[type(threat)], 2.5 * threat.eps / steps
    size = {"max_iter": steps, "num_random_init": 1, "batch_size": len(x)}
    attack = ProjectedGradientDescentPyTorch(wrapped, norm, threat.eps, step, **size, verbose=False)
    return lambda: torch.from_numpy(attack.generate(x.cpu().numpy(), y.cpu().numpy())).to(x.device)


# The ensemble: APGD on cross-entropy, targeted APGD, a minimum-norm attack, Square; its steps are its own. Ours gives
# Square 1,000 queries and the reference 5,000, so there is a line for ours with as many.


def our_ensemble(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, _: int) -> Run:
    return lambda: AutoAttack(threat)(model, x, y)


def our_ensemble_5000(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, _: int) -> Run:
    *others, square = AutoAttack(threat).attacks
    attack = Chain.of(*others, replace(square, queries=5000))
    return lambda: attack(model, x, y)


def reference(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, _: int) -> Run:
    from autoattack import AutoAttack

    attack = AutoAttack(model, type(threat).__name__, threat.eps, seed=0, verbose=False, device=str(device()))
    return lambda: attack.run_standard_evaluation(x, y, bs=len(x))


def torchattacks_ensemble(model: nn.Module, threat: Threat, x: Tensor, y: Tensor, _: int) -> Run:
    import torchattacks

    attack = torchattacks.AutoAttack(model, type(threat).__name__, threat.eps, seed=0)
    return lambda: attack(x, y)


PGDS: dict[str, Peer] = {
    "floor": floor,
    "robustcourse": ours,
    "robustcourse, early exit": ours_early_exit,
    "plain loop": plain_loop,
    "torchattacks": torchattacks,
    "foolbox": foolbox,
    "cleverhans": cleverhans,
    "ART": art,
}
ENSEMBLES: dict[str, Peer] = {
    "robustcourse": our_ensemble,
    "robustcourse, 5,000 queries": our_ensemble_5000,
    "reference AutoAttack": reference,
    "torchattacks": torchattacks_ensemble,
}


def judge(run: Run, model: nn.Sequential, threat: Threat, x: Tensor, y: Tensor) -> tuple[Figures, Tensor]:
    """An attack's passes, strength and manners, and which examples withstand it: a point outside the set is no hit."""
    model.zero_grad(set_to_none=True)
    with counting(model[-1]) as passes:  # not the whole model, whose layers ART calls one by one
        x_adv = run().detach()
    with torch.no_grad():
        distance = threat.distance(x, x_adv)
        stands = (model(x).argmax(1) == y) & ((model(x_adv).argmax(1) == y) | (distance > threat.eps + 1e-5))
    wrote = any(p.grad is not None for p in model.parameters())
    left = Estimate.proportion(stands.cpu())
    return {**vars(passes), "left": left, "farthest": float(distance.max()), "wrote": wrote}, stands


def compare(
    peers: dict[str, Peer], model: nn.Sequential, threat: Threat, x: Tensor, y: Tensor, steps: int, rounds: int
) -> dict[str, Figures]:
    """Judge every attack, then time all in turn, so that what else the machine does falls on all of them alike."""
    runs: dict[str, Run] = {}
    result: dict[str, Figures] = {}
    for name, peer in peers.items():
        try:
            runs[name] = peer(model, threat, x, y, steps)
        except ImportError as error:
            result[name] = {"missing": str(error)}
    stands: dict[str, Tensor] = {}
    times: dict[str, list[float]] = {name: [] for name in runs}
    with seeded(0):
        for name, run in runs.items():  # the first call, which also warms up
            result[name], stands[name] = judge(run, model, threat, x, y)
        for _ in range(rounds):
            for name, run in runs.items():
                times[name].append(timed(run)[1])
    first = next(iter(runs))
    for name in runs:
        result[name] |= {
            "seconds": statistics.median(times[name]),
            "time": statistics.median(t / base for t, base in zip(times[name], times[first], strict=True)),
            "missed": int((stands[name] & ~stands["robustcourse"]).sum()),  # ours breaks them
            "added": int((stands["robustcourse"] & ~stands[name]).sum()),  # ours does not
        }
        result[name]["points"] = 100 * (result[name]["missed"] - result[name]["added"]) / len(x)
    return {name: result[name] for name in peers}


def show(title: str, result: dict[str, Figures]) -> None:
    print(f"\n{title}\n{'':<28}{'seconds':>9}{'×':>6}{'forward':>11}{'backward':>11}", end="  ")
    print(f"{'accuracy left':<34}{'missed':>6}{'added':>7}{'farthest':>10}  wrote param.grad")
    for name, f in result.items():
        if "missing" in f:
            print(f"{name:<28}  missing: {f['missing']}")
            continue
        print(f"{name:<28}{f['seconds']:>9.3f}{f['time']:>6.2f}{f['forward']:>11,}{f['backward']:>11,}", end="  ")
        print(f"{f['left']!s:<34}{f['missed']:>6}{f['added']:>7}{f['farthest']:>10.5f}  {f['wrote']}")


def summary(results: list[dict[str, Figures]]) -> dict[str, Figures]:
    """Over all models: geometric means of what the first attack's time and passes are multiplied with, mean points."""
    present = [name for name, f in results[0].items() if "missing" not in f]
    total: dict[str, Figures] = {}
    for name in present:
        total[name] = {"time": statistics.geometric_mean(r[name]["time"] for r in results)}
        for passes in ("forward", "backward"):
            total[name][passes] = statistics.geometric_mean(r[name][passes] / r[present[0]][passes] for r in results)
        total[name]["points"] = statistics.mean(r[name]["points"] for r in results)
    return total


def models(data: Dataset, epochs: int) -> Iterator[tuple[str, nn.Sequential, Threat]]:
    """Two networks, two threats, without and with adversarial training."""
    for threat in (Linf(0.15), L2(0.75)):
        for build, width in (mlp, 256), (cnn, 32):
            for objective in Standard(), AdversarialTraining(PGD(threat, steps=7)):
                model = build(data, width=width)
                fit(model, data, objective, epochs=epochs)
                yield f"{build.__name__}, {type(objective).__name__}, {threat}", model, threat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test of this benchmark: its figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    steps, rounds, epochs, n = (3, 1, 1, 8) if arguments.quick else (40, 9, 30, 360)

    about()
    torch.set_num_threads(1)  # the CPU's seconds count threads that wait for each other, too
    data = load("digits")
    x, y = data.test.x[:n], data.test.y[:n]
    figures: Figures = {"versions": versions(), "device": str(device()), "threads": torch.get_num_threads()}
    subjects = list(models(data, epochs))[:: 7 if arguments.quick else 1]  # quick: the first and the last of eight
    for title, peers, repeat in (f"PGD-{steps}", PGDS, rounds), ("AutoAttack", ENSEMBLES, 1):
        results = {}
        for name, model, threat in subjects:
            results[name] = compare(peers, model, threat, x, y, steps, repeat)
            show(f"{title} on {name}: batch of {len(x)}, medians of {repeat} rounds", results[name])
        total = summary(list(results.values()))
        print(f"\n{title}, mean of {len(results)} models: × time, × forward, × backward, points of accuracy left")
        for name, f in total.items():
            print(f"{name:<28}{f['time']:>6.2f}{f['forward']:>6.2f}{f['backward']:>6.2f}{f['points']:>+6.2f}")
        figures[title] = {"models": results, "mean": total}
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
