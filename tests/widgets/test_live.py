"""What Python puts into a live figure, and what it refuses."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustcourse.data import Split, TwoGaussians
from robustcourse.evaluate import Estimate
from robustcourse.models import Normalize
from robustcourse.widgets import (
    Live,
    Route,
    attack_lab,
    bounds_flow,
    budget,
    descent,
    epoch_slider,
    fit_curve,
    minimax,
    noise_cloud,
    terrain,
    trade_off,
    two_walls,
    worst_case,
)
from robustcourse.widgets.encoding import encode, numbers
from robustcourse.widgets.live import FIGURES, script


def net(classes: int = 10) -> nn.Sequential:
    return nn.Sequential(Normalize(torch.tensor([0.3]), torch.tensor([0.4])), nn.Flatten(), nn.Linear(64, classes))


@pytest.fixture
def split() -> Split:
    generator = torch.Generator().manual_seed(0)
    return Split(torch.rand(30, 1, 8, 8, generator=generator), torch.arange(30) % 10)


def decoded(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f2")


def scripts(html: str) -> list[str]:
    """The scripts that a browser would see in this HTML."""
    found: list[str] = []

    class Parser(HTMLParser):
        inside = False

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.inside = tag == "script"

        def handle_endtag(self, tag: str) -> None:
            self.inside = False

        def handle_data(self, data: str) -> None:
            if self.inside:
                found.append(data)

    Parser().feed(html)
    return found


def test_numbers_are_float16_in_row_order() -> None:
    assert decoded(numbers(torch.tensor([[1.0, -0.5], [0.1, 3.0]]))).tolist() == [1, -0.5, np.float16(0.1), 3]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e5])
def test_numbers_that_float16_cannot_hold(bad: float) -> None:
    with pytest.raises(ValueError, match="finite and below 65504"):
        numbers(torch.tensor([bad]))


def test_encode_lists_the_layers() -> None:
    model = nn.Sequential(
        *net()[:1], nn.Conv2d(1, 2, 3, 2, (1, 0), bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(24, 10)
    )
    encoded = encode(model, torch.zeros(1, 1, 8, 8))
    normalize, conv, relu, flatten, linear = encoded["layers"]
    assert encoded["shape"] == [1, 8, 8]
    assert decoded(normalize["mean"]).tolist() == [np.float16(0.3)] * 64
    assert (conv["kernel"], conv["stride"], conv["padding"]) == ([3, 3], [2, 2], [1, 0])
    assert decoded(conv["bias"]).tolist() == [0, 0]
    assert (relu, flatten) == ({"type": "relu"}, {"type": "flatten"})
    assert len(decoded(linear["weight"])) == 240


def test_encode_leaves_the_model_as_it_was() -> None:
    model = net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    encode(model, torch.zeros(1, 1, 8, 8))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.Dropout(), "Dropout"),
        (nn.Flatten(2), "Flatten"),
        (nn.Conv2d(1, 1, 3, dilation=2), "Conv2d"),
        (nn.Conv2d(1, 1, 3, padding="same"), "Conv2d"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "Conv2d"),
        (nn.Linear(8, 10), "Linear"),  # on the rows of an image
    ],
)
def test_a_layer_that_the_page_cannot_compute(layer: nn.Module, named: str) -> None:
    with pytest.raises(TypeError, match=rf"cannot compute {named}\(.*allowed are Normalize, Flatten, ReLU, Linear"):
        encode(nn.Sequential(layer), torch.zeros(1, 1, 8, 8))


def test_a_model_that_is_no_sequence() -> None:
    with pytest.raises(TypeError, match=r"model must be an nn.Sequential, got Linear"):
        encode(nn.Linear(64, 10), torch.zeros(1, 1, 8, 8))


def test_a_model_that_returns_no_logits() -> None:
    with pytest.raises(ValueError, match=r"logits of shape \(B, classes\), got \(1, 1, 8, 8\)"):
        encode(nn.Sequential(nn.ReLU()), torch.zeros(1, 1, 8, 8))


def test_models_that_disagree_on_the_classes(split: Split) -> None:
    with pytest.raises(ValueError, match="models must have one number of classes, got a: 10, b: 11"):
        two_walls({"a": net(10), "b": net(11)}, split, count=20)


def test_labels_that_no_model_has(split: Split) -> None:
    with pytest.raises(ValueError, match=r"labels in 0 … 4"):
        attack_lab({"a": net(5)}, split)


def test_two_walls_state(split: Split) -> None:
    figure = two_walls({"standard": net(), "robust": net()}, split, count=20, eps_max=0.2)
    assert figure.figure == "walls"
    assert [m["name"] for m in figure.state["models"]] == ["standard", "robust"]
    assert figure.state["labels"] == [*range(10)] * 2
    assert figure.state["epsMax"] == 0.2
    images = decoded(figure.state["images"])
    assert images.tolist() == split.x[:20].half().flatten().tolist()


def test_attack_lab_state(split: Split) -> None:
    figure = attack_lab({"one": net()}, split, count=3)
    assert (figure.figure, figure.state["labels"], figure.state["steps"]) == ("lab", [0, 1, 2], 40)


@pytest.mark.parametrize("count", [0, 31])
def test_count_out_of_range(split: Split, count: int) -> None:
    with pytest.raises(ValueError, match=rf"count must be in 1 … 30, the images there are, got {count}"):
        attack_lab({"a": net()}, split, count=count)


@pytest.mark.parametrize("eps_max", [0.0, 1.5, float("nan")])
def test_eps_max_out_of_range(split: Split, eps_max: float) -> None:
    with pytest.raises(ValueError, match=rf"eps_max must be in \[0.01, 1\], got {eps_max}"):
        two_walls({"a": net(), "b": net()}, split, count=20, eps_max=eps_max)


def test_number_of_models(split: Split) -> None:
    with pytest.raises(ValueError, match="models must be two, the standard and the robust one, got 1"):
        two_walls({"a": net()}, split, count=20)
    with pytest.raises(ValueError, match="models must be one or two, got 0"):
        attack_lab({}, split)


def test_images_of_several_channels() -> None:
    with pytest.raises(ValueError, match=r"images of one channel, got shape \(4, 3, 8, 8\)"):
        attack_lab({"a": net()}, Split(torch.rand(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64)), count=4)


def stands(*rows: list[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def test_worst_case_state() -> None:
    a, b = stands([1, 1, 0], [1, 0, 0]), stands([1, 1, 0], [0, 1, 1])
    figure = worst_case({"one": {"PGD": a, "Square": b}, "two": {"X": a[:, :1], "Y": b[:, :1]}}, (0, 0.5), "ε (L2)")
    assert (figure.figure, figure.state["eps"], figure.state["threat"]) == ("worst", [0, 0.5], "ε (L2)")
    one, two = figure.state["defences"]
    assert [(d["name"], d["images"], [a["name"] for a in d["attacks"]]) for d in (one, two)] == [
        ("one", 3, ["PGD", "Square"]),
        ("two", 1, ["X", "Y"]),
    ]
    bits = [list(base64.b64decode(attack["survives"])) for attack in one["attacks"]]
    # The third image is misread when clean, so it counts as wrong although Square leaves it right.
    assert bits == [[0b110_100_00], [0b110_010_00]]


def test_size_of_the_worst_case() -> None:
    bits = torch.ones(16, 360, dtype=torch.bool)
    defences = {f"defence {d}": {f"attack {a}": bits for a in range(7)} for d in range(5)}
    assert len(worst_case(defences, torch.linspace(0, 0.3, 16))._repr_html_()) < 150_000


@pytest.mark.parametrize("eps", [[], [0], [0.1, 0.2], [0, 0.2, 0.2], [0, 0.2, 0.1], [0, 1.5], [0, float("nan")]])
def test_eps_of_the_worst_case(eps: list[float]) -> None:
    named = rf"eps must be two or more increasing numbers in \[0, 1\], 0 the first, got {re.escape(str(eps)[:2])}"
    with pytest.raises(ValueError, match=named):
        worst_case({"d": {"a": stands([1]), "b": stands([1])}}, eps)


@pytest.mark.parametrize("count", [0, 1, 8])
def test_number_of_attacks(count: int) -> None:
    attacks = {f"a{k}": stands([1], [1]) for k in range(count)}
    with pytest.raises(ValueError, match=rf"defences\['d'\] must hold two to seven attacks, got {count}"):
        worst_case({"d": attacks}, [0, 1])


def test_no_defence() -> None:
    with pytest.raises(ValueError, match="defences must hold at least one, got none"):
        worst_case({}, [0, 1])


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ([[True], [True]], TypeError, "a tensor of booleans, True where an image survives, got list"),
        (torch.ones(2, 3), TypeError, "a tensor of booleans, True where an image survives, got torch.float32"),
        (stands([1, 1, 0]), ValueError, r"shape \(2, N\), a row for each eps, got \(1, 3\)"),
        (stands([1, 1, 0])[0], ValueError, r"shape \(2, N\), a row for each eps, got \(3,\)"),
        (stands([], []), ValueError, r"shape \(2, N\), a row for each eps, got \(2, 0\)"),
        (stands([1, 1], [1, 1]), ValueError, "of the 3 images of 'naive', got 2"),
        (stands([1, 1, 1], [1, 0, 0]), ValueError, "the row of ε = 0, where nothing is attacked, that 'naive' has"),
    ],
)
def test_an_attack_that_does_not_fit(bad: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"defences\['d'\]\['better'\] must (be|have) {message}"):
        worst_case({"d": {"naive": stands([1, 1, 0], [1, 0, 0]), "better": bad}}, [0, 1])


def plane(n: int = 6, classes: int = 2) -> tuple[nn.Sequential, Split]:
    x = torch.rand(n, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, classes)), Split(x, torch.arange(n) % 2)


def test_minimax_state() -> None:
    model, split = plane()
    figure = minimax(model, split, eps=0.05, learning_rate=0.1)
    assert (figure.figure, figure.state["labels"]) == ("moons", [0, 1] * 3)
    assert (figure.state["eps"], figure.state["rate"]) == (0.05, 0.1)
    assert decoded(figure.state["points"]).tolist() == split.x.half().flatten().tolist()
    assert [layer["type"] for layer in figure.state["network"]["layers"]] == ["flatten", "linear", "relu", "linear"]


@pytest.mark.parametrize("n", [1, 201])
def test_minimax_wants_a_few_points_of_the_plane(n: int) -> None:
    with pytest.raises(ValueError, match=rf"2 … 200 points of shape \(1, 1, 2\), got shape \({n}, 1, 1, 2\)"):
        minimax(*plane(n))


def test_minimax_wants_points_not_images(split: Split) -> None:
    with pytest.raises(ValueError, match=r"points of shape \(1, 1, 2\), got shape \(30, 1, 8, 8\)"):
        minimax(net(2), split)


def test_minimax_wants_two_classes() -> None:
    model, split = plane(classes=3)
    with pytest.raises(ValueError, match="model must have two classes, got 3"):
        minimax(model, split)
    with pytest.raises(ValueError, match=r"labels 0 and 1, got \[1, 2\]"):
        minimax(model, Split(split.x, split.y + 1))


@pytest.mark.parametrize("eps", [-0.1, 0.21, float("nan")])
def test_eps_of_minimax(eps: float) -> None:
    with pytest.raises(ValueError, match=rf"eps must be in \[0, 0.2\], got {eps}"):
        minimax(*plane(), eps=eps)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_learning_rate_of_minimax(rate: float) -> None:
    with pytest.raises(ValueError, match=rf"learning_rate must be a finite number > 0, got {rate}"):
        minimax(*plane(), learning_rate=rate)


def test_minimax_trains_no_convolution() -> None:
    _, split = plane()
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(2, 2))
    with pytest.raises(TypeError, match="the page cannot train Conv2d; allowed are Normalize, Flatten, Linear and"):
        minimax(model, split)


def test_noise_cloud_state() -> None:
    model, _ = plane()
    figure = noise_cloud(model, point=(0.25, 1), sigma=0.2, n=30_000, alpha=0.01)
    state = dict(figure.state)
    assert state.pop("network") == encode(model, torch.zeros(1, 1, 1, 2))
    assert (figure.figure, state) == ("noise", {"point": [0.25, 1], "sigma": 0.2, "n": 30_000, "alpha": 0.01})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"point": (0.5,)}, r"point must be two numbers in \[0, 1\], got \(0.5,\)"),
        ({"point": (0.5, 1.1)}, r"point must be two numbers in \[0, 1\], got \(0.5, 1.1\)"),
        ({"sigma": 0.0}, r"sigma must be in \[0.01, 0.4\], got 0.0"),
        ({"sigma": float("nan")}, r"sigma must be in \[0.01, 0.4\], got nan"),
        ({"n": 200}, "n must be one of 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000, got 200"),
        ({"alpha": 0.0001}, r"alpha must be in \[0.001, 0.1\], got 0.0001"),
    ],
)
def test_noise_that_does_not_fit(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        noise_cloud(plane()[0], **wrong)


def test_noise_cloud_wants_two_classes() -> None:
    with pytest.raises(ValueError, match="model must have two classes, got 3"):
        noise_cloud(plane(classes=3)[0])


def tiny(*sizes: int) -> nn.Sequential:
    parts = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts[:-1])


@pytest.mark.parametrize("label", [0, 1])
def test_bounds_flow_state(label: int) -> None:
    model = nn.Sequential(nn.Flatten(), *tiny(2, 3, 2), nn.ReLU(), nn.Linear(2, 2, bias=False))
    state = bounds_flow(model, (0.25, 0.5), label, eps=0.05, eps_max=0.4, low=-1, high=2).state
    first, second, margin = state["layers"]
    assert first == {"weight": model[1].weight.tolist(), "bias": model[1].bias.tolist()}
    assert [len(second["weight"]), len(second["bias"])] == [2, 2]
    row = (1 - 2 * label) * (model[5].weight[0] - model[5].weight[1]).double()
    assert margin["weight"] == [pytest.approx(row.tolist(), abs=1e-6)]
    assert margin["bias"] == [0]
    rest = {key: state[key] for key in ("point", "label", "eps", "epsMax", "low", "high")}
    assert rest == {"point": [0.25, 0.5], "label": label, "eps": 0.05, "epsMax": 0.4, "low": -1, "high": 2}


@pytest.mark.parametrize(
    "model", [nn.Sequential(), nn.Conv2d(1, 1, 1), nn.Sequential(*tiny(2, 2, 2), nn.ReLU()), nn.Sequential(nn.ReLU())]
)
def test_layers_that_bounds_do_not_flow_through(model: nn.Module) -> None:
    with pytest.raises(TypeError, match="model must be Linear and ReLU in turn, Linear first and last, got"):
        bounds_flow(model)


@pytest.mark.parametrize("sizes", [(3, 2, 2), (2, 2, 3), (2, 5, 2), (2, 2), (2, 2, 2, 2, 2, 2)])
def test_a_network_that_is_not_tiny(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"of at most 4 neurons, and 2 logits, got sizes \[{str(sizes)[1:-1]}\]"):
        bounds_flow(tiny(*sizes))


def test_a_tiny_network_with_an_infinite_weight() -> None:
    model = tiny(2, 2, 2)
    model[0].bias.data[0] = float("inf")
    with pytest.raises(ValueError, match="model must have finite weights"):
        bounds_flow(model)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"low": 1.0}, "low must be below high, both finite, got 1.0 and 1.0"),
        ({"high": float("inf")}, "low must be below high, both finite, got 0.0 and inf"),
        ({"point": (0.5, -0.1)}, r"point must be two numbers in \[0.0, 1.0\], got \(0.5, -0.1\)"),
        ({"label": 2}, "label must be 0 or 1, got 2"),
        ({"eps": 0.4}, r"eps must be in \[0, eps_max\], and eps_max in \(0, 1.0\], got 0.4 and 0.3"),
        ({"eps": 0, "eps_max": 0}, r"eps must be in \[0, eps_max\], and eps_max in \(0, 1.0\], got 0 and 0"),
        ({"eps_max": 1.1}, r"eps must be in \[0, eps_max\], and eps_max in \(0, 1.0\], got 0.1 and 1.1"),
    ],
)
def test_a_flow_that_does_not_fit(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bounds_flow(tiny(2, 2, 2), **wrong)


def errors(*shares: float) -> list[Estimate]:
    return [Estimate(v, v - 0.01, v + 0.01, 100) for v in shares]


ERROR = {0.0: {2: errors(0.5, 0.25), 8: errors(0.25, 0.125)}, 0.2: {2: errors(0.5, 0.5), 8: errors(0.75, 0.5)}}
FITTED = {noise: {2: [0.5, 0.75], 8: [0.75, 1.0]} for noise in ERROR}


def test_descent_state() -> None:
    figure = descent(ERROR, FITTED, [1, 10], unit="epochs")
    state = figure.state
    assert (figure.figure, state["widths"], state["moments"], state["unit"]) == ("descent", [2, 8], [1, 10], "epochs")
    plain, noisy = state["lots"]
    assert (plain["noise"], noisy["noise"]) == (0, 0.2)
    assert plain["error"]["value"] == [[0.5, 0.25], [0.25, 0.125]]
    assert noisy["error"]["high"] == [[0.51, 0.51], [0.76, 0.51]]
    assert plain["fitted"] == [[0.5, 0.75], [0.75, 1]]
    assert "attacked" not in plain
    assert descent(ERROR, FITTED, [1, 10], attacked=ERROR).state["lots"][1]["attacked"] == noisy["error"]


def test_size_of_a_descent() -> None:
    error = {noise: {2**w: errors(*[0.1234] * 25) for w in range(12)} for noise in (0.0, 0.1, 0.2)}
    fitted = {noise: {width: [0.5] * 25 for width in rows} for noise, rows in error.items()}
    assert len(json.dumps(descent(error, fitted, range(1, 26)).state)) < 40_000


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"moments": [1]}, r"moments must be two or more rising times >= 1, got \[1\]"),
        ({"moments": [0, 1]}, r"moments must be two or more rising times >= 1, got \[0, 1\]"),
        ({"moments": [2, 2]}, r"moments must be two or more rising times >= 1, got \[2, 2\]"),
        ({"error": {}}, r"error must hold one to five label noises in \[0, 1\], got \[\]"),
        ({"error": {1.5: ERROR[0.0]}}, r"error must hold one to five label noises in \[0, 1\], got \[1.5\]"),
        ({"error": {0.0: {2: errors(0.5, 0.5)}}}, r"error must be at two or more rising widths >= 1, got \[2\]"),
        ({"error": {0.0: dict.fromkeys((8, 2), errors(0.5, 0.5))}}, r"rising widths >= 1, got \[8, 2\]"),
        ({"fitted": {0.0: FITTED[0.0]}}, r"fitted must have the label noises of error, \[0.0, 0.2\], got \[0.0\]"),
        (
            {"attacked": ERROR | {0.2: {2: errors(0.5, 0.5)}}},
            r"attacked\[0.2\] must have the widths of error, \[2, 8\], got \[2\]",
        ),
        (
            {"moments": [1, 10, 100]},
            r"error\[0.0\]\[2\] must have a value for each of the 3 moments, got 2",
        ),
        (
            {"attacked": ERROR | {0.0: dict.fromkeys((2, 8), [Estimate(0.5, 0.4, 0.6, 9, "points")] * 2)}},
            r"attacked\[0.0\]\[2\] must hold shares with the unit '%', got the unit 'points'",
        ),
        (
            {"fitted": FITTED | {0.2: dict.fromkeys((2, 8), (0.5, 75))}},
            r"fitted\[0.2\]\[2\] must hold shares in \[0, 1\], got 0.5 … 75.0",
        ),
        (
            {"fitted": FITTED | {0.2: dict.fromkeys((2, 8), (float("nan"), 0.5))}},
            r"fitted\[0.2\]\[2\] must hold shares in \[0, 1\], got nan … nan",
        ),
    ],
)
def test_a_descent_that_does_not_fit(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        descent(**{"error": ERROR, "fitted": FITTED, "moments": [1, 10]} | wrong)


AT = [-1, -0.5, 0, 0.5, 1]
LOSSES = torch.arange(25.0).view(5, 5) / 7


def test_terrain_state() -> None:
    figure = terrain({"standard": LOSSES, "adversarial": LOSSES + 1}, torch.linspace(-2, 2, 5), ("u", "v"), log=True)
    state = figure.state
    assert (figure.figure, state["at"], state["axes"], state["log"]) == ("terrain", [-2, -1, 0, 1, 2], ["u", "v"], True)
    assert [land["name"] for land in state["lands"]] == ["standard", "adversarial"]
    assert state["lands"][0]["losses"][1][2] == 1  # at -1 along the first axis
    assert state["lands"][1]["losses"][4][3] == 4.286


def test_size_of_a_terrain() -> None:
    losses = torch.rand(41, 41, generator=torch.Generator().manual_seed(0))
    assert len(terrain({"one": losses, "two": losses}, torch.linspace(-1, 1, 41))._repr_html_()) < 130_000


@pytest.mark.parametrize(
    "at",
    [
        [-1, 0, 1],
        [-1.5, -0.5, 0.5, 1.5],
        [-1, -0.5, 0, 0.5, 2],
        [0, 1, 2, 3, 4],
        [1, 0.5, 0, -0.5, -1],
        [-1, -0.5, 0, 0.5, float("nan")],
        [0] * 5,
        np.linspace(-1, 1, 63),
    ],
)
def test_places_of_a_terrain(at: Any) -> None:
    message = r"at must be 5, 7, … 61 places, rising at equal distances, with 0 in the middle, got \["
    with pytest.raises(ValueError, match=message):
        terrain({"a": torch.zeros(len(at), len(at))}, at)


@pytest.mark.parametrize("count", [0, 5])
def test_number_of_landscapes(count: int) -> None:
    with pytest.raises(ValueError, match=f"landscapes must be one to four, got {count}"):
        terrain({str(k): LOSSES for k in range(count)}, AT)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (LOSSES[:4], r"of shape \(5, 5\), as at, got \(4, 5\)"),
        (LOSSES - 1, r"finite losses >= 0, got -1.0 … "),
        (LOSSES / 0, r"finite losses >= 0, got nan … nan"),
    ],
)
def test_a_landscape_that_does_not_fit(losses: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=rf"landscapes\['a'\] must (be|hold) {message}"):
        terrain({"a": losses}, AT)


def test_fit_curve_state() -> None:
    state = fit_curve(points=8, features=20, sigma=0.5, seed=3).state
    assert [len(state[key]) for key in ("x", "frequency", "phase")] == [8, 20, 20]
    assert state["sigma"] == 0.5
    assert [int(8 * x) for x in state["x"]] == list(range(8))  # one in each part
    assert fit_curve(points=8, features=20, sigma=0.5, seed=3).state == state != fit_curve(8, 20, 0.5, seed=4).state


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"points": 7}, r"points must be in \[8, 24\], got 7"),
        ({"points": 25}, r"points must be in \[8, 24\], got 25"),
        ({"features": 31}, r"features must be in \[32, 1000\], got 31"),
        ({"features": 1001}, r"features must be in \[32, 1000\], got 1001"),
        ({"sigma": 0.7}, r"sigma must be in \[0, 0.6\], got 0.7"),
        ({"sigma": float("nan")}, r"sigma must be in \[0, 0.6\], got nan"),
    ],
)
def test_a_curve_that_does_not_fit(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_curve(**wrong)


def answers(*models: list[list[int]]) -> Tensor:
    """(P, seeds, N) booleans."""
    return torch.tensor(models, dtype=torch.bool)


HALF, FULL = [[1, 0, 1, 0], [1, 0, 0, 1]], [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_budget_state() -> None:
    routes = {"one": Route([1, 2], answers(HALF, FULL)), "two": Route([0], answers(HALF), starts_from=3)}
    state = budget(routes, unit="epochs").state
    one, two = state["routes"]
    assert (state["unit"], one["name"], one["passes"], one["start"], two["start"]) == ("epochs", "one", [1, 2], 0, 3)
    estimate = Estimate.over_seeds(np.array(FULL, dtype=bool))
    assert (one["value"], one["high"][1]) == ([0.5, 0.875], round(estimate.high, 4))
    difference = Estimate.over_seeds(np.array(FULL) - np.array(HALF))
    assert state["halves"] == [[[[0], [round(difference.high - difference.value, 4)]]], []]


def test_size_of_a_budget() -> None:
    right = torch.rand(8, 3, 40, generator=torch.Generator().manual_seed(0)) < 0.5
    routes = {f"route {k}": Route(range(1, 9), right) for k in range(6)}
    assert len(json.dumps(budget(routes).state)) < 12_000


GOOD = Route([1, 2], answers(HALF, FULL))


@pytest.mark.parametrize("count", [0, 1, 7])
def test_number_of_routes(count: int) -> None:
    with pytest.raises(ValueError, match=f"routes must be two to six, got {count}"):
        budget({str(k): GOOD for k in range(count)})


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (Route([], answers(HALF)), ValueError, r"one or more rising costs >= 0 in passes, got \[\]"),
        (Route([-1, 2], answers(HALF, FULL)), ValueError, r"one or more rising costs >= 0 in passes, got \[-1, 2\]"),
        (Route([2, 2], answers(HALF, FULL)), ValueError, r"one or more rising costs >= 0 in passes, got \[2, 2\]"),
        (
            Route([1, float("inf")], answers(HALF, FULL)),
            ValueError,
            r"one or more rising costs >= 0 in passes, got \[1, inf\]",
        ),
        (Route([1], answers(HALF), -1.0), ValueError, "a finite starts_from >= 0, got -1.0"),
        (Route([1], torch.ones(1, 2, 4)), TypeError, "booleans in right, True where an image is read right, got torch"),
        (Route([1], answers(HALF, FULL)), ValueError, r"right of shape \(1, seeds, N\), .*, got \(2, 2, 4\)"),
        (Route([1], answers(HALF)[:, :, :3]), ValueError, r"right of shape .* first route, \(2, 4\), got \(1, 2, 3\)"),
        (Route([1], answers(HALF)[0]), ValueError, r"right of shape \(1, seeds, N\), .*, got \(2, 4\)"),
    ],
)
def test_a_route_that_does_not_fit(bad: Route, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"routes\['bad'\] must have {message}"):
        budget({"good": GOOD, "bad": bad})


def test_routes_of_a_single_seed() -> None:
    lone = Route([1], answers(HALF)[:, :1])
    with pytest.raises(ValueError, match=r"routes\['a'\] must have right .* the two or more seeds"):
        budget({"a": lone, "b": lone})


def test_routes_that_cost_nothing() -> None:
    with pytest.raises(ValueError, match="routes must cost something, got none that does"):
        budget({name: Route([0], answers(HALF)) for name in "ab"})


def over_epochs(*values: float, every: int = 1, unit: str = "%") -> dict[int, Estimate]:
    return {every * k: Estimate(v, v - 0.1, v + 0.12346, 200, unit) for k, v in enumerate(values, 1)}


def test_epoch_slider_state() -> None:
    log, judge = over_epochs(0.5, 0.75, every=4), over_epochs(0.5, 0.25, every=4)
    figure = epoch_slider({"one": {"clean": log, "PGD": judge}, "two": {"log": judge, "PGD": log}})
    one, two = figure.state["runs"]
    assert (figure.figure, one["name"], one["epochs"]) == ("epochs", "one", [4, 8])
    assert one["curves"][1] == {"name": "PGD", "value": [0.5, 0.25], "low": [0.4, 0.15], "high": [0.6235, 0.3735]}
    assert [curve["name"] for curve in two["curves"]] == ["log", "PGD"]


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({}, "runs must hold at least one, got none"),
        ({"r": {"a": over_epochs(0.1, 0.2)}}, r"runs\['r'\] must hold two to four curves, got 1"),
        (
            {"r": {name: over_epochs(0.1, 0.2) for name in "abcde"}},
            r"runs\['r'\] must hold two to four curves, got 5",
        ),
        (
            {"r": {name: over_epochs(0.1) for name in "ab"}},
            r"runs\['r'\] must have two or more rising epochs, got \[1\]",
        ),
        (
            {"r": {name: over_epochs(0.1, 0.2, every=-1) for name in "ab"}},
            r"runs\['r'\] must have two or more rising epochs, got \[-1, -2\]",
        ),
        (
            {"r": {"a": over_epochs(0.1, 0.2), "b": over_epochs(0.1, 0.2, every=2)}},
            r"runs\['r'\]\['b'\] must have the epochs of the first curve, \[1, 2\], got \[2, 4\]",
        ),
        (
            {"r": {"a": over_epochs(0.1, 0.2), "b": over_epochs(0.1, 0.2, unit="points")}},
            r"runs\['r'\]\['b'\] must hold accuracies, got the unit 'points'",
        ),
    ],
)
def test_runs_that_do_not_fit(runs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        epoch_slider(runs)


def test_unknown_figure() -> None:
    with pytest.raises(ValueError, match=r"figure must be one of walls, lab, worst.*, got 'tower'"):
        Live("tower", {}, "", "")


def test_text_form_is_short(split: Split) -> None:
    assert repr(attack_lab({"a": net()}, split)) == "Live(lab: Attack an image yourself)"


@pytest.mark.parametrize("evil", ["</script><script>alert(1)</script>", "<!--<script>", '"; alert(1); "'])
def test_text_cannot_leave_the_script_it_stands_in(evil: str) -> None:
    html = Live("lab", {"name": evil}, title=evil, alt=evil)._repr_html_()
    (code,) = scripts(html)
    (call,) = re.findall(r'^live\("[\w-]+", lab, (\{.*\})\);$', code, flags=re.MULTILINE)
    assert json.loads(call) == {"name": evil, "title": evil, "alt": evil}
    assert "<" not in call
    assert evil.replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;") in html  # in <noscript>, as text


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_whole(figure: str) -> None:
    """It loads nothing: no import is left, and the only addresses are the names of XML's vocabularies."""
    code = script(figure)
    assert not re.search(r"^import\b|\bimport\(|\bfetch\(|XMLHttpRequest|WebSocket", code, flags=re.MULTILINE)
    assert set(re.findall(r"https?://[^/\"'` ]+", code)) <= {"http://www.w3.org"}
    assert not re.search(r"</script|<!--", code)


