"""A sweep: one network for each combination of width, depth, label noise, penalty, number of examples and seed.

Members are trained many at once, in chunks that fit in memory. The chunks go through joblib, so that
`joblib.parallel_config` spreads them over processes or a cluster. With a folder, each finished member lies in a file of
its own, and a sweep that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import joblib
import torch
from torch import Tensor, nn
from tqdm.std import tqdm

from robustcourse.data import Dataset, label_noise
from robustcourse.evaluate.estimate import Estimate
from robustcourse.models import mlp
from robustcourse.sweeps.chunks import chunks, footprint
from robustcourse.sweeps.member import Member
from robustcourse.sweeps.store import CURVES, Record, Store, read
from robustcourse.sweeps.together import Curve, fit_together
from robustcourse.train.objectives import Objective, Standard
from robustcourse.train.schedules import Schedule, constant

# The threads of a process share one stream of random numbers, so one of them trains at a time.
_alone = threading.Lock()


@dataclass(frozen=True, eq=False)
class Sweep:
    """What became of M members, at T moments of their training, on N test examples.

    Args:
        members: in the order in which they were asked for.
        moments: (T,) steps that were over.
        loss: (M, T) as in `Curve`.
        fitted: (M, T) share of the training labels that are met, wrong ones included.
        hits: (M, T, N) booleans, which test examples were read right.
        retired: the moment at which a member was done, or None.
        data: as it was given, without label noise.
        weights: of each member, or the file where they are.
    """

    members: list[Member]
    moments: Tensor
    loss: Tensor
    fitted: Tensor
    hits: Tensor
    retired: list[int | None]
    data: Dataset
    weights: Sequence[Record | Path]

    def where(self, **settings: float | None) -> Sweep:
        """The members with these settings, as in `where(width=10, noise=0.2)`.

        Raises:
            ValueError: a name is no setting, or no member has these.
        """
        names = [f.name for f in fields(Member)]
        if unknown := [name for name in settings if name not in names]:
            raise ValueError(f"settings must be among {', '.join(names)}, got {', '.join(unknown)}")
        found = [m for m, member in enumerate(self.members) if settings.items() <= vars(member).items()]
        if not found:
            have = "; ".join(f"{name} {sorted({getattr(m, name) for m in self.members})}" for name in settings)
            raise ValueError(f"no member has {settings}; there are {have}")
        return replace(
            self,
            members=[self.members[m] for m in found],
            loss=self.loss[found],
            fitted=self.fitted[found],
            hits=self.hits[found],
            retired=[self.retired[m] for m in found],
            weights=[self.weights[m] for m in found],
        )

    def error(self, moment: int | None = None) -> Estimate:
        """Test error of members that differ in nothing but their seed, at one of the moments, or at the end if None.

        Raises:
            ValueError: the members differ in more, are fewer than two, or were not looked at then.
        """
        if len({replace(member, seed=0) for member in self.members}) > 1:
            raise ValueError("members must differ in nothing but their seed; choose some with where(...)")
        moments = self.moments.tolist()
        if moment is not None and moment not in moments:
            raise ValueError(f"moment must be one of {moments}, got {moment}")
        return Estimate.over_seeds(~self.hits[:, -1 if moment is None else moments.index(moment)].numpy())

    def models(self) -> list[nn.Sequential]:
        """The members as networks at the end of training, in evaluation mode, on the data's device: fresh copies."""
        models = [mlp(self.data, member.width, member.depth) for member in self.members]
        for model, weights in zip(models, self.weights, strict=True):
            record = read(weights) if isinstance(weights, Path) else weights
            model.load_state_dict({name: record[f"weights/{name}"] for name in model.state_dict()})
        return models

    def __repr__(self) -> str:
        count, seen, tests = self.hits.shape
        return f"Sweep({count} members, {seen} moments up to step {self.moments[-1]}, {tests} test examples)"


