"""Votes as a certificate: what they prove, and what they cannot tell, for each example of a split.

A vote knows when it is sure. If the question is one radius, most examples are decided after a few hundred votes.

Sources: Cohen, Rosenfeld & Kolter 2019 (arXiv:1902.02918); bounds that hold at every look, by sharing out α among the
looks (Bonferroni).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor, nn

from robustcourse.certify.smoothing import check_noise, check_votes, doubling, smooth
from robustcourse.certify.verdict import FALSIFIED, UNKNOWN, VERIFIED, Verdict, verdict
from robustcourse.checks import check_images, check_labels
from robustcourse.threats import Threat


@dataclass(frozen=True)
class Votes:
    """A certificate for the smoothed model g: `verify(model, split, Votes(0.25), L2(0.5))`.

    *Verified*: g gives the right class, and its radius exceeds ε. *Falsified*: g gives another class to x itself, which
    is the witness. All else is unknown. The gap is radius − ε.

    Both verdicts follow from one bound, on the share of a class that other votes have chosen, which is wrong with
    probability `alpha` at most. That is each example's own risk: among 10,000 verified ones, 10 may be none at 0.001.

    Votes know balls in L2 only. An L1 ball lies within the one of the same ε, and a box of L∞ within one that is √d
    times as large, for d pixels that are free to change: 8 on digits, 28 on MNIST, 55 on CIFAR-10. That is the price.

    Args:
        sigma, batch_size, shared: as for `smooth`.
        n0, n, alpha: as for `smooth.certify`; a share p of the votes is enough for ε where σ Φ⁻¹(p) > ε, and n is where
            it gives up. The largest radius that n can show is near σ Φ⁻¹(α^(1/n)), 0.8 at σ = 0.25 and n = 10,000.
        seed: of the noise, together with the images of the batch: the same call gives the same verdict.
        early: stop as soon as an example is decided, as `smooth.reaches` does. The gap is then what was known by that
            time. False: give all n votes to each, for the largest radius.

    Cost: n0 + n forward passes an example at most.

    Raises:
        ValueError: a number is out of range, or n too small to show anything.
    """

    sigma: float
    n0: int = 100
    n: int = 10_000
    alpha: float = 0.001
    seed: int = 0
    early: bool = True
    batch_size: int = 1000
    shared: bool = False

    def __post_init__(self) -> None:
        check_noise(self.sigma, self.batch_size)
        check_votes(self.n, self.alpha, self.n0, bounding=True)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> Verdict:
        """(model, x, y, threat) to a verdict on each of the B examples. Raises: as `smooth.certify`."""
        check_images(x)
        check_labels(y, x)
        g, generator = smooth(model, self.sigma, self.batch_size, self.shared), stream(x, self.seed)
        eps, first = threat.length(x), g.votes(x, self.n0, generator)
        check_labels(y, x, classes=first.shape[1])
        top = first.argmax(1)
        right = (top == y).cpu()
        enough = torch.full(y.shape, float(stats.norm.cdf(eps / self.sigma)), dtype=torch.float64).where(right, 0.5)
        low, _ = g.bound(x, top, enough, doubling(self.n) if self.early else [self.n], self.alpha, generator)
        status = torch.where(right, VERIFIED, FALSIFIED).where(low > enough, UNKNOWN).to(x.device)
        radius = (self.sigma * torch.special.ndtri(low)).clamp_min(0).where(right, 0).to(x.device)
        return verdict(status, radius - eps, x, torch.ones_like(y), self, threat)


def stream(x: Tensor, seed: int) -> torch.Generator:
    """A source of noise that a seed and the images decide: a run that is interrupted goes on as if it had not been."""
    digest = hashlib.sha256(str(seed).encode() + x.detach().cpu().contiguous().numpy().tobytes()).digest()
    return torch.Generator(x.device).manual_seed(int.from_bytes(digest[:4], "big"))  # on the CPU it knows 32 bits
