"""Live figures that compute: a network runs in the page itself, so a reader can attack it by dragging a slider.

`fit_curve` solves a regression there, in double precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from robustcourse.data import Split
from robustcourse.widgets.encoding import bias_of, encode, numbers, of_two_classes
from robustcourse.widgets.live import Live

THROWS = 24  # of the noise on the points of `fit_curve`


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
    network = of_two_classes(encode(model, split.x[:1]))
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
    network = of_two_classes(encode(model, torch.zeros(1, 1, 1, 2)))
    return Live(
        "noise",
        {"network": network, "point": list(map(float, point)), "sigma": float(sigma), "n": n, "alpha": float(alpha)},
        title="A vote under noise, and how far it holds",
        alt="A point in the plane between two classes, and a cloud of noise around it: each dot votes for the class of "
        "its place. Sliders move the point, the spread of the noise and the number of votes. A circle shows the "
        "radius that the votes certify, a thin one the largest that so many votes can show; a curve shows both over "
        "the number of votes.",
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
        weight, bias = (part.detach().double().cpu() for part in (layer.weight, bias_of(layer)))
        if not (weight.isfinite().all() and bias.isfinite().all()):
            raise ValueError("model must have finite weights")
        if layer is layers[-1]:
            weight, bias = (part[[label]] - part[[1 - label]] for part in (weight, bias))
        made.append({"weight": weight.tolist(), "bias": bias.tolist()})
    return made


def fit_curve(points: int = 16, features: int = 400, sigma: float = 0.2, seed: int = 9) -> Live:
    """A curve through noisy points, of more and more random features: lesson 10's figure.

    The features of x in [0, 1] are √2 cos(ω x + b) with ω ~ N(0, (1.3 points)²) and b uniform (Rahimi & Recht 2007).
    They are nested: a wider model has those of a narrower one. For every width p the page finds the w that makes
    ‖Φw − y‖² + λ‖w‖² smallest, and the smallest such w for λ = 0.

    Args:
        points: how many the curve is fitted to, in [8, 24]: the threshold. Their places are drawn, one in each of
            so many equal parts of [0, 1].
        features: the largest width, in [2 points, 1000].
        sigma: where the slider of the noise stands at first, in [0, 0.6].
        seed: of the places, the features and the noise. With this one the peak stands at p = points; with more than
            half of all others, a few features beside it.

    Raises:
        ValueError: a number is out of range.
    """
    if not 8 <= points <= 24:
        raise ValueError(f"points must be in [8, 24], got {points}")
    if not 2 * points <= features <= 1000:
        raise ValueError(f"features must be in [{2 * points}, 1000], got {features}")
    if not 0 <= sigma <= 0.6:
        raise ValueError(f"sigma must be in [0, 0.6], got {sigma}")
    generator = torch.Generator().manual_seed(seed)
    x = (torch.arange(points) + torch.rand(points, generator=generator)) / points
    frequency = 1.3 * points * torch.randn(features, generator=generator)
    phase = 2 * torch.pi * torch.rand(features, generator=generator)
    noise = torch.randn(THROWS, points, generator=generator)
    drawn = {"x": x, "frequency": frequency, "phase": phase, "noise": noise}
    sent = {name: np.round(values.double().numpy(), 3).tolist() for name, values in drawn.items()}
    return Live(
        "fit",
        {**sent, "sigma": float(sigma)},
        title="A curve through noisy points",
        alt="Noisy points on a wave, and a curve fitted to them. Sliders set the number of features, from 1 to "
        f"{features}, the noise and the ridge. Beside it, over the number of features: the test error, which rises to "
        f"a peak where there are as many features as points, {points}, and falls again; and the size of the weights.",
    )
