"""Random features: a network whose first layer is drawn and never trained, and all of its widths at once.

The trained layer is linear, so its best weights have a formula, and the width can go through the number of examples and
far beyond. The features of a narrow model are the first of a wide one. So one pass over the widest serves all widths.

Sources: Rahimi & Recht 2007 (Random features for large-scale kernel machines, NeurIPS); ReLU, Cho & Saul 2009 (Kernel
methods for deep learning, NeurIPS); double descent in them, Belkin et al. 2019 (arXiv:1812.11118).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from robustcourse.checks import check_nonnegative
from robustcourse.double_descent.regression import check_matrix, check_regression, decompose, ridge

KINDS = {"fourier": torch.cos, "relu": torch.relu}


class RandomFeatures(nn.Module):
    """√2 cos(⟨w, x⟩ + b) or √2 max(0, ⟨w, x⟩), for many drawn w; x is an image minus a centre.

    Averaged over w, products of two images' features become a kernel. With waves it is the Gaussian
    exp(−s² ‖x − x'‖² / 2d): s tells how fine the differences are that it sees. With ReLUs s is a mere factor.

    Args:
        dimension: pixels d of an image, ≥ 1.
        count: features, ≥ 1. The first of many are the same as few.
        kind: "fourier" or "relu".
        seed: of the w and b.
        scale: s > 0, the w have variance s² / d.
        center: an image, or one number for all pixels. ReLUs bend there: with the mean image, none is zero for all.

    Raises:
        ValueError: an argument that is not as said.
    """

    weight: Tensor
    phase: Tensor
    center: Tensor

    def __init__(
        self,
        dimension: int,
        count: int,
        kind: str = "fourier",
        seed: int = 0,
        scale: float = 3.0,
        center: Tensor | float = 0.5,
    ) -> None:
        super().__init__()
        if dimension < 1 or count < 1:
            raise ValueError(f"dimension and count must be >= 1, got dimension={dimension}, count={count}")
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        if not 0 < scale < math.inf:
            raise ValueError(f"scale must be a finite number > 0, got {scale}")
        center = torch.as_tensor(center).double().flatten()
        if len(center) not in (1, dimension):
            raise ValueError(f"center must be a number or {dimension} of them, got {len(center)}")
        # NumPy draws one after the other, so that a longer draw begins as a shorter one; torch does so only by blocks.
        normal, uniform = (np.random.default_rng([seed, part]) for part in range(2))
        self.kind = kind
        self.register_buffer("weight", torch.from_numpy(normal.normal(0, scale / dimension**0.5, (count, dimension))))
        phase = 2 * math.pi * uniform.random(count) if kind == "fourier" else np.zeros(count)
        self.register_buffer("phase", torch.from_numpy(phase))
        self.register_buffer("center", center)
        self.eval()

    def forward(self, x: Tensor, count: int | None = None) -> Tensor:
        """(B, *shape) to (B, count), the first or all, in the precision of the weights: float64, unless changed.

        Raises:
            ValueError: images that have not d pixels.
        """
        if x[0].numel() != self.weight.shape[1]:
            raise ValueError(f"x must have {self.weight.shape[1]} pixels an image, got {x[0].numel()}")
        x = x.flatten(1).to(self.weight.dtype) - self.center
        return math.sqrt(2) * KINDS[self.kind](torch.addmm(self.phase[:count], x, self.weight[:count].mT))


class FeatureModel(nn.Module):
    """A classifier: random features, then a linear layer. It can be attacked like any other model.

    Args:
        features: at least as many as there are weights. Only the first are computed.
        weights: (p, classes) float64, as `ridge` or a `Path` gives them.

    Raises:
        TypeError, ValueError: the weights are no float64 matrix, or are more than the features.
    """

    weights: Tensor

    def __init__(self, features: RandomFeatures, weights: Tensor) -> None:
        super().__init__()
        check_matrix("weights", weights)
        if len(weights) > len(features.weight):
            raise ValueError(f"weights must be of at most {len(features.weight)} features, got {len(weights)}")
        self.features = features
        self.register_buffer("weights", weights)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) in [0, 1] to logits (B, classes), in the precision of x."""
        return (self.features(x, len(self.weights)) @ self.weights).to(x.dtype)


@dataclass(frozen=True)
class Path:
    """What the linear layer becomes along a path of widths or of penalties.

    Args:
        predictions: (T, m, K) outputs for the test examples.
        weights: T matrices (p, K); `FeatureModel(features, path.weights[t])` is the model.
    """

    predictions: Tensor
    weights: list[Tensor]

    @property
    def norms(self) -> Tensor:
        """(T,) lengths of the solution, over all outputs."""
        return torch.stack([torch.linalg.matrix_norm(weights) for weights in self.weights])


def every_width(
    features: Tensor,
    targets: Tensor,
    test_features: Tensor,
    widths: Sequence[int],
    penalty: float | Sequence[float] = 0.0,
) -> Path:
    """`ridge` for the first p features, for many p.

    Up to p = n, one QR decomposition holds the answers of all widths. Beyond, a model is known by one number for each
    example, and what decides is the n × n matrix of products between examples, which only grows by the new features.
    So all widths cost little more than the largest, and agree with one at a time to 1e-8 of the largest prediction and
    mostly to 1e-12. Where features depend on each other so that this would fail, a width gets its own `ridge`.

    Each of the K outputs is its own regression with p weights, so all of them peak at p = n: pK weights, nK equations.

    Args:
        features: (n, P) float64 of the training examples.
        targets: (n, K) float64, as `one_hot` makes them.
        test_features: (m, P) float64.
        widths: growing, from 1 to P.
        penalty: λ ≥ 0, one for all or one for each width. Features count as they are: if divided by √p, as in much of
            the literature, they would need λ / p.

    Raises:
        TypeError: a matrix is not float64.
        ValueError: a wrong shape, a value that is not finite, widths that do not grow from 1 to P, a negative penalty.
    """
    check_problem(features, targets, test_features)
    widths = list(widths)
    if not widths or any(b <= a for a, b in pairwise([0, *widths])) or widths[-1] > features.shape[1]:
        raise ValueError(f"widths must grow, from at least 1 to at most {features.shape[1]}, got {widths}")
    penalties = [penalty] * len(widths) if isinstance(penalty, (int, float)) else list(penalty)
    if len(penalties) != len(widths):
        raise ValueError(f"penalty must be one number, or one for each of {len(widths)} widths, got {len(penalties)}")
    for each in penalties:
        check_nonnegative("penalty", each)
    (n, k), m = targets.shape, len(test_features)

    # The first columns of a QR decomposition are that of the first columns. With the targets as the last ones, none of
    # the large orthogonal matrix is needed.
    most = max((p for p in widths if p <= n), default=0)
    triangle = torch.linalg.qr(torch.cat([features[:, :most], targets], 1), mode="r").R
    table = features.new_zeros(len(widths), k, widths[-1])  # the weights of all widths, zero where a model has no more
    gram, start = features.new_zeros(n, n), 0
    for row, p, each in zip(table, widths, penalties, strict=True):
        first, new, start = features[:, :p], features[:, start:p], p
        gram.addmm_(new, new.mT)
        if p <= n:
            root, right = _damped(triangle[:p, :p], triangle[:p, most:], each)
        else:
            root, right = _root(gram, first, each), targets
        if not _invertible(root, 1e-10):
            row[:, :p] = ridge(first, targets, each).mT
        elif p <= n:
            row[:, :p] = torch.linalg.solve_triangular(root, right, upper=True).mT
        else:
            row[:, :p] = torch.cholesky_solve(right, root).mT @ first

    predictions = features.new_zeros(len(widths) * k, m)
    for i, (a, b) in enumerate(pairwise([0, *widths])):  # each feature is read once, for all models that have it
        predictions[i * k :].addmm_(table[i:, :, a:b].flatten(0, 1), test_features[:, a:b].mT)
    weights = [row[:, :p].mT for row, p in zip(table, widths, strict=True)]
    return Path(predictions.view(len(widths), k, m).mT, weights)


def every_penalty(features: Tensor, targets: Tensor, test_features: Tensor, penalties: Sequence[float]) -> Path:
    """`ridge` for many penalties λ ≥ 0, in any order, from one singular value decomposition.

    Args:
        features, targets, test_features: as for `every_width`.

    Raises:
        TypeError, ValueError: as for `every_width`.
    """
    check_problem(features, targets, test_features)
    for penalty in penalties:
        check_nonnegative("penalty", penalty)
    u, s, vh = decompose(features)
    shrink = s / (s**2 + torch.tensor(penalties, dtype=s.dtype, device=s.device)[:, None])
    weights = (shrink[:, None] * (targets.mT @ u)) @ vh
    return Path((weights @ test_features.mT).mT, list(weights.mT))


def check_problem(features: Tensor, targets: Tensor, test_features: Tensor) -> None:
    """Demand matrices with as many rows, or columns, as each other."""
    check_regression(features, targets, ("features", "targets"))
    check_matrix("targets", targets)
    check_matrix("test_features", test_features)
    if test_features.shape[1] != features.shape[1]:
        raise ValueError(
            f"test_features must have {features.shape[1]} columns, as features, got {test_features.shape[1]}"
        )


def _damped(triangle: Tensor, right: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """The triangle and the right side of the equations that a penalty makes of others: it is worth p examples more."""
    if not penalty:
        return triangle, right
    p = len(triangle)
    more = torch.cat([penalty**0.5 * torch.eye(p).to(triangle), torch.zeros_like(right)], 1)
    r = torch.linalg.qr(torch.cat([torch.cat([triangle, right], 1), more]), mode="r").R
    return r[:p, :p], r[:p, p:]


def _root(gram: Tensor, features: Tensor, penalty: float) -> Tensor:
    """A lower triangle L with L Lᵀ = features featuresᵀ + λ."""
    eye = torch.eye(len(gram)).to(gram)
    root, failed = torch.linalg.cholesky_ex(gram + penalty * eye)
    if failed or not _invertible(root, 1e-2):
        # Just beyond p = n the products have lost too many digits. The features themselves have not.
        root = torch.linalg.qr(torch.cat([features.mT, penalty**0.5 * eye]), mode="r").R.mT
    return root


def _invertible(triangle: Tensor, least: float) -> bool:
    """Whether the smallest number on the diagonal is more than this share of the largest."""
    diagonal = triangle.diagonal().abs()
    return bool(diagonal.min() > least * diagonal.max())
