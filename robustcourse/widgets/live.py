"""A live figure is one piece of HTML: its data, and the few JavaScript modules beside this file that draw it.

The same piece works on a static page, in JupyterLab and in Colab. Networks are computed in the page itself, so a reader
can attack them by dragging a slider; `worst_case` and `budget` bring answers that were measured before. Weights travel
as float16 (rounded by less than a part in two thousand), so a prediction that hangs by a hair may differ from the one
PyTorch makes in float32; only the few weights of `bounds_flow` are sent as they are.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from robustcourse.checks import evaluating
from robustcourse.data import Split, TwoGaussians
from robustcourse.evaluate import Estimate
from robustcourse.models import Normalize

FIGURES = ("walls", "lab", "worst", "moons", "tradeoff", "epochs", "noise", "flow", "budget")
DRAWS = 12  # of the images that the learner of `trade_off` sees
IMPORT = re.compile(r'^import [^;]* from "\./([a-z0-9]+)\.mjs";\n', flags=re.MULTILINE)

State = Mapping[str, Any]


@dataclass(frozen=True)
class Live:
    """A figure that the reader can move.

    Args:
        figure: which one of `FIGURES`: the name of its module.
        state: what the figure shows, as JSON can hold it.
        title: a line above the figure.
        alt: what there is to see, for readers who cannot see it or have no JavaScript.

    Raises:
        ValueError: there is no such figure.
    """

    figure: str
    state: State
    title: str
    alt: str

    def __post_init__(self) -> None:
        if self.figure not in FIGURES:
            raise ValueError(f"figure must be one of {', '.join(FIGURES)}, got {self.figure!r}")

    def __repr__(self) -> str:
        return f"Live({self.figure}: {self.title})"

    def _repr_html_(self) -> str:
        state = json.dumps({**self.state, "title": self.title, "alt": self.alt})
        # "<" is written as an escape: whatever a title holds, it cannot end the script that it stands in.
        state = state.replace("<", "\\u003c")
        key = f"{self.figure}-{hashlib.sha256(state.encode()).hexdigest()[:12]}"
        text = html.escape(f"{self.title}. {self.alt} (This figure needs JavaScript.)")
        # JupyterLab leaves the keys that are pressed inside to the figure, where it finds data-lm-suppress-shortcuts.
        return (
            f'<div class="live" data-live="{key}" data-lm-suppress-shortcuts="true"><noscript><p>{text}</p></noscript>'
            f'</div>\n<script type="module">\n{script(self.figure)}\nlive("{key}", {self.figure}, {state});\n</script>'
        )


def script(figure: str) -> str:
    """A figure's module behind those that it builds on, as one script without the imports between them."""
    folder = resources.files("robustcourse.widgets")
    modules: dict[str, str] = {}

    def add(name: str) -> None:
        text = folder.joinpath(f"{name}.mjs").read_text("utf-8")
        for other in IMPORT.findall(text):
            if other not in modules:
                add(other)
        modules[name] = IMPORT.sub("", text)

    add(figure)
    return "\n".join(modules.values())


def two_walls(models: Mapping[str, nn.Module], split: Split, count: int = 100, eps_max: float = 0.3) -> Live:
    """The same images read by two models, attacked by PGD as the reader moves ε (L∞): lesson 01's figure.

    Args:
        models: two models by name, the standard one first (blue), then the robust one (orange).
        split: its first `count` images are shown; one channel each.
        count: how many, ≥ 1.
        eps_max: right end of the slider, in [0.01, 1].

    Raises:
        TypeError: a model has a layer that the page cannot compute.
        ValueError: not two models, or images, count or eps_max out of range.
    """
    if len(models) != 2:
        raise ValueError(f"models must be two, the standard and the robust one, got {len(models)}")
    if not 0.01 <= eps_max <= 1:
        raise ValueError(f"eps_max must be in [0.01, 1], got {eps_max}")
    state = _state(models, split, count)
    names = " and ".join(models)
    return Live(
        "walls",
        {**state, "epsMax": eps_max, "steps": 10},
        title="Two walls of the same images",
        alt=f"Two grids of the same {count} test images, read by two models, {names}. A slider sets how far each pixel "
        "may move. Images that a model misreads are marked. A curve shows how many each model reads right.",
    )