def test_the_same_figure_has_the_same_key_and_another_figure_another(split: Split) -> None:
    keys = [
        re.findall(r'data-live="([\w-]+)"', attack_lab({"a": net_}, split)._repr_html_())
        for net_ in [zeros(), zeros(), zeros(bias=1.0)]
    ]
    assert keys[0] == keys[1] != keys[2]


def zeros(bias: float = 0.0) -> nn.Sequential:
    model = net()
    nn.init.zeros_(model[2].weight)
    nn.init.constant_(model[2].bias, bias)
    return model


def test_size_of_a_lesson_figure(split: Split) -> None:
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )
    assert len(two_walls({"a": model, "b": model}, split, count=30)._repr_html_()) < 700_000


def test_the_bundle_of_d3_is_that_of_its_lock_file() -> None:
    """Whoever changes a version there runs the build."""
    root = Path(__file__).resolve().parents[2]
    lock = json.loads((root / "tools/vendor/d3/package-lock.json").read_text("utf-8"))["packages"]
    banner = resources.files("robustcourse.widgets").joinpath("d3.mjs").read_text("utf-8").split("*/")[0]
    bundled = dict(re.findall(r"(d3-\w+) (\d+\.\d+\.\d+)", banner))
    assert {"d3-axis", "d3-scale", "d3-selection", "d3-shape"} <= set(bundled)
    assert bundled == {name: lock[f"node_modules/{name}"]["version"] for name in bundled}
    assert "Permission to use, copy, modify" in banner


