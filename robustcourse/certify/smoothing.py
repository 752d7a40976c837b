"""Randomized smoothing: a proof made of coin flips.

Let a model vote on many noisy copies of an image. If one class gets the share p > 1/2 of all votes, with noise of
spread σ, then no change shorter than σ Φ⁻¹(p) can take its majority away, whatever the model looks like inside. Nobody
knows p; but from the votes that were counted follows a number below it, which is wrong with probability α at most.

Source: Cohen, Rosenfeld & Kolter 2019 (arXiv:1902.02918), whose names and whose two algorithms `predict` and `certify`
are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import stats
from torch import Tensor, nn

from robustcourse.checks import check_images, check_logits, check_model, check_nonnegative

ABSTAIN = -1


@dataclass(frozen=True)
class Smoothed:
    """What a smoothed model says.

    Args:
        classes: (B,) int64; `ABSTAIN`, −1, where the votes do not decide.
        radius: (B,) float64, the L2 radius within which it says so; 0 where it abstains.
        votes: (B, classes) int64, that were counted.
    """

    classes: Tensor
    radius: Tensor
    votes: Tensor

    def certified(self, y: Tensor, radius: float = 0.0) -> Tensor:
        """Where the class is the right one, (B,) labels, and stays so within this radius: (B,) booleans."""
        return (self.classes == y) & (self.radius >= radius)


@dataclass(frozen=True, eq=False)
class smooth:
    """A model that votes on noisy copies of its input: g(x), the class that f(x + N(0, σ²)) gives most often.

    Args:
        model: f, in evaluation mode, from inputs to logits. It is given values outside of [0, 1]: train it with noise.
        sigma: σ > 0, in units of the input range.
        batch_size: copies that are looked at together, ≥ 1; it changes which noise is drawn, and memory.

    The noise is drawn in float32, as the model computes; that a proof for real numbers carries over to such noise is an
    assumption, for which counterexamples can be constructed (Voráček & Hein 2023, arXiv:2302.01186).

    Raises:
        TypeError, ValueError: model is no module or in training mode, or a number is out of range.
    """

    model: nn.Module
    sigma: float
    batch_size: int = 1000

    def __post_init__(self) -> None:
        check_model(self.model)
        if not 0 < self.sigma < float("inf"):
            raise ValueError(f"sigma must be a finite number > 0, got {self.sigma}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {self.batch_size}")

    def predict(
        self, x: Tensor, n: int = 1000, alpha: float = 0.001, generator: torch.Generator | None = None
    ) -> Smoothed:
        """The class with the most votes, where the lead over the second is no accident: "Predict" of the paper.

        Args:
            x: (B, ...) in [0, 1].
            n: votes an image, ≥ 1.
            alpha: probability at most with which an answer is not that of g, in (0, 1).
            generator: source of the noise, on the device of x; a fresh one with seed 0 if None.

        Returns:
            Classes and votes; all radii are 0. Cost: n forward passes an image.

        Raises:
            TypeError, ValueError: a wrong input.
        """
        _check(n, alpha)
        votes = self.votes(x, n, generator)
        (first, second), (top, _) = (part.T for part in votes.topk(2, 1))
        # With the two leaders equally strong, each of their votes would be the toss of a coin.
        lead = stats.binom.sf(first.cpu() - 1, (first + second).cpu(), 0.5)
        sure = torch.as_tensor(2 * lead <= alpha, device=x.device)
        return Smoothed(top.where(sure, ABSTAIN), torch.zeros(len(x), dtype=torch.float64, device=x.device), votes)

    def certify(
        self,
        x: Tensor,
        n0: int = 100,
        n: int = 10_000,
        alpha: float = 0.001,
        generator: torch.Generator | None = None,
    ) -> Smoothed:
        """A class and a radius within which g cannot change its mind: "Certify" of the paper.

        Args:
            x: (B, ...) in [0, 1].
            n0: votes an image that choose the class, ≥ 1.
            n: further votes an image that bound its share from below. The largest radius that n can show is
                σ Φ⁻¹(α^(1/n)), with a vote of one voice.
            alpha, generator: as for `predict`, for each image.

        Returns:
            Classes, radii and the n votes. Cost: n0 + n forward passes an image.

        Raises:
            TypeError, ValueError: a wrong input, or n too small to certify anything.
        """
        _check(n, alpha, n0)
        if alpha ** (1 / n) <= 0.5:
            raise ValueError(f"n={n} votes can show nothing at alpha={alpha}, not even when they agree; use more")
        generator = generator or torch.Generator(x.device).manual_seed(0)
        top = self.votes(x, n0, generator).argmax(1)
        votes = self.votes(x, n, generator)
        hits = votes.gather(1, top[:, None]).squeeze(1).cpu()
        low = torch.as_tensor(_at_least(hits, n, alpha), dtype=torch.float64)
        radius = (self.sigma * torch.special.ndtri(low)).clamp_min(0).to(x.device)
        return Smoothed(top.where(radius > 0, ABSTAIN), radius, votes)

    def reaches(
        self,
        x: Tensor,
        radius: float,
        n0: int = 100,
        n: int = 100_000,
        alpha: float = 0.001,
        generator: torch.Generator | None = None,
    ) -> Smoothed:
        """Whether g keeps its class within one given radius: most images tell so after a few of the n votes.

        The count is looked at after 100 votes, and each time that it has doubled. Each look may err with its share of
        α, so that all of them together certify wrongly with probability α at most, whenever one settles the matter.

        Args:
            x: (B, ...) in [0, 1].
            radius: in L2, ≥ 0.
            n0, n, alpha, generator: as for `certify`; n is where it gives up.

        Returns:
            Classes and the radius, or `ABSTAIN` and 0; and the votes that were needed.

        Raises:
            TypeError, ValueError: a wrong input.
        """
        _check(n, alpha, n0)
        check_nonnegative("radius", radius)
        generator = generator or torch.Generator(x.device).manual_seed(0)
        top = self.votes(x, n0, generator).argmax(1)
        needed = float(stats.norm.cdf(radius / self.sigma))
        looks = sorted({*(100 * 2**k for k in range(n.bit_length()) if 100 * 2**k < n), n})
        share = alpha / len(looks)
        counted, proved = [], []
        for image, name in zip(x, top, strict=True):
            votes, asked, low, high = torch.zeros(0), 0, 0.0, 1.0
            for look in looks:
                more = self.votes(image[None], look - asked, generator)[0]
                votes, asked = votes + more if asked else more, look
                hits = int(votes[name])
                low, high = _at_least(hits, look, share), 1 - _at_least(look - hits, look, share)
                if low > needed or high < needed:
                    break
            counted.append(votes)
            proved.append(low > needed)
        sure = torch.tensor(proved, device=x.device)
        reached = sure.to(torch.float64) * radius
        return Smoothed(top.where(sure, ABSTAIN), reached, torch.stack(counted))

    @torch.no_grad()
    def votes(self, x: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
        """How often each class is named in n noisy looks at each image: (B, ...) to (B, classes) int64."""
        check_images(x)
        generator = generator or torch.Generator(x.device).manual_seed(0)
        counted = []
        for image in x:
            named = []
            for copies in torch.full((n,), 1).split(self.batch_size):
                noise = torch.empty(len(copies), *image.shape, dtype=x.dtype, device=x.device)
                noisy = noise.normal_(0, self.sigma, generator=generator).add_(image)
                logits = self.model(noisy)
                check_logits(logits, noisy)
                named.append(logits.argmax(1))
            counted.append(torch.bincount(torch.cat(named), minlength=logits.shape[1]))
        return torch.stack(counted)


def _at_least(hits: ArrayLike, n: int, alpha: float) -> Any:
    """The least probability at which so many hits of n are not rarer than α (Clopper & Pearson 1934)."""
    hits = np.asarray(hits)
    return np.where(hits > 0, stats.beta.ppf(alpha, np.maximum(hits, 1), n - hits + 1), 0.0)[()]


def _check(n: int, alpha: float, n0: int = 1) -> None:
    for name, number in {"n": n, "n0": n0}.items():
        if number < 1:
            raise ValueError(f"{name} must be >= 1, got {number}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