def attack_lab(models: Mapping[str, nn.Module], split: Split, count: int = 20) -> Live:
    """One image under attack, with every choice in the reader's hands: lesson 02's figure.

    Args:
        models: one or two models by name, the standard one first (blue), then the robust one (orange).
        split: its first `count` images can be picked; one channel each.
        count: how many, ≥ 1.

    Raises:
        TypeError: a model has a layer that the page cannot compute.
        ValueError: no or too many models, or images or count out of range.
    """
    if len(models) not in (1, 2):
        raise ValueError(f"models must be one or two, got {len(models)}")
    return Live(
        "lab",
        {**_state(models, split, count), "steps": 40},
        title="Attack an image yourself",
        alt="Pick an image, a model, a norm, an attack and its size. The figure shows the image, the change magnified "
        "and the attacked image, the probabilities before and after, and the loss along the steps of the attack.",
    )


def worst_case(defences: Mapping[str, Mapping[str, Tensor]], eps: Sequence[float], threat: str = "ε (L∞)") -> Live:
    """Accuracy over ε of a defence, under all the attacks together that the reader switches on: lesson 03's figure.

    Args:
        defences: for each defence by name, two to seven attacks by name, the naive one first: it is on at the start.
            An attack gives (E, N) booleans: is image n still read right when it is attacked within eps[e]? N may differ
            between defences. The rows of ε = 0 are clean; an image that is misread there counts as wrong at every ε,
            for an attacker may leave it as it is.
        eps: E ≥ 2 increasing radii in [0, 1], 0 the first.
        threat: name of the radius and its norm.

    Raises:
        TypeError: an attack gives no tensor of booleans.
        ValueError: radii, or number or shapes of attacks, are not as said; attacks of a defence differ at ε = 0.
    """
    radii = [float(value) for value in eps]
    rising = all(a < b for a, b in pairwise(radii))
    if len(radii) < 2 or radii[0] != 0 or not rising or radii[-1] > 1:
        raise ValueError(f"eps must be two or more increasing numbers in [0, 1], 0 the first, got {radii}")
    if not defences:
        raise ValueError("defences must hold at least one, got none")
    return Live(
        "worst",
        {
            "eps": radii,
            "threat": threat,
            "defences": [_defence(name, attacks, len(radii)) for name, attacks in defences.items()],
        },
        title="One attack, or the worst of several",
        alt="Accuracy of a defence over the size ε of the change. Pick a defence and switch attacks on and off: an "
        "image counts as right only if it survives every attack that is on. A list says what each attack breaks.",
    )


def minimax(model: nn.Sequential, split: Split, eps: float = 0.08, learning_rate: float = 0.02) -> Live:
    """Adversarial training in the plane, step by step: points walk to their worst place and a network learns from it.

    The page trains the network itself, from the weights that it has here, with Adam on all points at once: lesson 04's
    figure.

    Args:
        model: where training starts: Normalize, Flatten, Linear and ReLU in sequence, with two classes.
        split: 2 … 200 points of the unit square, (N, 1, 1, 2), of the classes 0 and 1.
        eps: where the slider of ε (L∞) stands at first, in [0, 0.2].
        learning_rate: of Adam, > 0.

    Raises:
        TypeError: the model has a layer that the page cannot compute, or not train.
        ValueError: the points are not as said, the model has other than two classes, or a number is out of range.
    """
    if tuple(split.x.shape[1:]) != (1, 1, 2) or not 2 <= len(split) <= 200:
        raise ValueError(f"split must hold 2 … 200 points of shape (1, 1, 2), got shape {tuple(split.x.shape)}")
    if not set(split.y.tolist()) <= {0, 1}:
        raise ValueError(f"split must have the labels 0 and 1, got {sorted(set(split.y.tolist()))}")
    if not 0 <= eps <= 0.2:
        raise ValueError(f"eps must be in [0, 0.2], got {eps}")
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate must be a finite number > 0, got {learning_rate}")
    network = _of_two_classes(encode(model, split.x[:1]))
    if any(layer["type"] == "conv2d" for layer in network["layers"]):
        raise TypeError("the page cannot train Conv2d; allowed are Normalize, Flatten, Linear and ReLU")
    return Live(
        "moons",
        {
            "network": network,
            "points": numbers(split.x),
            "labels": split.y.tolist(),
            "eps": float(eps),
            "rate": float(learning_rate),
        },
        title="The game, one step at a time",
        alt="Points of two classes in the plane, and the border that a small network draws between them. Buttons let "
        "the points walk to their worst place within a box of side 2ε, and let the network learn. A curve shows the "
        "loss on the points and at their worst places, round after round.",
    )


