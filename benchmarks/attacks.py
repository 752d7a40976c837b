"""PGD of this package beside its peers: same model, data, ε and steps, in turn in one process.

Time is compared with the floor: the forward passes and input gradients that no loop of so many steps can do without, on
the very points that the attack visits. Strength and manners stand beside it: the accuracy each attack leaves, the
farthest point it returns, and whether it overwrote the gradients of the model's weights.

    python benchmarks/attacks.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse import PGD, Estimate, Linf, about, cnn, device, fit, load, mlp
from robustcourse.runtime import versions

EPS = 0.1
Run = Callable[[Tensor, Tensor], Tensor]


def floor(model: nn.Module, x: Tensor, y: Tensor, attack: PGD) -> Run:
    """The gradients along the attack's own walk, and nothing else."""
    visited: list[Tensor] = []
    watch = model.register_forward_pre_hook(lambda _, inputs: visited.append(inputs[0].detach().clone()))
    attack(model, x, y)
    watch.remove()
    assert len(visited) == attack.steps

    def run(x: Tensor, y: Tensor) -> Tensor:
        for point in visited:
            torch.autograd.grad(F.cross_entropy(model(point.requires_grad_()), y, reduction="sum"), point)
        return visited[-1].detach()

    return run


def plain_loop(model: nn.Module, steps: int, step_size: float) -> Run:
    """PGD as one would write it on a blackboard, with no check of anything."""

    def run(x: Tensor, y: Tensor) -> Tensor:
        x_adv = (x + EPS * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
        for _ in range(steps):
            x_adv.requires_grad_()
            loss = F.cross_entropy(model(x_adv), y, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x_adv)
            x_adv = x_adv.detach() + step_size * gradient.sign()
            x_adv = (x + (x_adv - x).clamp(-EPS, EPS)).clamp(0, 1)
        return x_adv

    return run


def torchattacks(model: nn.Module, steps: int, step_size: float) -> Run:
    from torchattacks import PGD as Peer

    return Peer(model, eps=EPS, alpha=step_size, steps=steps)


def foolbox(model: nn.Module, steps: int, step_size: float) -> Run:
    from foolbox import PyTorchModel
    from foolbox.attacks import LinfPGD

    attack, wrapped = LinfPGD(abs_stepsize=step_size, steps=steps), PyTorchModel(model, (0, 1), device=device())
    return lambda x, y: attack.run(wrapped, x, y, epsilon=EPS)


def adversarial_robustness_toolbox(model: nn.Module, steps: int, step_size: float) -> Run:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    kind = "cpu" if device().type == "cpu" else "gpu"
    wrapped = PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0.0, 1.0), device_type=kind)
    attack = ProjectedGradientDescentPyTorch(
        wrapped, np.inf, EPS, step_size, max_iter=steps, num_random_init=1, batch_size=10_000, verbose=False
    )
    return lambda x, y: torch.from_numpy(attack.generate(x.cpu().numpy(), y.cpu().numpy())).to(x.device)


def seconds(run: Run, x: Tensor, y: Tensor) -> float:
    """On a CPU its own seconds, in which other programs do not count; on a GPU those of the clock on the wall."""
    clock = time.perf_counter if x.is_cuda else time.process_time
    start = clock()
    run(x, y)
    if x.is_cuda:
        torch.cuda.synchronize()
    return clock() - start


def compare(model: nn.Module, x: Tensor, y: Tensor, steps: int, rounds: int) -> dict[str, dict[str, object]]:
    """Time every attack in turn, `rounds` times, so that what else the machine does falls on all of them alike."""
    step_size = 2.5 * EPS / steps
    ours = PGD(Linf(EPS), steps, step_size)
    runs: dict[str, Run] = {"floor": floor(model, x, y, ours), "robustcourse": lambda x, y: ours(model, x, y)}
    missing: dict[str, dict[str, object]] = {}
    for peer in (plain_loop, torchattacks, foolbox, adversarial_robustness_toolbox):
        try:
            runs[peer.__name__] = peer(model, steps, step_size)
        except ImportError as error:
            missing[peer.__name__] = {"missing": str(error)}

    result: dict[str, dict[str, object]] = {}
    for name, run in runs.items():  # the first call, which also warms up
        model.zero_grad(set_to_none=True)
        x_adv = run(x, y).detach()
        with torch.no_grad():
            left = Estimate.proportion((model(x_adv).argmax(1) == y).cpu())
        wrote = any(p.grad is not None for p in model.parameters())
        result[name] = {"accuracy": left, "farthest": float((x_adv - x).abs().max()), "wrote param.grad": wrote}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run, x, y))
    for name in runs:
        ratios = [t / base for t, base in zip(times[name], times["floor"], strict=True)]
        result[name] |= {"ms": 1000 * statistics.median(times[name]), "ratio": statistics.median(ratios)}
    return result | missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test of this benchmark: its figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    steps, rounds, epochs = (3, 2, 1) if arguments.quick else (40, 25, 30)

    about()
    data = load("digits")
    figures: dict[str, object] = {"versions": versions(), "device": str(device()), "threads": torch.get_num_threads()}
    for name, model in {"mlp": mlp(data, width=256), "cnn": cnn(data, width=32)}.items():
        fit(model, data, epochs=epochs)
        methods = figures[name] = compare(model, data.test.x, data.test.y, steps, rounds)
        print(f"\n{name}: PGD-{steps}, Linf {EPS}, batch of {len(data.test)}, medians of {rounds} rounds")
        print(f"{'':<32}{'ms':>8}{'× floor':>9}  {'accuracy left':<34}{'farthest':>9}  wrote param.grad")
        for method, f in methods.items():
            if "missing" in f:
                print(f"{method:<32}missing: {f['missing']}")
                continue
            print(
                f"{method:<32}{f['ms']:>8.1f}{f['ratio']:>9.2f}  {f['accuracy']!s:<34}{f['farthest']:>9.4f}", end="  "
            )
            print("yes" if f["wrote param.grad"] else "no")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
