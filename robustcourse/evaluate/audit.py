"""The audit: before you believe a robust accuracy, ask whether the attack could see.

Each question is an experiment with a known answer for a sound evaluation. A flag does not say that the model is weak;
it says that the number is worth nothing yet.

Source: the checklist of Carlini et al. 2019 (arXiv:1902.06705).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from robustcourse.attacks import APGD, FGSM, PGD, Attack, RandomSearch, Square, cross_entropy, dlr, transfer
from robustcourse.attacks.attack import slope
from robustcourse.checks import check_labels, check_logits, check_module, evaluating
from robustcourse.data import Split
from robustcourse.evaluate.estimate import Estimate
from robustcourse.evaluate.report import name, report
from robustcourse.runtime import seeded
from robustcourse.threats import Linf, Threat

# A better attack always finds a few points more. This share of all points says that the first one was blind.
BLIND = 0.05
# What four times the steps may find beyond what the same steps find from another random start, as a share of all
# points; and as a number of points, for among few points one or two are luck.
UNFINISHED, FEW = 0.01, 3
RADII = (0, 0.25, 0.5, 1, 2, 4)  # times ε
STEPS = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Check:
    """One question of an audit: its name, whether all is well, what was found, and what to do if it is not."""

    name: str
    passed: bool
    found: str
    advice: str


@dataclass(frozen=True)
class Audit:
    """A report card. It prints as a table; `robustcourse.figures.report_card` draws its curves.

    Args:
        title: what was attacked, and how.
        checks: in the order in which they were asked; no more are asked where the inputs make no sense.
        by_eps: accuracy under the attack by radius.
        by_steps: accuracy under the attack by number of steps; empty for an attack that has none.
    """

    title: str
    checks: tuple[Check, ...]
    by_eps: dict[float, Estimate]
    by_steps: dict[int, Estimate]

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of the checks that did not pass."""
        return tuple(check.name for check in self.checks if not check.passed)

    def __str__(self) -> str:
        lines = [self.title]
        for check in self.checks:
            lines.append(f"  {'ok  ' if check.passed else 'FLAG'}  {check.name:<32}{check.found}")
            if not check.passed:
                lines.append(f"{'':<40}→ {check.advice}")
        flags = len(self.flags)
        verdict = "nothing speaks against this evaluation" if not flags else "do not quote this accuracy"
        return "\n".join([*lines, f"{flags} flag{'s' * (flags != 1)}: {verdict}"])

    __repr__ = __str__