CLOUDS = TwoGaussians(torch.cat([torch.tensor([0.06, 0.02]), torch.zeros(20)]), sigma=0.05)
REACH = torch.tensor([0.3, 0.2, 0.4])


def points(value: float) -> Estimate:
    return Estimate(value, value - 0.01, value + 0.02, 360, "points")


def test_trade_off_state() -> None:
    measured = {"few": {0.1: points(0.03), 0.2: points(-0.01)}, "all": {0.1: points(0.0), 0.2: points(-0.1)}}
    figure = trade_off(CLOUDS, measured, REACH, eps_max=0.05)
    state = figure.state
    assert (figure.figure, state["silent"], state["sigma"], state["epsMax"]) == ("tradeoff", 20, 0.05, 0.05)
    assert state["strengths"] == pytest.approx([0.06, 0.02])
    assert decoded(state["noise"]).shape == (state["draws"] * 22,)
    assert state["reach"] == [0.2, 0.3, 0.4]
    assert [lot["name"] for lot in state["lots"]] == ["few", "all"]
    assert state["lots"][1]["gains"][1] == pytest.approx({"eps": 0.2, "value": -0.1, "low": -0.11, "high": -0.08})
    assert figure._repr_html_() == trade_off(CLOUDS, measured, REACH, eps_max=0.05)._repr_html_()


