"""An evaluation in full: which attack broke how many points, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from robustcourse.attacks import Attack
from robustcourse.attacks.attack import likeliest, misread, query
from robustcourse.attacks.chain import links, stopping
from robustcourse.checks import check_images, check_model, check_untargeted
from robustcourse.data import Split
from robustcourse.evaluate.estimate import Estimate
from robustcourse.runtime import seeded


@dataclass
class Passes:
    """Examples that went through a model: forward, and with a gradient back to the input."""

    forward: int = 0
    backward: int = 0


@contextmanager
def counting(model: nn.Module) -> Iterator[Passes]:
    """Count the passes through a model, whoever asks: `with counting(model) as passes: ...`."""
    passes = Passes()

    def back(gradient: Tensor) -> None:
        passes.backward += len(gradient)

    def seen(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        passes.forward += len(inputs[0])
        if inputs[0].requires_grad:
            inputs[0].register_hook(back)

    hook = model.register_forward_pre_hook(seen)
    try:
        yield passes
    finally:
        hook.remove()


@dataclass(frozen=True)
class Stage:
    """One attack of an evaluation.

    Args:
        name: the attack, with the settings that are not its defaults.
        tried, fell: points that it was given, and those it broke.
        forward, backward: passes of the model, counted in examples.
        seconds: of the clock on the wall.
    """

    name: str
    tried: int
    fell: int
    forward: int
    backward: int
    seconds: float


@dataclass(frozen=True)
class Report:
    """What is left of a model after an attack, or a chain of them. It prints as a table.

    Args:
        threat: the set that was searched, in words.
        right: (N,) booleans: read right clean and under every attack.
        x_adv: (N, ...) the last point that an attack returned for each example; the image itself where none was tried.
        clean: accuracy without an attack.
        stages: one an attack, in order.
        note: what the chain says of itself, and a warning where breaks do not repeat.
    """

    threat: str
    right: Tensor
    x_adv: Tensor
    clean: Estimate
    stages: tuple[Stage, ...]
    note: str

    @property
    def accuracy(self) -> Estimate:
        """Robust accuracy: an upper bound, for a better attack may break more."""
        return Estimate.proportion(self.right.cpu())

    def __str__(self) -> str:
        width = max(len(name) for name in ("robust accuracy", *(stage.name for stage in self.stages)))
        lines = [f"{self.threat:<{width}}{'tried':>8}{'fell':>6}{'forward':>11}{'backward':>11}{'seconds':>9}"]
        lines += [
            f"{s.name:<{width}}{s.tried:>8}{s.fell:>6}{s.forward:>11,}{s.backward:>11,}{s.seconds:>9.1f}"
            for s in self.stages
        ]
        lines += [f"{'clean accuracy':<{width}}  {self.clean}", f"{'robust accuracy':<{width}}  {self.accuracy}"]
        return "\n".join([*lines, *([self.note] if self.note else [])])

    __repr__ = __str__


def report(
    model: nn.Module, split: Split, attack: Attack | None = None, batch_size: int = 1024, seed: int = 0
) -> Report:
    """Attack every example, link after link of a chain, and keep the books.

    Args:
        model: in evaluation mode.
        split: the examples, on the model's device.
        attack: searches its threat set around every example; not a targeted one. None: clean accuracy alone.
        batch_size: examples at a time, ≥ 1; with it change the random starts that each example gets.
        seed: of the attacks' random starts, and of the model if it is random; the global random state stays.

    Raises:
        TypeError, ValueError: a wrong input, or an attack that left its threat set.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    check_model(model)
    check_untargeted(attack)
    generator = torch.Generator(split.x.device).manual_seed(seed)
    x_adv, stages = split.x.clone(), []
    with seeded(seed):
        batches = torch.arange(len(split.x), device=split.x.device).split(batch_size)
        right = torch.cat([_reads(model, split.x[index], split.y[index]) for index in batches])
        readable, clean = right.clone(), Estimate.proportion(right.cpu())
        for link in () if attack is None else links(attack):
            left, start = right.nonzero().squeeze(1), time.perf_counter()
            with counting(model) as passes:
                for index in left.split(batch_size) if len(left) else ():
                    x, y = split.x[index], split.y[index]
                    found = stopping(link)(model, x, y, generator=generator)
                    _check_allowed(link, x, found)
                    x_adv[index], right[index] = found, _reads(model, found, y)
            seconds = time.perf_counter() - start
            fell = len(left) - int(right.sum())
            stages.append(Stage(name(link), len(left), fell, passes.forward, passes.backward, seconds))
        note = getattr(attack, "note", "")
        if stages:
            # A model that answers at random is judged afresh: each attack had its chance of a lucky draw.
            logits = torch.cat([_answers(model, x_adv[index], split.y[index]) for index in batches])
            again = readable & (logits.argmax(1) == split.y)
            rounding = ~misread(logits, likeliest(logits, split.y, 1)[0])  # a tie falls this way or that
            if luck := int((again & ~right & ~rounding).sum()):
                warning = f"{luck} breaks did not repeat: the model is random; see `audit`, and AutoAttack's 'rand'"
                note = f"{note}\n{warning}".strip()
            right = again
    return Report(str(getattr(attack, "threat", "no attack")), right, x_adv, clean, tuple(stages), note)


def _reads(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return _answers(model, x, y).argmax(1) == y


def _answers(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    check_images(x)
    return query(model, x, y)


def _check_allowed(attack: Attack, x: Tensor, x_adv: Tensor) -> None:
    """A model must not be called broken by a change that the threat does not allow."""
    check_images(x_adv)
    farthest = float(attack.threat.distance(x, x_adv).max())
    if farthest > attack.threat.eps + 1e-5 * max(1, attack.threat.eps):
        raise ValueError(f"attack left its threat set {attack.threat}: it moved an input by {farthest:.4g}; project it")
    if attack.threat.free(x_adv - x).ne(x_adv - x).any():
        raise ValueError(f"attack left its threat set {attack.threat}: it changed what the mask protects")


def name(attack: Attack) -> str:
    """The attack with the settings that are not its defaults."""
    settings = []
    for field in fields(attack) if hasattr(attack, "__dataclass_fields__") else ():
        value = getattr(attack, field.name)
        if field.name != "threat" and value is not field.default and value != field.default:
            said = name(value) if isinstance(value, Attack) else getattr(value, "__name__", value)
            settings.append(f"{field.name}={said}")
    return f"{type(attack).__name__}({', '.join(settings)})"
