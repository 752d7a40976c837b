"""Certificates beside their peers: the same models, images and ε, in turn in one process.

Bounds first. What a bound is worth stands beside its time: the mean margin that it proves, and the share of images that
it certifies. Then the exact answer, beside a solver's; training with bounds, beside a standard step; and smoothing. The
first line of a table is its floor: for bounds one forward pass, for smoothing the forward passes of all votes, on noise
that lies ready.

    python benchmarks/certify.py [--quick] [--json FILE]

Peers are compared where they are installed: auto_LiRPA from its repository (the release on PyPI refuses current torch),
and `pip install -e .[peers]`.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from robustcourse import (
    L2,
    PGD,
    AdversarialTraining,
    Estimate,
    Linf,
    Standard,
    alpha_crown,
    cnn,
    crown,
    crown_ibp,
    fit,
    ibp,
    load,
    mlp,
    smooth,
)
from robustcourse.certify import BranchAndBound, Votes, milp, verify
from robustcourse.certify.bounds import Bound
from robustcourse.data import Dataset
from robustcourse.runtime import about, device, seeded, timed, versions
from robustcourse.threats import Threat
from robustcourse.train import IBP, MTLIBP, SABR, CrownIBP, GaussianNoise, Objective

Run = Callable[[], Tensor]  # once over all images: to margins (B, classes), or to booleans (B,)
Peer = Callable[[nn.Module, Threat, Tensor, Tensor], Run]  # ImportError if missing
Figures = dict[str, object]
NETWORKS: dict[str, Callable[[Dataset], nn.Sequential]] = {
    "mlp, width 128": partial(mlp, width=128),
    "cnn, width 8, depth 2": partial(cnn, width=8, depth=2),
}


def ours(bound: Bound, model: nn.Module, threat: Threat, x: Tensor, y: Tensor) -> Run:
    return torch.no_grad()(lambda: bound(model, x, y, threat))


def forward(model: nn.Module, threat: Threat, x: Tensor, y: Tensor) -> Run:
    """No bound at all: the margins as they are."""
    return torch.no_grad()(lambda: (logits := model(x)).gather(1, y[:, None]) - logits)


def auto_lirpa(method: str, model: nn.Module, threat: Threat, x: Tensor, y: Tensor) -> Run:
    from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm

    low, high = threat.hull(x)
    options = {"optimize_bound_args": {"iteration": 20, "enable_beta_crown": False, "fix_interm_bounds": True}}
    bounded = BoundedModule(copy.deepcopy(model), x[:1], bound_opts=options, device=x.device)
    inputs = (BoundedTensor(x, PerturbationLpNorm(norm=float("inf"), x_L=low, x_U=high)),)
    eye = torch.eye(model(x[:1]).shape[1], device=x.device)
    spec = eye[y][:, None] - eye

    def run() -> Tensor:
        found, _ = bounded.compute_bounds(x=inputs, C=spec, method=method, bound_upper=False)
        return found.detach()

    return run if method == "alpha-CROWN" else torch.no_grad()(run)


BOUNDS: dict[str, Peer] = {"forward pass": forward}
for _bound, _method in ((ibp, "IBP"), (crown_ibp, "CROWN-IBP"), (crown, "CROWN"), (alpha_crown, "alpha-CROWN")):
    BOUNDS |= {
        f"{_method}, robustcourse": partial(ours, _bound),
        f"{_method}, auto_LiRPA": partial(auto_lirpa, _method),
    }

WALK = PGD(Linf(0.05), steps=7)
TRAINING: dict[str, Objective] = {
    "standard": Standard(),
    "PGD-7": AdversarialTraining(WALK),
    "IBP": IBP(WALK.threat),
    "IBP, no clean images": IBP(WALK.threat, kappa=0),
    "CROWN-IBP, half lines": CrownIBP(WALK.threat, beta=0.5),
    "SABR, PGD-7": SABR(WALK),
    "MTL-IBP, PGD-7": MTLIBP(WALK),
}


def step(build: Callable[[Dataset], nn.Module], objective: Objective, data: Dataset) -> Run:
    """One step of training at full ε, as in `fit`: the loss, its gradient, and Adam."""
    model = build(data).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    x, y = data.train.x[:128], data.train.y[:128]

    def run() -> Tensor:
        optimizer.zero_grad()
        loss = objective(model, x, y)
        loss.backward()
        optimizer.step()
        return loss

    return run


def train(build: Callable[[Dataset], nn.Module], data: Dataset, rounds: int) -> dict[str, Figures]:
    """Steps of all methods in turn; ratios to the standard step of the same round."""
    runs = {name: step(build, objective, data) for name, objective in TRAINING.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(timed(run)[1])
    return {
        name: {
            "ms": 1000 * statistics.median(taken),
            "time": statistics.median(t / base for t, base in zip(taken, times["standard"], strict=True)),
        }
        for name, taken in times.items()
    }


RADIUS, VOTES, SIGMA = 0.25, 10_000, 0.25


class Whole(nn.Module):
    """A model into whose layers nobody can look, so that shared noise is not pushed through the first of them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits


