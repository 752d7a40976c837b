"""Randomized smoothing: a proof made of coin flips.

Let a model vote on many noisy copies of an image. If one class gets the share p > 1/2 of all votes, with noise of
spread σ, then no change shorter than σ Φ⁻¹(p) can take its majority away, whatever the model looks like inside. Nobody
knows p; but from the votes that were counted follows a number below it, which is wrong with probability α at most.

Source: Cohen, Rosenfeld & Kolter 2019 (arXiv:1902.02918), whose names and whose two algorithms `predict` and `certify`
are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import stats
from torch import Tensor, nn

from robustcourse.checks import check_images, check_logits, check_model, check_nonnegative
from robustcourse.models import Normalize

ABSTAIN = -1
# Layers for which layer(x + noise) is layer(x) + layer(noise) − layer(0).
AFFINE = (
    nn.Flatten,
    nn.Linear,
    nn.Conv2d,
    nn.BatchNorm2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Dropout,
    nn.Identity,
    Normalize,
)


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

    def reach(self, y: Tensor) -> Tensor:
        """How far the right class, (B,) labels, is certified: (B,), 0 where it is not. `robustness_curve` takes it."""
        return self.radius.where(self.classes == y, 0)


@dataclass(frozen=True, eq=False)
class smooth:
    """A model that votes on noisy copies of its input: g(x), the class that f(x + N(0, σ²)) gives most often.

    Args:
        model: f, in evaluation mode, from inputs to logits. It is given values outside of [0, 1]: train it with noise.
        sigma: σ > 0, in units of the input range.
        batch_size: copies that are looked at together, ≥ 1; it changes which noise is drawn, and memory.
        shared: all images of a call see the same noise, which then passes the affine layers at the beginning of an
            nn.Sequential only once. A certificate is worth as much as with noise of its own. But they fail together:
            an unlucky draw is one for every image, so that the number of failures in a batch varies more than that of
            as many coins. And W x + W noise is W (x + noise) up to rounding only, which a near tie can notice.

    The noise is drawn in float32, as the model computes; that a proof for real numbers carries over to such noise is an
    assumption, for which counterexamples can be constructed (Voráček & Hein 2022, arXiv:2207.07209).

    Raises:
        TypeError, ValueError: model is no module or in training mode, or a number is out of range.
    """

    model: nn.Module
    sigma: float
    batch_size: int = 1000
    shared: bool = False

    def __post_init__(self) -> None:
        check_model(self.model)
        check_noise(self.sigma, self.batch_size)

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
        check_votes(n, alpha)
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
        check_votes(n, alpha, n0, bounding=True)
        generator = generator or _fresh(x)
        top = self.votes(x, n0, generator).argmax(1)
        low, votes = self.bound(x, top, torch.full((len(x),), 0.5), [n], alpha, generator)
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
        check_votes(n, alpha, n0, bounding=True)
        check_nonnegative("radius", radius)
        generator = generator or _fresh(x)
        top = self.votes(x, n0, generator).argmax(1)
        needed = torch.full((len(x),), float(stats.norm.cdf(radius / self.sigma)), dtype=torch.float64)
        low, votes = self.bound(x, top, needed, doubling(n), alpha, generator)
        sure = (low > needed).to(x.device)
        return Smoothed(top.where(sure, ABSTAIN), sure.to(torch.float64) * radius, votes)

    def bound(
        self, x: Tensor, top: Tensor, needed: Tensor, looks: Sequence[int], alpha: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """What share of all votes each image's class has at least; asked until it is known whether that is enough.

        Args:
            x: (B, ...) in [0, 1].
            top: (B,) the classes, chosen before and by other votes.
            needed: (B,) the share that would be enough.
            looks: after how many votes to count, rising.
            alpha: probability at most, for each image, with which its bound is wrong at any of the looks.
            generator: source of the noise.

        Returns:
            (B,) float64 on the CPU, lower bounds; and (B, classes) votes, of as many as were needed.
        """
        low, asked = torch.zeros(len(x), dtype=torch.float64), 0
        undecided, votes = torch.arange(len(x), device=x.device), torch.zeros(())
        for look in looks:
            more = self.votes(x[undecided], look - asked, generator)
            votes, asked = votes.index_add(0, undecided, more) if asked else more, look
            hits = votes[undecided].gather(1, top[undecided, None]).squeeze(1).cpu()
            at_least, at_most = (_at_least(k, look, alpha / len(looks)) for k in (hits, look - hits))
            here = undecided.cpu()
            low[here] = torch.as_tensor(at_least)
            undecided = undecided[(low[here] <= needed[here]) & (torch.as_tensor(1 - at_most) >= needed[here])]
            if not len(undecided):
                break
        return low, votes

    @torch.no_grad()
    def votes(self, x: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
        """How often each class is named in n noisy looks at each image: (B, ...) to (B, classes) int64."""
        check_images(x)
        generator = generator or _fresh(x)
        first, rest = _split(self.model) if self.shared else (nn.Sequential(), self.model)
        images, zero = first(x)[:, None], first(torch.zeros_like(x[:1]))
        total = torch.zeros((), dtype=torch.int64, device=x.device)
        for copies in [len(part) for part in torch.ones(n).split(self.batch_size)]:
            noise, counted = None, []
            for group in images.split(max(1, self.batch_size // copies)):
                if noise is None or not self.shared:
                    draws = copies if self.shared else copies * len(group)
                    noise = torch.empty(draws, *x.shape[1:], dtype=x.dtype, device=x.device)
                    noise = first(noise.normal_(0, self.sigma, generator=generator)) - zero
                noisy = (group + noise.unflatten(0, (-1, copies))).flatten(0, 1)
                logits = rest(noisy)
                check_logits(logits, noisy)
                named = logits.argmax(1).view(len(group), copies)
                counts = torch.zeros(len(group), logits.shape[1], dtype=torch.int64, device=x.device)
                counted.append(counts.scatter_add_(1, named, torch.ones_like(named)))
            total = total + torch.cat(counted)
        return total


def doubling(n: int) -> list[int]:
    """When to look at the count: after 100 votes, each time that it has doubled, and after all n."""
    return sorted({*(100 * 2**k for k in range(n.bit_length()) if 100 * 2**k < n), n})


def _split(model: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """The affine layers that a model begins with, and the rest of it."""
    layers = list(model) if isinstance(model, nn.Sequential) else [model]
    begin = next((i for i, layer in enumerate(layers) if not isinstance(layer, AFFINE)), len(layers))
    return nn.Sequential(*layers[:begin]), nn.Sequential(*layers[begin:])


def _fresh(x: Tensor) -> torch.Generator:
    return torch.Generator(x.device).manual_seed(0)


def _at_least(hits: ArrayLike, n: int, alpha: float) -> Any:
    """The least probability at which so many hits of n are not rarer than α (Clopper & Pearson 1934)."""
    hits = np.asarray(hits)
    return np.where(hits > 0, stats.beta.ppf(alpha, np.maximum(hits, 1), n - hits + 1), 0.0)[()]


def check_noise(sigma: float, batch_size: int) -> None:
    """Demand noise that there is, and copies to put it on. Raises: ValueError."""
    if not 0 < sigma < float("inf"):
        raise ValueError(f"sigma must be a finite number > 0, got {sigma}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")


def check_votes(n: int, alpha: float, n0: int = 1, bounding: bool = False) -> None:
    """Demand votes, and α in (0, 1); if they are to bound a share, as many as can show anything. Raises: ValueError."""
    for name, number in {"n": n, "n0": n0}.items():
        if number < 1:
            raise ValueError(f"{name} must be >= 1, got {number}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    if bounding and alpha ** (1 / n) <= 0.5:
        raise ValueError(f"n={n} votes can show nothing at alpha={alpha}, not even when they agree; use more")
