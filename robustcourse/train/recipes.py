"""Full-size recipes, for one GPU each: what it takes to be robust on images that people know.

    robustcourse train cifar10 --record records/full/cifar10.json

runs a recipe from data to AutoAttack, and to a proof where the recipe is made for one, goes on where it was
interrupted, and writes down what came out. Several GPUs:
`torchrun --nproc-per-node 8 -m robustcourse train cifar10`.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import nn

from robustcourse.attacks import PGD, AutoAttack
from robustcourse.certify import Certificate, certified, ibp
from robustcourse.data import Dataset, load
from robustcourse.evaluate import Estimate, correct
from robustcourse.files import replacing
from robustcourse.models import preact_resnet, wide_resnet
from robustcourse.models.networks import assemble
from robustcourse.runtime import described, device, seeded, versions
from robustcourse.threats import Linf, Threat
from robustcourse.train.augment import CropFlip
from robustcourse.train.average import EMA
from robustcourse.train.certified import IBP
from robustcourse.train.fit import ADAM, fit
from robustcourse.train.objectives import Objective
from robustcourse.train.schedules import Triangle
from robustcourse.train.trades import TRADES

sgd = partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=5e-4)


@dataclass(frozen=True)
class Recipe:
    """Data, network, threat and method; all else is a triangle of learning rates, and averaged weights.

    Args:
        data: a name for `load`.
        network: data to a model.
        threat: what the model is trained and evaluated against.
        objective: threat to the training method.
        augment: images to images.
        epochs, learning_rate, batch_size, optimizer, bf16: as for `fit`.
        certificate: what proves, for a network that is made for it.
    """

    data: str
    network: Callable[[Dataset], nn.Module]
    threat: Threat
    objective: Callable[[Threat], Objective]
    augment: CropFlip | None
    epochs: int
    learning_rate: float = 0.2
    batch_size: int = 256
    optimizer: Callable[..., torch.optim.Optimizer] = sgd
    bf16: bool = True
    certificate: Certificate | None = None


def _trades(threat: Threat, beta: float, steps: int) -> TRADES:
    # Two thirds of ε a step at ten steps is what most papers take; the default of PGD is shorter.
    return TRADES(PGD(threat, steps=steps, step_size=2 * threat.eps / steps), beta)


def _small(data: Dataset) -> nn.Module:
    # The small network of Gowal et al. 2018: strides in place of pooling, and nothing that intervals dislike.
    with seeded(0):
        inside = 32 * math.prod((side - 4) // 2 - 2 for side in data.shape[1:])
        seeing = [nn.Conv2d(data.shape[0], 16, 4, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 4), nn.ReLU(), nn.Flatten()]
        return assemble(data, *seeing, nn.Linear(inside, 100), nn.ReLU(), nn.Linear(100, data.classes))


def _provable(eps: float) -> Recipe:
    # With networks many times as large Gowal et al. certify 97.77 % at 0.1 and 91.95 % at 0.3, Lyu et al. 2021 94.02 %
    # at 0.3. Intervals want Adam, a low learning rate, and full precision.
    return Recipe(
        *("mnist", _small, Linf(eps), IBP, None),
        epochs=100, learning_rate=2e-3, batch_size=128, optimizer=ADAM, bf16=False, certificate=ibp,
    )  # fmt: skip


# Pang et al. 2021 (arXiv:2010.00467) compare the settings of the literature; EMA as in Gowal et al. 2020.
RECIPES = {
    "cifar10": Recipe(
        "cifar10", preact_resnet, Linf(8 / 255), partial(_trades, beta=6.0, steps=8), CropFlip(), epochs=40
    ),
    "cifar10-wide": Recipe(
        "cifar10",
        partial(wide_resnet, depth=34, factor=10),
        Linf(8 / 255),
        partial(_trades, beta=6.0, steps=10),
        CropFlip(),
        epochs=60,
    ),
    "fashion_mnist": Recipe(
        "fashion_mnist",
        partial(preact_resnet, width=16),
        Linf(0.1),
        partial(_trades, beta=3.0, steps=7),
        CropFlip(pad=2),
        epochs=30,
    ),
    "mnist-ibp-0.1": _provable(0.1),
    "mnist-ibp-0.3": _provable(0.3),
}


def make(
    name: str,
    *,
    epochs: int | None = None,
    examples: int | None = None,
    compiled: bool = False,
    checkpoint: Path | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Train by a recipe, and measure on the test data: accuracy, clean and under AutoAttack, and what is certified.

    What is certified no attack can break, so AutoAttack is spent on the rest.

    Args:
        name: of the recipe.
        epochs: instead of the recipe's own.
        examples: how many training and test examples to use, for a trial run; all if None.
        compiled, checkpoint, seed: as for `fit`.

    Returns:
        What a record of a full-size run says: settings, results with intervals, seconds, device, versions, commit.

    Raises:
        ValueError: no such recipe, or a number out of range.
    """
    if name not in RECIPES:
        raise ValueError(f"name must be one of {', '.join(RECIPES)}, got {name!r}")
    if examples is not None and examples < 1:
        raise ValueError(f"examples must be >= 1, got {examples}")
    recipe = RECIPES[name]
    recipe = replace(recipe, epochs=recipe.epochs if epochs is None else epochs)
    data = load(recipe.data)
    data = replace(data, train=data.train[:examples], test=data.test[:examples])
    model: nn.Module = recipe.network(data).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    start = time.perf_counter()
    fit(
        model,
        data,
        recipe.objective(recipe.threat),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        optimizer=recipe.optimizer,
        schedule=Triangle(0.3),
        clip=1.0,
        average=EMA(0.995),
        augment=recipe.augment,
        bf16=recipe.bf16,
        compiled=compiled,
        checkpoint=checkpoint,
        seed=seed,
    )
    trained = time.perf_counter() - start
    clean = correct(model, data.test, batch_size=512)
    proved = certified(model, data.test, recipe.certificate, recipe.threat) if recipe.certificate else clean & False
    survive, open_ = proved.clone(), clean & ~proved
    if open_.any():
        survive[open_] = correct(model, data.test[open_], AutoAttack(recipe.threat), batch_size=512)
    found = {"clean": clean, "autoattack": survive} | ({"certified": proved} if recipe.certificate else {})
    return {
        "recipe": name,
        "settings": {field: described(value) for field, value in vars(recipe).items()},
        "examples": len(data.train),
        "seed": seed,
        **{what: asdict(Estimate.proportion(hits.cpu())) for what, hits in found.items()},
        "seconds": {"training": round(trained, 1), "evaluation": round(time.perf_counter() - start - trained, 1)},
        "device": torch.cuda.get_device_name() if data.train.x.is_cuda else str(device()),
        "processes": dist.get_world_size() if dist.is_initialized() else 1,
        "versions": versions(),
        "commit": _commit(),
    }


def write(record: dict[str, Any], path: Path) -> None:
    """Write a record as JSON."""
    with replacing(path) as file:
        file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