def trade_off(
    clouds: TwoGaussians, measured: Mapping[str, Mapping[float, Estimate]], reach: Tensor, eps_max: float = 0.03
) -> Live:
    """The price of robustness, computed for Gaussian clouds and measured for images: lesson 05's figure.

    Args:
        clouds: pixels that say something first, then at least 20 silent ones (μ = 0), of which the reader takes some
            away.
        measured: for each lot of training images by name, the difference robust − standard on clean images, in points,
            by the ε of robust training. All lots have the same two or more values of ε, rising.
        reach: (N,) for each training image, the ε at which it can meet an image of another class.
        eps_max: right end of the slider of the clouds, in (0, 1].

    Raises:
        ValueError: the clouds have no silent pixels at their end, measurements are no differences in points or of
            different ε, or eps_max is out of range.
    """
    mu = clouds.mu.tolist()
    loud = max((i + 1 for i, m in enumerate(mu) if m), default=0)
    if not loud or len(mu) - loud < 20:
        raise ValueError(f"clouds must have pixels that say something and then 20 silent ones, got {loud} of {len(mu)}")
    if not 0 < eps_max <= 1:
        raise ValueError(f"eps_max must be in (0, 1], got {eps_max}")
    if not measured:
        raise ValueError("measured must hold at least one lot, got none")
    sizes = [float(eps) for eps in next(iter(measured.values()))]
    for name, lot in measured.items():
        if list(lot) != sizes or len(sizes) < 2 or sorted(set(sizes)) != sizes:
            raise ValueError(f"measured[{name!r}] must be at two or more rising ε, those of all lots, got {list(lot)}")
        if units := {estimate.unit for estimate in lot.values()} - {"points"}:
            raise ValueError(f"measured[{name!r}] must be differences in points, got {', '.join(sorted(units))}")
    streams = [torch.Generator().manual_seed(draw) for draw in range(DRAWS)]
    noise = torch.stack([torch.randn(len(mu), generator=stream) for stream in streams])
    return Live(
        "tradeoff",
        {
            "strengths": mu[:loud],
            "silent": len(mu) - loud,
            "sigma": clouds.sigma,
            "draws": DRAWS,
            "t": float(stats.t.ppf(0.975, DRAWS - 1)),
            "noise": numbers(noise),
            "epsMax": eps_max,
            "lots": [
                {
                    "name": name,
                    "gains": [{"eps": eps, "value": e.value, "low": e.low, "high": e.high} for eps, e in lot.items()],
                }
                for name, lot in measured.items()
            ],
            "reach": [round(value, 4) for value in reach.sort().values.tolist()],
        },
        title="The price of robustness, or its gain",
        alt="What robust training does to accuracy on clean images, over ε. In Gaussian clouds sliders set ε, the "
        "number of images and of silent pixels. For digits a menu sets what was learned from, beside a curve that "
        "shows how many digits can meet a digit of another class within ε.",
    )


def epoch_slider(runs: Mapping[str, Mapping[str, Mapping[int, Estimate]]]) -> Live:
    """Runs of training, epoch by epoch: what the log said, and what another judge says: lesson 06's figure.

    Args:
        runs: for each run by name, two to four curves by name, each as {epoch: accuracy}. The last one is the judge:
            its best and its last epoch are marked. A curve whose name begins with "clean" is drawn solid. All curves of
            a run have the same two or more epochs, rising.

    Raises:
        ValueError: number of curves, epochs or units are not as said.
    """
    if not runs:
        raise ValueError("runs must hold at least one, got none")
    return Live(
        "epochs",
        {"runs": [_run(name, curves) for name, curves in runs.items()]},
        title="Where would you have stopped?",
        alt="Accuracy over the epochs of training, for a run that you pick: what the log of training said, and what a "
        "stronger attack says of the same network. A slider stops training; the best and the last epoch are marked.",
    )


