"""What is known of an example: that nothing can change its answer, that something does, or neither.

There is no fourth answer, and the third is no shame: bounds may be too loose, votes too few, time too short. One type
holds the verdicts of all certificates, whether they are proofs by bounds, by branching, or by votes.

Certified accuracy, the share of *verified* examples, is a lower bound of the robust accuracy; accuracy under an attack
is an upper one, and so is the share that is not *falsified*.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from robustcourse.data import Split
from robustcourse.evaluate import Estimate
from robustcourse.files import replacing
from robustcourse.runtime import described
from robustcourse.threats import Threat

VERIFIED, FALSIFIED, UNKNOWN = 1, -1, 0
NAMES = ("verified", "falsified", "unknown")
TENSORS = ("status", "gap", "witness", "branches", "seconds")
# Bounds are computed with the numbers of the model, and so are its answers. Rounding moves both, by some units in the
# last place of the largest logit; a bound counts as a proof only if it is above zero by far more than that.
ROUNDING = 1000


@dataclass(frozen=True)
class Verdict:
    """What is known of N examples, and how it became known.

    Args:
        status: (N,) int8, `VERIFIED`, `FALSIFIED` or `UNKNOWN`, which are 1, −1 and 0.
        gap: (N,) float64, how far the proof holds, in units of the certificate: for bounds the lowest margin that is
            possible as far as they know, for votes by how much the certified radius exceeds ε.
        witness: (N, ...) where falsified, an input of the threat set that is misread; elsewhere x itself.
        branches: (N,) int64, in how many parts the threat set was cut.
        seconds: (N,) float64, each one's share of the time that its batch took, of the clock on the wall.
        method: the certificate, in words.
        threat: the set of allowed perturbations, in words: norm and ε.
        alpha: probability at most with which a single verified example is none; 0 for proofs without chance.
    """

    status: Tensor
    gap: Tensor
    witness: Tensor
    branches: Tensor
    seconds: Tensor
    method: str
    threat: str
    alpha: float = 0.0

    @property
    def verified(self) -> Tensor:
        """(N,) booleans."""
        return self.status == VERIFIED

    @property
    def falsified(self) -> Tensor:
        """(N,) booleans."""
        return self.status == FALSIFIED

    @property
    def unknown(self) -> Tensor:
        """(N,) booleans."""
        return self.status == UNKNOWN

    @property
    def dtype(self) -> torch.dtype:
        """The numbers that model and proof were computed with."""
        return self.witness.dtype

    def __len__(self) -> int:
        return len(self.status)

    def __add__(self, other: Verdict) -> Verdict:
        """These examples, and then those."""
        both: dict[str, Any] = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in TENSORS}
        return replace(self, **both)

    def __str__(self) -> str:
        by_chance = f", each proof wrong with probability {self.alpha} at most" if self.alpha else ""
        lines = [f"{self.method}, {self.threat}, {self.dtype}{by_chance}"]
        lines += [f"{name:<10}{Estimate.proportion(getattr(self, name).cpu())}" for name in NAMES]
        branches, seconds = int(self.branches.sum()), float(self.seconds.sum())
        lines.append(f"branches  {branches:,}, seconds {seconds:.1f}")
        if self.unknown.any():
            lines.append(f"of the unknown, the lowest gap is {float(self.gap[self.unknown].min()):.3g}")
        return "\n".join(lines)

    __repr__ = __str__


# (model, x, y, threat) to lower bounds of the margins, (B, classes); or to a verdict.
Certificate = Callable[[nn.Module, Tensor, Tensor, Threat], Tensor | Verdict]


def verify(
    model: nn.Module,
    split: Split,
    certificate: Certificate,
    threat: Threat,
    *,
    batch_size: int = 256,
    store: str | Path | None = None,
) -> Verdict:
    """Ask a certificate about every example.

    Args:
        model: in evaluation mode.
        split: the examples, on the model's device.
        certificate: a bound, as `crown`, or what says more, as `BranchAndBound()` and `Votes(0.25)`.
        threat: the set of allowed perturbations.
        batch_size: examples at a time, ≥ 1.
        store: a file that holds what is known after every batch. If it is there already, the run goes on from it.

    Raises:
        TypeError, ValueError: a wrong input, a layer without bounds, or a store that is corrupt or of another run.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    key = "" if store is None else _key(model, split, certificate, threat, batch_size)
    done = None if store is None else _read(Path(store), key)
    for at in torch.arange(len(split), device=split.x.device).split(batch_size):
        if done is not None and at[-1] < len(done):
            continue
        found = _asked(model, split.x[at], split.y[at], certificate, threat)
        done = found if done is None else done + found
        if store is not None:
            _write(done, Path(store), key)
    assert done is not None  # a split has examples
    return done


