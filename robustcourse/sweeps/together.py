"""Training many models at once, each as if it were alone.

The losses of all models are added, so the gradient of each model's weights is that of its own loss. Each has its own
labels, order of examples and random starts. One that has learned its examples by heart has nothing left to learn: it
retires, and the others go on faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.std import trange

from robustcourse.attacks import Attack
from robustcourse.checks import check_labels, check_nonnegative
from robustcourse.data import Dataset, Split
from robustcourse.runtime import seeded, stream
from robustcourse.sweeps.ensemble import Ensemble
from robustcourse.train.fit import ADAM
from robustcourse.train.objectives import Objective, Standard
from robustcourse.train.schedules import Schedule, constant

LOOK = 1024  # test examples at a time


@dataclass(frozen=True)
class Curve:
    """What was seen of one model at T moments of its training. Once it has retired, it stays as it is.

    Args:
        moments: (T,) steps that were over.
        loss: (T,) mean cross-entropy of the training examples as the method sees them: attacked, if it attacks.
        fitted: (T,) share of these that the model reads as their labels say, wrong labels included.
        hits: (T, N) booleans, which test examples it reads right.
        retired: the moment at which it was done, or None.
    """

    moments: Tensor
    loss: Tensor
    fitted: Tensor
    hits: Tensor
    retired: int | None


def moments_of(steps: int) -> list[int]:
    """Twelve moments a decade, from the first step to the last: enough for a curve on a logarithmic axis."""
    return sorted({round(m) for m in np.geomspace(1, steps, 1 + math.ceil(12 * math.log10(steps)))})


def fit_together(
    models: Sequence[nn.Module],
    data: Dataset | Sequence[Dataset],
    objective: Objective | None = None,
    *,
    steps: int,
    batch_size: int | None = None,
    learning_rate: float = 1e-2,
    optimizer: Callable[..., torch.optim.Optimizer] = ADAM,
    schedule: Schedule = constant,
    penalty: float | Sequence[float] = 0.0,
    retire: float | None = 1e-2,
    moments: Sequence[int] | None = None,
    seeds: int | Sequence[int] = 0,
) -> list[Curve]:
    """Train models in place, all at once. Each ends as it would alone, within rounding.

    For a method that draws nothing at random, "alone" also means `fit` with the same settings.

    Args:
        models: networks as `mlp` makes them, of any widths and depths; those of like size next to each other.
        data: one data set for all, or one a model, all with as many training examples and the same test examples.
        objective: the training method, a mean over examples that asks the model for nothing but logits; `Standard()` if
            None.
        steps: of the optimizer, ≥ 1.
        batch_size: examples a step for each model, ≥ 1; all of them if None.
        learning_rate: what `schedule` multiplies, > 0.
        optimizer: (parameters, lr=…) to one that treats each weight by itself, as Adam and SGD do.
        schedule: the share of training that is over to the factor of the learning rate.
        penalty: λ ≥ 0 in the penalty λ/2 ‖θ‖² of all weights and biases, for all models or one for each.
        retire: a model is done when its loss at a moment is below this. None: never.
        moments: steps after which the models are looked at, ascending, the last one `steps`; `moments_of(steps)` if
            None.
        seeds: of each model's order of examples and random choices, or one for all.

    Raises:
        TypeError: a model that is none from `mlp`.
        ValueError: a number out of range, data that do not fit, or a method that replays batches.
        FloatingPointError: a model diverged; its number is said.
    """
    count = len(models)
    sets = [data] * count if isinstance(data, Dataset) else list(data)
    penalties = [float(penalty)] * count if isinstance(penalty, (int, float)) else list(penalty)
    seeds = [seeds] * count if isinstance(seeds, int) else list(seeds)
    now = objective = objective or Standard()
    _check(count, sets, penalties, seeds, steps, batch_size=batch_size, learning_rate=learning_rate, retire=retire)
    if getattr(objective, "replays", 1) > 1:
        raise ValueError(f"objective must take one step a batch, got {objective}")
    moments = list(moments or moments_of(steps))
    if moments != sorted({m for m in moments if m >= 1}) or moments[-1] != steps:
        raise ValueError(f"moments must ascend from 1 or later to steps={steps}, got {moments}")

    cohort = _Cohort(models, sets, penalties, seeds, batch_size, partial(optimizer, lr=learning_rate))
    loss, fitted = torch.zeros(2, count, len(moments))
    hits = torch.zeros(count, len(moments), len(sets[0].test), dtype=torch.bool)
    retired: list[int | None] = [None] * count
    with seeded(0):  # for what a method draws that is no model's own
        for step in trange(steps, desc=f"{count} models", leave=False):
            if hasattr(objective, "at") and step % cohort.batches == 0:
                now = objective.at(step / steps)
            cohort.step(now, step, learning_rate * schedule(step / steps))
            if step + 1 not in moments:
                continue
            t, present, seen = moments.index(step + 1), cohort.present, cohort.look(now, step)
            for table, values in zip((loss, fitted, hits), seen, strict=True):
                table[present, t:] = values.cpu()[:, None]  # later too, for those that retire
            done = loss[present, t] < (retire or 0.0)
            for m in present[done].tolist():
                retired[m] = step + 1
            if done.any() and not cohort.keep(~done):
                break
    cohort.ensemble.write()
    return [Curve(torch.tensor(moments), loss[m], fitted[m], hits[m], retired[m]) for m in range(count)]


def hits_together(
    models: Sequence[nn.Module], split: Split, attack: Attack | None = None, batch_size: int = 256
) -> Tensor:
    """Which examples each model reads right, (M, N) booleans, as they are or under an attack.

    Args:
        models: as for `fit_together`.
        split: the examples, on the models' device.
        attack: one that keeps all points to its end, as PGD without restarts. Each model meets the attack that it would
            meet alone, random starts included.
        batch_size: examples at a time, ≥ 1.

    Raises:
        TypeError, ValueError: a model that is none from `mlp`, an attack that lets points go, or batch_size < 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    ensemble, found = Ensemble(models).eval(), []
    for x, y in zip(split.x.split(batch_size), split.y.split(batch_size), strict=True):
        if attack is not None:
            starts = [torch.Generator(x.device).manual_seed(0) for _ in models]  # as an attack has by itself
            with ensemble.rows(x, starts) as rows:
                x = attack(ensemble, rows, y.repeat(len(models))).unflatten(0, (len(models), len(y)))
        with torch.no_grad():
            found.append(ensemble.each(x).argmax(1) == y)
    return torch.cat(found, 1).cpu()