def bounds_flow(
    model: nn.Sequential,
    point: tuple[float, float] = (0.5, 0.5),
    label: int = 0,
    eps: float = 0.1,
    eps_max: float = 0.3,
    low: float = 0.0,
    high: float = 1.0,
) -> Live:
    """Bounds running through a tiny network, by boxes and by lines, and neurons to split: lesson 07's figure.

    The page computes in double precision with the weights as they are.

    Args:
        model: Flatten or not, then Linear and ReLU in turn, beginning and ending with Linear: from two numbers to two
            logits, through one to three hidden layers of at most four neurons.
        point: where the reader starts, between low and high.
        label: class of the margin, 0 or 1: its logit less the other one.
        eps, eps_max: where the slider of ε (L∞) stands at first, and its right end.
        low, high: range of both inputs. What lies outside of it is no part of the box around the point.

    Raises:
        TypeError: the model has other layers.
        ValueError: the layers have other sizes, a weight is not finite, or a number is out of range.
    """
    if not -float("inf") < low < high < float("inf"):
        raise ValueError(f"low must be below high, both finite, got {low} and {high}")
    if len(point) != 2 or not all(low <= value <= high for value in point):
        raise ValueError(f"point must be two numbers in [{low}, {high}], got {point}")
    if label not in (0, 1):
        raise ValueError(f"label must be 0 or 1, got {label}")
    if not 0 <= eps <= eps_max <= high - low or eps_max == 0:
        raise ValueError(f"eps must be in [0, eps_max], and eps_max in (0, {high - low}], got {eps} and {eps_max}")
    return Live(
        "flow",
        {
            "layers": _tiny(model, label),
            "point": list(map(float, point)),
            "label": label,
            "eps": float(eps),
            "epsMax": float(eps_max),
            "low": float(low),
            "high": float(high),
        },
        title="Bounds running through a tiny network",
        alt="A network with two inputs, a few neurons and a margin. Sliders move the inputs and the size ε of the box "
        "around them. At each neuron stand the intervals that boxes and lines prove, and what is reached. Neurons "
        "whose sign is open can be split; a picture of the inputs shows the cases, a chart the bounds of the margin.",
    )


def _tiny(model: nn.Module, label: int) -> list[dict[str, Any]]:
    """The Linear layers of a tiny network, the last one as the margin of a class."""
    parts = list(model) if isinstance(model, nn.Sequential) else [model]
    parts = parts[isinstance(parts[0], nn.Flatten) :] if parts else parts
    kinds = [nn.ReLU if k % 2 else nn.Linear for k in range(len(parts))]
    if len(parts) % 2 == 0 or not all(map(isinstance, parts, kinds)):
        raise TypeError(f"model must be Linear and ReLU in turn, Linear first and last, got {model}")
    layers = [layer for layer in parts if isinstance(layer, nn.Linear)]
    sizes = [layers[0].in_features, *(layer.out_features for layer in layers)]
    if sizes[0] != 2 or sizes[-1] != 2 or not 2 <= len(layers) <= 4 or max(sizes) > 4:
        raise ValueError(
            "model must have 2 inputs, one to three hidden layers of at most 4 neurons, and 2 logits, "
            f"got sizes {sizes}"
        )
    made = []
    for layer in layers:
        weight, bias = (part.detach().double().cpu() for part in (layer.weight, _bias(layer)))
        if not (weight.isfinite().all() and bias.isfinite().all()):
            raise ValueError("model must have finite weights")
        if layer is layers[-1]:
            weight, bias = (part[[label]] - part[[1 - label]] for part in (weight, bias))
        made.append({"weight": weight.tolist(), "bias": bias.tolist()})
    return made