@pytest.mark.parametrize("mu", [[0.0] * 30, [0.06, *[0.0] * 19], [*[0.0] * 30, 0.06]])
def test_clouds_without_silent_pixels_at_their_end(mu: list[float]) -> None:
    with pytest.raises(ValueError, match=r"clouds must have pixels that say something and then 20 silent ones, got"):
        trade_off(TwoGaussians(torch.tensor(mu), 0.05), {"few": {0.1: points(0), 0.2: points(0)}}, REACH)


@pytest.mark.parametrize("eps_max", [0.0, 1.5, float("nan")])
def test_eps_max_of_the_clouds_out_of_range(eps_max: float) -> None:
    with pytest.raises(ValueError, match=rf"eps_max must be in \(0, 1\], got {eps_max}"):
        trade_off(CLOUDS, {"few": {0.1: points(0), 0.2: points(0)}}, REACH, eps_max=eps_max)


@pytest.mark.parametrize("second", [{0.1: 0}, {0.2: 0, 0.1: 0}, {0.1: 0, 0.3: 0}])
def test_lots_at_other_sizes(second: dict[float, float]) -> None:
    lots = {"few": {0.1: points(0), 0.2: points(0)}, "all": {eps: points(v) for eps, v in second.items()}}
    with pytest.raises(ValueError, match=r"measured\['all'\] must be at two or more rising ε, those of all lots, got"):
        trade_off(CLOUDS, lots, REACH)


def test_a_single_size_or_no_lot() -> None:
    with pytest.raises(ValueError, match=r"measured\['few'\] must be at two or more rising ε"):
        trade_off(CLOUDS, {"few": {0.1: points(0)}}, REACH)
    with pytest.raises(ValueError, match="measured must hold at least one lot, got none"):
        trade_off(CLOUDS, {}, REACH)


def test_measurements_that_are_no_differences() -> None:
    share = Estimate(0.9, 0.8, 0.95, 360)
    with pytest.raises(ValueError, match=r"measured\['few'\] must be differences in points, got %"):
        trade_off(CLOUDS, {"few": {0.1: share, 0.2: share}}, REACH)