def audit(
    model: nn.Module,
    data: Split | tuple[Tensor, Tensor],
    threat: Threat,
    attack: Callable[[Threat], Attack] = PGD,
    surrogate: nn.Module | None = None,
    seed: int = 0,
) -> Audit:
    """Examine an evaluation of a model: the attack that was used, against others that should not do better.

    Args:
        model: any mode; training mode is flagged, and evaluation mode is used.
        data: the examples, on the model's device, or just images and labels; 100 to 500 are enough.
        threat: the set that the evaluation searches.
        attack: threat to the attack in question, as `PGD` or `partial(PGD, steps=10)`.
        surrogate: another model of the same task, whose adversarial examples should not do better. None: not asked.
        seed: of the attacks, and of the model if it is random.

    Cost: up to 1,600 forward and 850 backward passes an example.

    Raises:
        TypeError, ValueError: a wrong input, other than those that are flagged.
    """
    checks: list[Check] = []

    def check(*answer: Any) -> None:
        checks.append(Check(*answer))

    images, labels = (data.x, data.y) if isinstance(data, Split) else data
    check_module(model)
    asked, points = attack(threat), len(images)
    title = f"{type(model).__name__} under {name(asked)}, {threat}, n = {points}"
    training = sum(part.training for part in model.modules())
    check("evaluation mode", not training, f"{training} parts are in training mode", "call model.eval()")
    low, high = (float(end) for end in images.aminmax())
    inside = low >= 0 and high <= 1
    advice = "ε is measured in [0, 1]: make normalization the model's first layer; nothing else was asked"
    check("inputs in [0, 1]", inside, f"from {low:.3g} to {high:.3g}", advice)
    if not inside:
        return Audit(title, tuple(checks), {}, {})
    split = Split(images, labels)

    def left(question: Attack, among: Tensor | None = None) -> Tensor:
        part = split if among is None else split[among]
        # Another seed for those who stand: the same walk once more would find nothing new.
        return report(model, part, question, seed=seed if among is None else seed + 1).right

    with evaluating(model), seeded(seed):
        with torch.no_grad():
            first, second = model(split.x), model(split.x)
        check_logits(first, split.x)
        check_labels(split.y, split.x, classes=first.shape[1])
        differ = float((first - second).abs().max())
        steady = differ <= 1e-5 * float(first.abs().max())
        advice = "the model is random: average over draws, with EOT or AutoAttack(threat, 'rand')"
        check("the same answer twice", steady, f"logits differ by up to {differ:.2g}", advice)
        blind = "gradients are masked: " if steady else "luck decides, for the model is random: "

        def gradients(where: str, x: Tensor, y: Tensor) -> bool:
            """Whether gradient attacks can be asked at all: they refuse what is no number."""
            zero, broken = _gone(model, x, y)
            found = f"{100 * zero:.0f} % of them are zero, {100 * broken:.0f} % no numbers"
            advice = blind + "undo what hides them, or put BPDA in its place"
            check(f"gradients {where}", zero + broken <= BLIND, found, advice)
            return broken == 0

        if not gradients("at the images", split.x, split.y):
            return Audit(title, tuple(checks), {}, {})
        walk = report(model, split, asked, seed=seed)
        standing = walk.right
        gradients("where the walk ended", walk.x_adv[standing], split.y[standing])
        flagged = any(not answer.passed for answer in checks[-3:])  # of chance, and of gradients
        weak = blind if flagged else f"the walk is too short, or {blind}"

        def beyond(question: Attack) -> float:
            """The share of all points that still stand, and fall to another attack."""
            return int((~left(question, standing)).sum()) / points if standing.any() else 0.0

        def more(label: str, question: Attack, advice: str) -> None:
            fell = beyond(question)
            check(label, fell <= BLIND, f"{name(question)} breaks {100 * fell:.1f} % more", advice)

        if hasattr(asked, "steps"):
            longer: dict[str, Any] = {"steps": 4 * asked.steps}
            gain = beyond(dataclasses.replace(asked, **longer)) - beyond(asked)
            found = f"four times as many break {100 * gain:.1f} % more than another start"
            advice = "take more steps" if gain > 0 else blind + "more steps must not help the model"
            check("steps are enough", -BLIND <= gain <= max(UNFINISHED, FEW / points), found, advice)
        more("steps beat one step", FGSM(threat), weak + "one step must not win")
        more("scale does not matter", APGD(threat, loss=dlr), weak + "use a loss that is free of scale")
        more("gradients beat luck", RandomSearch(threat, queries=200), weak + "find out where they vanish")
        more("gradients beat queries", Square(threat, queries=500), weak + "attack a view that has them")
        if surrogate is not None:
            question = transfer(PGD(threat), surrogate)
            more("own beats borrowed", question, weak + "another model's work better than its own")

        by_eps = {}
        for factor in RADII:
            if not isinstance(threat, Linf) or factor * threat.eps <= 1:
                by_eps[factor * threat.eps] = Estimate.proportion(
                    left(attack(_with(threat, factor * threat.eps))).cpu()
                )
        values = [estimate.value for estimate in by_eps.values()]
        rise = max((after - before for before, after in pairwise(values)), default=0.0)
        found = f"largest rise {100 * max(rise, 0):.1f} points"
        check("accuracy falls with ε", rise <= BLIND, found, weak + "look at the curve")
        pixels = split.x[0].numel()
        everything = {"Linf": 1.0, "L2": math.sqrt(pixels), "L1": float(pixels)}[type(threat).__name__]
        rest = float(left(attack(dataclasses.replace(threat, eps=everything, mask=None))).float().mean())
        found = f"{100 * rest:.1f} % left at ε = {everything:g}, where every image is allowed"
        check("no ε is survived for ever", rest <= BLIND, found, weak + "nothing can be robust to that")

        by_steps = {}
        for steps in STEPS if hasattr(asked, "steps") else ():
            fixed: dict[str, Any] = {"steps": steps}
            by_steps[steps] = Estimate.proportion(left(dataclasses.replace(asked, **fixed)).cpu())
    return Audit(title, tuple(checks), by_eps, by_steps)


def _with(threat: Threat, eps: float) -> Threat:
    return dataclasses.replace(threat, eps=eps)


def _gone(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """The shares of points whose gradient is zero, and is no number: NaN, infinite, or none reaches the input."""
    if not len(x):
        return 0.0, 0.0
    try:
        _, _, gradient = slope(model, x, lambda logits: cross_entropy(logits, y))
    except ValueError:
        return 0.0, 1.0
    flat = gradient.flatten(1)
    return float((flat == 0).all(1).float().mean()), float((~flat.isfinite().all(1)).float().mean())