def noise_cloud(
    model: nn.Sequential,
    point: tuple[float, float] = (0.5, 0.5),
    sigma: float = 0.1,
    n: int = 1000,
    alpha: float = 0.001,
) -> Live:
    """Randomized smoothing in the plane: noise around a point, its votes, and what they certify: lesson 08's figure.

    As in `smooth.certify`, a first hundred votes choose the class, and n further ones bound its share from below.

    Args:
        model: from points of the unit square, (B, 1, 1, 2), to two classes.
        point, sigma, n: where the reader starts: a point in [0, 1]², the spread of the noise in [0.01, 0.4], and the
            number of votes, one of 10, 30, 100, …, 100,000.
        alpha: probability at most with which a radius is wrong, in [0.001, 0.1].

    Raises:
        TypeError: the model has a layer that the page cannot compute.
        ValueError: the model has other than two classes, or a number is out of range.
    """
    if len(point) != 2 or not all(0 <= value <= 1 for value in point):
        raise ValueError(f"point must be two numbers in [0, 1], got {point}")
    if not 0.01 <= sigma <= 0.4:
        raise ValueError(f"sigma must be in [0.01, 0.4], got {sigma}")
    if n not in (counts := [3**odd * 10**k for k in range(1, 6) for odd in (0, 1)][:-1]):
        raise ValueError(f"n must be one of {', '.join(map(str, counts))}, got {n}")
    if not 0.001 <= alpha <= 0.1:
        raise ValueError(f"alpha must be in [0.001, 0.1], got {alpha}")
    network = _of_two_classes(encode(model, torch.zeros(1, 1, 1, 2)))
    return Live(
        "noise",
        {"network": network, "point": list(map(float, point)), "sigma": float(sigma), "n": n, "alpha": float(alpha)},
        title="A vote under noise, and how far it holds",
        alt="A point in the plane between two classes, and a cloud of noise around it: each dot votes for the class of "
        "its place. Sliders move the point, the spread of the noise and the number of votes. A circle shows the "
        "radius that the votes certify, a thin one the largest that so many votes can show; a curve shows both over "
        "the number of votes.",
    )


@dataclass(frozen=True, eq=False)
class Route:
    """A way to a robust model: what its models cost, and what they get right.

    Args:
        passes: P increasing costs ≥ 0, without that of the model that it starts from.
        right: (P, seeds, N) booleans: does the model of this cost and seed read image n right under attack?
        starts_from: what the model that it starts from cost, ≥ 0; 0 for a route from scratch.
    """

    passes: Sequence[float]
    right: Tensor
    starts_from: float = 0.0


def budget(routes: Mapping[str, Route], unit: str = "passes") -> Live:
    """Routes to a robust model, over their cost: for a given budget, which one wins? Lesson 09's figure.

    Of each route counts the best model within the budget. One wins if it differs from each of the others by more than
    chance: `Estimate.over_seeds` of the difference excludes zero.

    Args:
        routes: two to six by name, all with the same two or more seeds and images.
        unit: of the costs.

    Raises:
        TypeError: a route has no booleans.
        ValueError: number, costs or shapes of routes are not as said.
    """
    if not 2 <= len(routes) <= 6:
        raise ValueError(f"routes must be two to six, got {len(routes)}")
    tested = next(iter(routes.values())).right.shape[1:]
    for name, route in routes.items():
        _check_route(f"routes[{name!r}]", route, tuple(tested))
    shown = []
    for name, route in routes.items():
        found = [Estimate.over_seeds(table.cpu().numpy()) for table in route.right]
        ends = {end: [round(getattr(e, end), 4) for e in found] for end in ("value", "low", "high")}
        costs = list(map(float, route.passes))
        shown.append({"name": name, "passes": costs, "start": float(route.starts_from), **ends})
    if not any(route.passes[-1] + route.starts_from for route in routes.values()):
        raise ValueError("routes must cost something, got none that does")
    tables = [route.right.cpu().numpy().astype(np.int8) for route in routes.values()]
    return Live(
        "budget",
        {
            "routes": shown,
            "unit": unit,
            "halves": [[_halves(one, other) for other in tables[k + 1 :]] for k, one in enumerate(tables)],
        },
        title="What would you do with this budget?",
        alt="Right answers under attack over compute, for several routes to a robust model. A slider sets the budget: "
        "beside the curves stands the best model of each route within it, with its interval, and below them which "
        "route wins, if one does. A switch makes the pretrained model, from which some routes start, free.",
    )