class _Cohort:
    """The models that still train, and what belongs to each: all lists and all first axes are in their order."""

    def __init__(
        self,
        models: Sequence[nn.Module],
        sets: Sequence[Dataset],
        penalties: Sequence[float],
        seeds: Sequence[int],
        batch_size: int | None,
        optimizer: Callable[..., torch.optim.Optimizer],
    ) -> None:
        self.ensemble, self.make = Ensemble(models).eval(), optimizer
        self.optimizer = optimizer(self.ensemble.parameters())
        self.present = torch.arange(len(models))
        parts, self.test = [one.train for one in sets], sets[0].test
        self.shared = all(part.x is parts[0].x for part in parts)  # label noise leaves the images alone
        self.x = parts[0].x if self.shared else torch.stack([part.x for part in parts])  # (n, …) or (M, n, …)
        self.y = torch.stack([part.y for part in parts])  # (M, n)
        self.n = self.y.shape[1]
        self.size = min(batch_size or self.n, self.n)
        self.batches = math.ceil(self.n / self.size)
        self.penalties = torch.tensor(penalties, device=self.y.device)
        self.seeds = list(seeds)
        self.orders = [torch.Generator().manual_seed(seed) for seed in seeds]  # as in `fit`
        self.draws = self._streams("draws")
        self.order = torch.empty(len(models), 0, dtype=torch.long)  # of this epoch

    def step(self, objective: Objective, step: int, learning_rate: float) -> None:
        """One step of the optimizer, for every model on a batch of its own."""
        x, y = self._batch(step % self.batches)
        if isinstance(objective, Standard):  # the usual case, in the layout that is fastest
            loss = objective(self.ensemble.each, x, y)  # type: ignore[arg-type]
        else:
            with self._finite(step), self.ensemble.rows(x, self.draws) as rows:
                loss = objective(self.ensemble, rows, y.flatten())
        loss = len(self.ensemble) * loss
        if self.penalties.any():
            loss = loss + (self.penalties / 2 * self.ensemble.square_norms()).sum()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def look(self, objective: Objective, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Loss (M,) and fit (M,) of the training examples as the method sees them, and hits (M, N) on the test ones."""
        losses, met, hits = [], [], []
        draws = self._streams("look")  # of its own: what is drawn in training is no matter of when one looks
        for index in torch.arange(self.n, device=self.y.device).split(self.size):
            x, y = self.x[index] if self.shared else self.x[:, index], self.y[:, index]
            if hasattr(objective, "worst"):
                with self._finite(step), self.ensemble.rows(x, draws) as rows:
                    x = objective.worst(self.ensemble, rows, y.flatten()).unflatten(0, y.shape)
            with torch.no_grad():
                logits = self.ensemble.each(x)
            losses.append(F.cross_entropy(logits, y, reduction="none"))
            met.append(logits.argmax(1) == y)
        with torch.no_grad(), self._finite(step):
            for x, y in zip(self.test.x.split(LOOK), self.test.y.split(LOOK), strict=True):
                hits.append(self.ensemble.each(x).argmax(1) == y)
        return torch.cat(losses, 1).mean(1), torch.cat(met, 1).float().mean(1), torch.cat(hits, 1)

    def keep(self, which: Tensor) -> int:
        """Write down what all have learned, and let all go but these, (M,). Returns how many are left."""
        self.ensemble.write()
        rows, memory = which.to(self.y.device), self.optimizer.state
        moved = self.ensemble.keep(rows)
        self.present = self.present[which]
        if not len(self.present):
            return 0
        self.optimizer = self.make(self.ensemble.parameters())
        for old, new, kept in moved:
            if len(new):
                # What has the shape of the weights belongs to them; the rest, as the number of steps, to all.
                state = {name: v[kept] if v.shape == old.shape else v for name, v in memory[old].items()}
                self.optimizer.state[new] = state
        self.x = self.x if self.shared else self.x[rows]
        self.y, self.penalties, self.order = self.y[rows], self.penalties[rows], self.order[rows]
        for name in ("seeds", "orders", "draws"):
            setattr(self, name, [one for one, stays in zip(getattr(self, name), which.tolist(), strict=True) if stays])
        return len(self.present)

    def _batch(self, at: int) -> tuple[Tensor, Tensor]:
        if self.batches == 1:
            return self.x, self.y
        if at == 0:
            orders = [torch.randperm(self.n, generator=order) for order in self.orders]
            self.order = torch.stack(orders).to(self.y.device)
        index = self.order[:, at * self.size : (at + 1) * self.size]
        x = self.x[index] if self.shared else self.x[torch.arange(len(index), device=index.device)[:, None], index]
        return x, self.y.gather(1, index)

    def _streams(self, purpose: str) -> list[torch.Generator]:
        return [stream(f"{purpose}, {seed}", self.y.device) for seed in self.seeds]

    @contextmanager
    def _finite(self, step: int) -> Iterator[None]:
        """Say which models have diverged, rather than how somebody stumbled over them."""
        try:
            yield
            error = None
        except ValueError as refused:  # an attack wants logits that are numbers
            error = refused
        ill = ~self.ensemble.square_norms().isfinite()
        if ill.any():
            who = self.present[ill.cpu()].tolist()
            said = f"models {', '.join(map(str, who))} diverged before step {step + 1}; lower learning_rate"
            diverged = FloatingPointError(said)
            diverged.models = who  # type: ignore[attr-defined]
            raise diverged from error
        if error is not None:
            raise error


def _check(
    count: int,
    sets: Sequence[Dataset],
    penalties: Sequence[float],
    seeds: Sequence[int],
    steps: int,
    **more: float | None,
) -> None:
    for name, number in {"steps": steps, "batch_size": more["batch_size"]}.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} must be >= 1, got {number}")
    for name, values in {"data": sets, "penalty": penalties, "seeds": seeds}.items():
        if len(values) != count:
            raise ValueError(f"{name} must be one for all or one for each of the {count} models, got {len(values)}")
    if not 0 < (rate := more["learning_rate"] or 0.0) < math.inf:
        raise ValueError(f"learning_rate must be a finite number > 0, got {rate}")
    for penalty in penalties:
        check_nonnegative("penalty", penalty)
    if (retire := more["retire"]) is not None:
        check_nonnegative("retire", retire)
    for m, one in enumerate(sets):
        check_labels(one.train.y, one.train.x, one.classes)
        if one.train.x.shape != sets[0].train.x.shape or one.test.x is not sets[0].test.x:
            raise ValueError(
                "data must have as many training examples for each model and the same test part, "
                f"but {one} of model {m} and {sets[0]} of model 0 differ"
            )