def votes_floor(model: nn.Module, _: Threat, x: Tensor, y: Tensor) -> Run:
    copies = torch.rand(1000, *x.shape[1:], device=x.device)

    @torch.no_grad()
    def run() -> Tensor:
        for _ in range(len(x) * VOTES // len(copies)):
            model(copies)
        return torch.zeros(len(x), dtype=torch.bool)

    return run


def fixed(model: nn.Module, _: Threat, x: Tensor, y: Tensor, shared: bool = False, whole: bool = False) -> Run:
    g = smooth(Whole(model) if whole else model, SIGMA, shared=shared)
    return lambda: g.certify(x, n=VOTES).certified(y, RADIUS)


def sequential(model: nn.Module, _: Threat, x: Tensor, y: Tensor) -> Run:
    return lambda: Votes(SIGMA, n=VOTES)(model, x, y, L2(RADIUS)).verified


def art(model: nn.Module, _: Threat, x: Tensor, y: Tensor) -> Run:
    from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing

    classes = model(x[:1]).shape[1]
    wrapped = PyTorchRandomizedSmoothing(
        model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), classes, None, sample_size=100, scale=SIGMA, alpha=0.001
    )

    def run() -> Tensor:
        named, radius = wrapped.certify(x.cpu().numpy(), n=VOTES, batch_size=1000)
        return torch.as_tensor((named == y.cpu().numpy()) & (radius >= RADIUS))

    return run


SMOOTHING: dict[str, Peer] = {
    "forward passes": votes_floor,
    "robustcourse": fixed,
    "the same, noise shared": partial(fixed, shared=True, whole=True),
    "the same, and pushed": partial(fixed, shared=True),
    "robustcourse, one radius": sequential,
    "ART": art,
}


def compare(
    peers: dict[str, Peer], model: nn.Module, threat: Threat, x: Tensor, y: Tensor, rounds: int
) -> dict[str, Figures]:
    """All in turn, so that what else the machine does falls on all of them alike."""
    result: dict[str, Figures] = {}
    runs: dict[str, Run] = {}
    for name, peer in peers.items():
        try:
            runs[name] = peer(model, threat, x, y)
        except ImportError as error:
            result[name] = {"missing": str(error)}
            continue
        found = runs[name]()  # which also warms up
        if found.dtype == torch.bool:
            proved, mean = found, None
        else:
            others = found.scatter(1, y[:, None], torch.inf).amin(1)
            proved, mean = others > 0, float(found.mean())
        result[name] = {"certified": Estimate.proportion(proved.cpu()), "margin": mean}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(timed(run)[1])
    for name, taken in times.items():
        result[name]["ms"] = 1000 * statistics.median(taken) / len(x)
        # Round by round, so that a moment in which the machine is slow falls on both.
        result[name]["times floor"] = statistics.median(
            a / b for a, b in zip(taken, next(iter(times.values())), strict=True)
        )
    return {name: result[name] for name in peers}


def show(title: str, result: dict[str, Figures]) -> None:
    print(f"\n{title}\n{'':<28}{'ms an image':>12}{'× floor':>10}{'mean margin':>13}   certified")
    for name, f in result.items():
        if "missing" in f:
            print(f"{name:<28}  missing: {f['missing']}")
        else:
            margin = "" if f["margin"] is None else f"{f['margin']:.4f}"
            print(f"{name:<28}{f['ms']:>12.3f}{f['times floor']:>10.2f}{margin:>13}   {f['certified']}", flush=True)


def show_training(title: str, result: dict[str, Figures]) -> None:
    print(f"\n{title}\n{'':<28}{'ms a step':>12}{'× standard':>13}")
    for name, f in result.items():
        print(f"{name:<28}{f['ms']:>12.2f}{f['time']:>13.2f}", flush=True)