def _check_route(what: str, route: Route, tested: tuple[int, ...]) -> None:
    costs, right = list(route.passes), route.right
    if not costs or costs[0] < 0 or not all(a < b for a, b in pairwise(costs)) or costs[-1] == float("inf"):
        raise ValueError(f"{what} must have one or more rising costs >= 0 in passes, got {costs}")
    if not 0 <= route.starts_from < float("inf"):
        raise ValueError(f"{what} must have a finite starts_from >= 0, got {route.starts_from}")
    if right.dtype != torch.bool:
        raise TypeError(f"{what} must have booleans in right, True where an image is read right, got {right.dtype}")
    if right.dim() != 3 or len(right) != len(costs) or min(right.shape[1:]) < 2 or right.shape[1:] != tested:
        raise ValueError(
            f"{what} must have right of shape ({len(costs)}, seeds, N), with the two or more seeds and images of the "
            f"first route, {tested}, got {tuple(right.shape)}"
        )


def _halves(one: np.ndarray, other: np.ndarray) -> list[list[float]]:
    """Half the interval of the difference between each model of one route and each of the other."""
    differences = [[Estimate.over_seeds(a - b) for b in other] for a in one]
    return [[round(e.high - e.value, 4) for e in row] for row in differences]


def _run(name: str, curves: Mapping[str, Mapping[int, Estimate]]) -> dict[str, Any]:
    if not 2 <= len(curves) <= 4:
        raise ValueError(f"runs[{name!r}] must hold two to four curves, got {len(curves)}")
    epochs = list(next(iter(curves.values())))
    if len(epochs) < 2 or epochs[0] < 0 or not all(a < b for a, b in pairwise(epochs)):
        raise ValueError(f"runs[{name!r}] must have two or more rising epochs, got {epochs}")
    sent = []
    for curve, estimates in curves.items():
        what = f"runs[{name!r}][{curve!r}]"
        if list(estimates) != epochs:
            raise ValueError(f"{what} must have the epochs of the first curve, {epochs}, got {list(estimates)}")
        if units := {e.unit for e in estimates.values()} - {"%"}:
            raise ValueError(f"{what} must hold accuracies, got the unit {units.pop()!r}")
        ends = ("value", "low", "high")
        parts = {end: [round(getattr(e, end), 4) for e in estimates.values()] for end in ends}
        sent.append({"name": curve, **parts})
    return {"name": name, "epochs": epochs, "curves": sent}


def _defence(name: str, attacks: Mapping[str, Tensor], radii: int) -> dict[str, Any]:
    """What the page needs to know of a defence, eight booleans to a byte."""
    if not 2 <= len(attacks) <= 7:
        raise ValueError(f"defences[{name!r}] must hold two to seven attacks, got {len(attacks)}")
    packed = []
    first = next(iter(attacks))
    for attack, survives in attacks.items():
        what = f"defences[{name!r}][{attack!r}]"
        if not isinstance(survives, Tensor) or survives.dtype != torch.bool:
            got = survives.dtype if isinstance(survives, Tensor) else type(survives).__name__
            raise TypeError(f"{what} must be a tensor of booleans, True where an image survives, got {got}")
        if survives.dim() != 2 or len(survives) != radii or survives.shape[1] == 0:
            raise ValueError(f"{what} must have shape ({radii}, N), a row for each eps, got {tuple(survives.shape)}")
        if survives.shape != attacks[first].shape:
            n = attacks[first].shape[1]
            raise ValueError(f"{what} must be of the {n} images of {first!r}, got {survives.shape[1]}")
        if not torch.equal(survives[0].cpu(), attacks[first][0].cpu()):
            raise ValueError(f"{what} must have the row of ε = 0, where nothing is attacked, that {first!r} has")
        bits = np.packbits((survives & survives[0]).cpu().numpy())
        packed.append({"name": attack, "survives": base64.b64encode(bits.tobytes()).decode()})
    return {"name": name, "images": attacks[first].shape[1], "attacks": packed}