def sweep(
    members: Sequence[Member],
    data: Dataset,
    objective: Objective | None = None,
    *,
    steps: int,
    batch_size: int | None = None,
    learning_rate: float = 1e-2,
    schedule: Schedule = constant,
    retire: float | None = 1e-2,
    moments: Sequence[int] | None = None,
    folder: str | Path | None = None,
    memory: float = 2**30,
) -> Sweep:
    """Train all members, and keep what was seen on the way.

    Each ends as it would alone, within rounding, however the members are cut into chunks and wherever these run: in
    this process, or where `with joblib.parallel_config(backend=…, n_jobs=…)` says. Several workers use one thread each;
    give each a process of its own, for those in one process wait for each other.

    Args:
        members: as `grid` makes them, all different.
        data: members learn from the first examples of its training part, and are tested on its test part.
        objective, steps, batch_size, learning_rate, schedule, retire, moments: as for `fit_together`.
        folder: for one safetensors file a member, and `sweep.json` with what all of them share. All workers must see
            this folder. Members that lie there are not trained again, and later calls may add some. None: results stay
            in memory.
        memory: bytes that training may take in each worker, besides the data and the results. Members are cut into
            chunks by their `footprint`. An interruption costs the chunk that is being trained, so that less is lost
            with a smaller memory; a larger one is faster.

    Raises:
        ValueError: before anything is trained: two equal members, a number out of range, a member that alone needs more
            than `memory`, a folder of a sweep with other settings, a file that is cut off.
        OSError: a member could not be stored, as on a full disk; the same call goes on from those that are.
        FloatingPointError: a member diverged; it is named.
    """
    members = _checked(members, data)
    sizes = {member: footprint(member, data, objective, batch_size) for member in members}
    for member, size in sizes.items():
        if size > memory:
            raise ValueError(f"memory must hold each member, but {member} needs {size:.3g} bytes, got {memory:.3g}")
    settings: dict[str, Any] = {
        "objective": objective or Standard(),
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "retire": retire,
        "moments": None if moments is None else list(moments),
    }
    store = None if folder is None else Store(folder, data=data, **_fingerprints(data), **settings)
    done = {} if store is None else {member: store.read(member) for member in members if store.has(member)}
    left = [member for member in members if member not in done]

    workers = joblib.effective_n_jobs(None)
    threads = 1 if workers > 1 else torch.get_num_threads()
    cut = chunks(left, sizes, memory, workers)
    results = joblib.Parallel()(
        joblib.delayed(_train)(chunk, _first(data, chunk[0].examples), settings, store, threads)
        for chunk in tqdm(cut, desc="sweep", unit="chunk", leave=False)
    )
    weights: list[Any]
    if store is None:
        trained = {member: record for result in results for member, record in result.items()}
        records = [trained[member] for member in members]
        weights = [{name: t for name, t in record.items() if name not in CURVES} for record in records]
    else:
        if lost := [member for member in left if not store.path(member).exists()]:
            raise FileNotFoundError(f"{lost[0]} was trained, but is not in {store.folder}; all workers must see it")
        done |= {member: store.read(member) for member in left}
        weights, records = [store.path(member) for member in members], [done[member] for member in members]
    curves = {name: torch.stack([record[name] for record in records]) for name in CURVES}
    retired = [None if moment < 0 else moment for moment in curves.pop("retired").tolist()]
    return Sweep(members, curves.pop("moments")[0], **curves, retired=retired, data=data, weights=weights)


def _checked(members: Sequence[Member], data: Dataset) -> list[Member]:
    """The members, each with its number of examples."""
    if not members:
        raise ValueError("members must hold at least one member, got none")
    n = len(data.train)
    members = [replace(member, examples=n if member.examples is None else member.examples) for member in members]
    for member in members:
        if not data.classes <= (member.examples or 0) <= n:
            raise ValueError(f"examples must be in {data.classes} … {n} with {data}, got {member.examples}")
    ((member, count),) = Counter(members).most_common(1)
    if count > 1:
        raise ValueError(f"members must all be different, but {member} is there {count} times")
    return members


def _first(data: Dataset, examples: int | None) -> Dataset:
    """The data with the first training examples only: a copy, for a slice would take all of them to each worker."""
    return replace(data, train=data.train[torch.arange(examples)])  # type: ignore[arg-type]


def _train(
    members: list[Member], data: Dataset, settings: dict[str, Any], store: Store | None, threads: int
) -> dict[Member, Record]:
    """Train a chunk and store it; without a store, return it."""
    with _alone:
        # A chunk comes again if its worker was lost, perhaps after it had stored some members.
        members = [member for member in members if store is None or not store.has(member)]
        if not members:
            return {}
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        models = [mlp(data, member.width, member.depth, member.seed) for member in members]
        try:
            curves = fit_together(
                models,
                [label_noise(data, member.noise, member.seed) for member in members],
                **settings,
                penalty=[member.penalty for member in members],
                seeds=[member.seed for member in members],
            )
        except FloatingPointError as error:
            lost = "; ".join(str(members[m]) for m in getattr(error, "models", []))
            raise FloatingPointError(f"{error} ({lost})") from error
        finally:
            torch.set_num_threads(before)
        records = dict(zip(members, map(_record, models, curves), strict=True))
        if store is None:
            return records
        for member, record in records.items():
            store.write(member, record)
        return {}


def _record(model: nn.Module, curve: Curve) -> Record:
    retired = torch.tensor(-1 if curve.retired is None else curve.retired)
    record = {name: getattr(curve, name) for name in CURVES} | {"retired": retired}
    return record | {f"weights/{name}": weight.cpu() for name, weight in model.state_dict().items()}


def _fingerprints(data: Dataset) -> dict[str, str]:
    """Of images and labels: noise in labels leaves all else the same."""
    parts = {"images": (data.train.x, data.test.x), "labels": (data.train.y, data.test.y)}
    return {
        name: f"{zlib.crc32(test.cpu().numpy().tobytes(), zlib.crc32(train.cpu().numpy().tobytes())):08x}"
        for name, (train, test) in parts.items()
    }
