"""Live figures of what was measured before: the page shows the answers, and adds them up as the reader asks."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from robustcourse.data import TwoGaussians
from robustcourse.evaluate import Estimate
from robustcourse.widgets.encoding import numbers
from robustcourse.widgets.live import Live

DRAWS = 12  # of the images that the learner of `trade_off` sees


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


Errors = Mapping[float, Mapping[int, Sequence[Estimate]]]


def descent(
    error: Errors,
    fitted: Mapping[float, Mapping[int, Sequence[float]]],
    moments: Sequence[int],
    attacked: Errors | None = None,
    unit: str = "steps",
) -> Live:
    """Test error over width, label noise and time, for networks trained before: lesson 11's figure.

    Beside the error at the chosen moment stands the smallest until then, as a reader would have who stops each network
    at its best. Where 99 % of the training labels are met, wrong ones included, the chart is shaded.

    Args:
        error: by label noise in [0, 1], one to five, and by width ≥ 1, two or more, rising and the same for each noise:
            the test error at each of the T moments, a share with its interval over seeds.
        fitted: the share of the training labels that are met, likewise, in [0, 1].
        moments: T ≥ 2 rising times in training, ≥ 1.
        attacked: the test error under attack, like `error`, if it was measured.
        unit: of the moments.

    Raises:
        ValueError: noises, widths, moments, units or shares are not as said.
    """
    times = list(moments)
    if len(times) < 2 or times[0] < 1 or not all(a < b for a, b in pairwise(times)):
        raise ValueError(f"moments must be two or more rising times >= 1, got {times}")
    if not 1 <= len(error) <= 5 or not all(0 <= noise <= 1 for noise in error):
        raise ValueError(f"error must hold one to five label noises in [0, 1], got {list(error)}")
    widths = list(next(iter(error.values())))
    if len(widths) < 2 or widths[0] < 1 or not all(a < b for a, b in pairwise(widths)):
        raise ValueError(f"error must be at two or more rising widths >= 1, got {widths}")
    given = {"error": error, "fitted": fitted} | ({} if attacked is None else {"attacked": attacked})
    for name, noises in given.items():
        if list(noises) != list(error):
            raise ValueError(f"{name} must have the label noises of error, {list(error)}, got {list(noises)}")
        for noise, rows in noises.items():
            if list(rows) != widths:
                raise ValueError(f"{name}[{noise}] must have the widths of error, {widths}, got {list(rows)}")
            for width, row in rows.items():
                _check_shares(f"{name}[{noise}][{width}]", row, len(times), name != "fitted")

    def ends(rows: Mapping[int, Sequence[Estimate]]) -> dict[str, list[list[float]]]:
        parts = ("value", "low", "high")
        return {end: [[round(getattr(e, end), 4) for e in row] for row in rows.values()] for end in parts}

    lots = [
        {
            "noise": noise,
            "error": ends(rows),
            "fitted": [[round(float(v), 4) for v in row] for row in fitted[noise].values()],
        }
        | ({} if attacked is None else {"attacked": ends(attacked[noise])})
        for noise, rows in error.items()
    ]
    return Live(
        "descent",
        {"widths": widths, "moments": times, "unit": unit, "lots": lots},
        title="Width, wrong labels and time",
        alt="Test error of networks over their width at one moment of training, and over time at one width, with "
        "intervals, beside the training error and the smallest test error so far. Sliders set the moment and the "
        "width, buttons the share of wrong labels. Where the training labels are met, the charts are shaded.",
    )


def _check_shares(what: str, row: Sequence[Any], moments: int, estimates: bool) -> None:
    if len(row) != moments:
        raise ValueError(f"{what} must have a value for each of the {moments} moments, got {len(row)}")
    if estimates and (units := {e.unit for e in row} - {"%"}):
        raise ValueError(f"{what} must hold shares with the unit '%', got the unit {units.pop()!r}")
    values = [e.value if estimates else float(e) for e in row]
    if not all(0 <= value <= 1 for value in values):
        raise ValueError(f"{what} must hold shares in [0, 1], got {min(values)} … {max(values)}")


def terrain(
    landscapes: Mapping[str, Tensor], at: Sequence[float], axes: tuple[str, str] = ("α", "β"), log: bool = False
) -> Live:
    """Losses around a model as surfaces that the reader turns, side by side in one scale: lesson 12's figure.

    A slider cuts all of them at one loss, and tells what share of each lies below.

    Args:
        landscapes: one to four by name, (S, S) losses ≥ 0. At [i, j] stands the loss of the model moved by at[i] along
            the first axis and by at[j] along the second. A name with "robust" or "adversarial" in it is drawn orange,
            others blue.
        at: S in 5 … 61 rising numbers at equal distances, with 0, the model itself, in the middle.
        axes: short names of both directions.
        log: whether heights are logarithms at first; the reader can switch.

    Raises:
        ValueError: places, or number, shapes or values of the landscapes are not as said.
    """
    places = np.asarray([float(place) for place in at])
    size = len(places)
    good = 5 <= size <= 61 and size % 2 == 1 and np.isfinite(places).all() and places[-1] > 0
    if not good or not np.allclose(places, np.linspace(-places[-1], places[-1], size), atol=1e-6 * places[-1]):
        raise ValueError(
            f"at must be 5, 7, … 61 places, rising at equal distances, with 0 in the middle, got {places.tolist()}"
        )
    if not 1 <= len(landscapes) <= 4:
        raise ValueError(f"landscapes must be one to four, got {len(landscapes)}")
    lands = []
    for name, losses in landscapes.items():
        if tuple(losses.shape) != (size, size):
            raise ValueError(f"landscapes[{name!r}] must be of shape {(size, size)}, as at, got {tuple(losses.shape)}")
        if not (losses.isfinite() & (losses >= 0)).all():
            raise ValueError(f"landscapes[{name!r}] must hold finite losses >= 0, got {losses.min()} … {losses.max()}")
        lands.append({"name": name, "losses": [[float(f"{loss:.4g}") for loss in row] for row in losses.tolist()]})
    places[size // 2] = 0
    return Live(
        "terrain",
        {"lands": lands, "at": [float(f"{place:.4g}") for place in places], "axes": list(axes), "log": log},
        title="A landscape to turn",
        alt="The loss around a model, as a surface over two directions in which its weights are moved: "
        f"{', '.join(landscapes)}. Sliders turn it, raise the eye and set a level; what lies below the level is "
        "coloured, and its share of the square is told. Heights are losses or their logarithms.",
    )