def _state(models: Mapping[str, nn.Module], split: Split, count: int) -> dict[str, Any]:
    if not 1 <= count <= len(split):
        raise ValueError(f"count must be in 1 … {len(split)}, the images there are, got {count}")
    if split.x.shape[1] != 1:
        raise ValueError(f"split must hold images of one channel, got shape {tuple(split.x.shape)}")
    shown = split[:count]
    networks = {name: encode(model, shown.x[:1]) for name, model in models.items()}
    classes = [network["classes"] for network in networks.values()]
    if len(set(classes)) > 1:
        got = ", ".join(f"{name}: {number}" for name, number in zip(models, classes, strict=True))
        raise ValueError(f"models must have one number of classes, got {got}")
    if shown.y.max() >= classes[0] or shown.y.min() < 0:
        raise ValueError(f"split must have labels in 0 … {classes[0] - 1}, the classes of the models")
    named = [{"name": name, "network": network} for name, network in networks.items()]
    return {"models": named, "images": numbers(shown.x), "labels": shown.y.tolist()}


def encode(model: nn.Module, x: Tensor) -> dict[str, Any]:
    """A model as nn.mjs reads it: the shape of an input, the number of classes and a list of layers.

    Args:
        model: layers in sequence (`nn.Sequential`): Normalize, Flatten, Linear, Conv2d and ReLU.
        x: (1, C, H, W), an input of the model; it is passed through to check that the layers fit.

    Raises:
        TypeError: the model is no sequence, or has a layer that the page cannot compute.
        ValueError: a weight is NaN, infinite or too large for float16, or the model returns no logits.
    """
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"model must be an nn.Sequential, got {type(model).__name__}")
    layers = []
    h = x
    with torch.no_grad(), evaluating(model):
        for layer in model:
            h = h.to(next(iter([*layer.parameters(), *layer.buffers()]), h))
            layers.append(_layer(layer, h))
            h = layer(h)
    if h.dim() != 2:
        raise ValueError(f"model must return logits of shape (B, classes), got {tuple(h.shape)}")
    return {"shape": list(x.shape[1:]), "classes": h.shape[1], "layers": layers}


def _of_two_classes(network: dict[str, Any]) -> dict[str, Any]:
    if network["classes"] != 2:
        raise ValueError(f"model must have two classes, got {network['classes']}")
    return network


def _layer(layer: nn.Module, x: Tensor) -> dict[str, Any]:
    """One layer, whose input is x."""
    match layer:
        case Normalize():
            mean, std = (numbers(part.expand(x.shape[1:])) for part in (layer.mean, layer.std))
            return {"type": "normalize", "mean": mean, "std": std}
        case nn.Flatten(start_dim=1, end_dim=-1):
            return {"type": "flatten"}
        case nn.ReLU():
            return {"type": "relu"}
        case nn.Linear() if x.dim() == 2:
            return {"type": "linear", **_weights(layer)}
        case nn.Conv2d(dilation=(1, 1), groups=1, padding_mode="zeros") if not isinstance(layer.padding, str):
            sides = {"kernel": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
            return {"type": "conv2d", **_weights(layer), **{k: list(v) for k, v in sides.items()}}
    raise TypeError(
        f"the page cannot compute {layer} on an input of shape {tuple(x.shape)}; allowed are Normalize, Flatten, ReLU, "
        "Linear after Flatten, and Conv2d with numbers as zero padding, no dilation and no groups"
    )


def _weights(layer: nn.Linear | nn.Conv2d) -> dict[str, str]:
    return {"weight": numbers(layer.weight), "bias": numbers(_bias(layer))}


def _bias(layer: nn.Linear | nn.Conv2d) -> Tensor:
    return layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias


def numbers(values: Tensor) -> str:
    """The numbers of a tensor, row by row, as base64 of little-endian float16; `decode` of nn.mjs reads them.

    Raises:
        ValueError: a number is NaN, infinite or too large for float16.
    """
    half = values.detach().to("cpu", torch.float16)
    if not half.isfinite().all():
        raise ValueError("weights must be finite and below 65504, the largest float16")
    return base64.b64encode(half.contiguous().numpy().astype("<f2").tobytes()).decode()