def certified(
    model: nn.Module, split: Split, certificate: Certificate, threat: Threat, batch_size: int = 256
) -> Tensor:
    """Which examples are verified, (N,) booleans. Arguments and errors are those of `verify`."""
    return verify(model, split, certificate, threat, batch_size=batch_size).verified


def certified_accuracy(
    model: nn.Module, split: Split, certificate: Certificate, threat: Threat, batch_size: int = 256
) -> Estimate:
    """Share of verified examples: a lower bound of the robust accuracy. Arguments and errors are those of `verify`."""
    return Estimate.proportion(certified(model, split, certificate, threat, batch_size).cpu())


def slack(logits: Tensor) -> Tensor:
    """What a bound must exceed to be a proof in floating point, (B,), for logits (B, classes)."""
    return ROUNDING * torch.finfo(logits.dtype).eps * logits.abs().amax(1)


@torch.no_grad()
def _asked(model: nn.Module, x: Tensor, y: Tensor, certificate: Certificate, threat: Threat) -> Verdict:
    start = time.perf_counter()
    found = certificate(model, x, y, threat)
    if not isinstance(found, Verdict):
        logits = model(x)
        gap = found.scatter(1, y[:, None], torch.inf).amin(1)
        # An image that is misread as it is needs no attack.
        status = torch.where(gap > slack(logits), VERIFIED, UNKNOWN).where(logits.argmax(1) == y, FALSIFIED)
        found = verdict(status, gap, x, torch.ones_like(y), certificate, threat)
    seconds = torch.full((len(x),), (time.perf_counter() - start) / len(x), dtype=torch.float64, device=x.device)
    return replace(found, seconds=seconds)


def verdict(
    status: Tensor, gap: Tensor, witness: Tensor, branches: Tensor, certificate: Certificate, threat: Threat
) -> Verdict:
    """A verdict that knows who gave it. Its seconds are NaN; `verify` fills them in."""
    seconds = torch.full_like(gap, torch.nan, dtype=torch.float64)
    method, alpha = getattr(certificate, "__name__", described(certificate)), getattr(certificate, "alpha", 0.0)
    return Verdict(status.to(torch.int8), gap.double(), witness, branches, seconds, method, str(threat), alpha)


def _write(done: Verdict, path: Path, key: str) -> None:
    how = {"key": key, "method": done.method, "threat": done.threat, "alpha": str(done.alpha)}
    with replacing(path) as file:
        save_file({name: getattr(done, name).contiguous() for name in TENSORS}, file, how)


def _read(path: Path, key: str) -> Verdict | None:
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            how, tensors = file.metadata(), {name: file.get_tensor(name) for name in TENSORS}
            done = Verdict(**tensors, method=how["method"], threat=how["threat"], alpha=float(how["alpha"]))
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"store {path} is cut off or no store; delete it to start again") from error
    if how["key"] != key:
        raise ValueError(
            f"store {path} is of another run: model, examples, certificate, threat or batch_size differ; "
            "delete it, or give another path"
        )
    return done


def _key(model: nn.Module, split: Split, certificate: Certificate, threat: Threat, batch_size: int) -> str:
    digest = hashlib.sha256(described((model, certificate, threat, batch_size)).encode())
    mask = [] if threat.mask is None else [threat.mask]
    for tensor in (*model.state_dict().values(), split.x, split.y, *mask):
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