# Which training, and at which ε all test images are to be decided.
Trained = tuple[Objective, tuple[float, ...]]
EXACT: dict[str, Trained] = {
    "standard": (Standard(), (0.05, 0.1)),
    "PGD": (AdversarialTraining(PGD(Linf(0.1), steps=7)), (0.05, 0.1)),
    "IBP": (IBP(Linf(0.1)), (0.1,)),
}


def exact(
    data: Dataset, epochs: int, images: int, sample: int, patience: float, nets: Mapping[str, Trained] = EXACT
) -> dict[str, Figures]:
    """Branch and bound on all; on a sample a solver of integer programs, for so many seconds a margin."""
    result: dict[str, Figures] = {}
    split = data.test[:images]
    for kind, (method, sizes) in nets.items():
        model = mlp(data, width=128)[1:]
        fit(model, data, method, epochs=epochs, learning_rate=1e-3)
        for eps in sizes:
            threat = Linf(eps)
            found, branching = timed(partial(verify, model, split, BranchAndBound(), threat, batch_size=images))
            some = torch.arange(0, len(found), max(1, len(found) // sample))
            x, y = split.x[some], split.y[some]
            least, solving = timed(partial(milp, model, x, y, threat, patience, skip_certified=True))
            proves = least.scatter(1, y[:, None], torch.inf).amin(1) > 0
            result[f"{kind}, ε = {eps:g}"] = {
                **{name: int(getattr(found, name).sum()) for name in ("verified", "falsified", "unknown")},
                "branches": int(found.branches.sum()),
                "seconds": branching,
                "solver, of a sample": len(some),
                "proves": int(proves.sum()),
                "of those verified": int((proves & found.verified[some]).sum()),
                "of all verified": int(found.verified[some].sum()),
                "seconds an image": solving / len(some),
            }
    return result


def show_exact(title: str, result: dict[str, Figures]) -> None:
    print(f"\n{title}")
    for name, figures in result.items():
        said = "; ".join(f"{what} {f'{x:.2f}' if isinstance(x, float) else x}" for what, x in figures.items())
        print(f"{name:<20}{said}", flush=True)


def subjects(data: Dataset, epochs: int) -> dict[str, nn.Module]:
    methods: dict[str, Objective] = {
        "standard": Standard(),
        "adversarial": AdversarialTraining(PGD(Linf(0.05), steps=5)),
    }
    made: dict[str, nn.Module] = {}
    for title, build in NETWORKS.items():
        for kind, method in methods.items():
            # Without the normalization in front, whose shape auto_LiRPA does not take before a convolution.
            made[f"{title}, {kind}"] = model = build(data)[1:]
            fit(model, data, method, epochs=epochs)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test of this benchmark: its figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    rounds, epochs, images, voters, steps, everything = (
        (1, 1, 4, 1, 2, 4) if arguments.quick else (5, 20, 60, 20, 300, 360)
    )

    about()
    torch.set_num_threads(1)  # the CPU's seconds count threads that wait for each other, too
    data = load("digits")
    x, y = data.test.x[:images], data.test.y[:images]
    figures: Figures = {"versions": versions(), "device": str(device()), "threads": torch.get_num_threads()}
    with seeded(0):
        for title, model in subjects(data, epochs).items():
            result = compare(BOUNDS, model, Linf(0.05), x, y, rounds)
            show(f"Bounds, ε = 0.05, {title}: medians of {rounds} rounds", result)
            figures[f"bounds, {title}"] = result
        result = exact(data, 5 * epochs, everything, sample=12, patience=10.0 if everything > 4 else 0.2)
        show_exact("Exact, mlp, width 128, without normalization: seconds of the CPU for all test images", result)
        figures["exact"] = result
        for title, build in NETWORKS.items():
            trained = train(build, data, steps)
            show_training(f"A step of training, batch 128, {title}: medians of {steps} steps", trained)
            figures[f"training, {title}"] = trained
            noisy = build(data)
            fit(noisy, data, GaussianNoise(SIGMA), epochs=epochs)
            result = compare(SMOOTHING, noisy, Linf(0), x[:voters], y[:voters], rounds)
            show(f"Smoothing, σ = {SIGMA}, {VOTES:,} votes, L2 radius {RADIUS}, {title}", result)
            figures[f"smoothing, {title}"] = result
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
