"""A whole curve for little more than one of its points: all widths, or all penalties, from one factorization.

Up to p = n, a QR decomposition of the first n features holds those of fewer: the first columns are that of the first
columns. Beyond, a model is known by one number for each example, and what decides is the n × n matrix of products
between examples, to which new features only add theirs. For penalties, it is a singular value decomposition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from robustcourse.checks import check_nonnegative
from robustcourse.double_descent.regression import check_matrix, check_regression, decompose, ridge


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

    On digits the predictions are those of one width at a time, to 1e-9 of the largest next to p = n, where every method
    loses digits, and to 1e-12 elsewhere. A width at which features depend on each other gets its own `ridge`.

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

    # With the targets as last columns, the triangle is all that is needed of the decomposition.
    most = max((p for p in widths if p <= n), default=0)
    triangle = torch.linalg.qr(torch.cat([features[:, :most], targets], 1), mode="r").R
    table = features.new_zeros(len(widths), k, widths[-1])  # the weights of all widths, zero where a model has no more
    gram, start = features.new_zeros(n, n), 0
    for row, p, each in zip(table, widths, penalties, strict=True):
        first = features[:, :p]
        if p <= n:
            root, right = _damped(triangle[:p, :p], triangle[:p, most:], each)
        else:
            new, start = features[:, start:p], p
            gram.addmm_(new, new.mT)
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
    u, s, kept = decompose(features)
    u, s = u[:, kept], s[kept]
    shrink = 1 / (s**2 + torch.tensor(penalties, dtype=s.dtype, device=s.device)[:, None])
    weights = (shrink[:, None] * (targets.mT @ u)) @ (u.mT @ features)
    return Path((weights @ test_features.mT).mT, list(weights.mT))


def check_problem(features: Tensor, targets: Tensor, test_features: Tensor) -> None:
    """Demand matrices with as many rows, or columns, as each other."""
    check_regression(features, targets, ("features", "targets"))
    check_matrix("targets", targets)
    check_matrix("test_features", test_features)
    if test_features.shape[1] != features.shape[1]:
        raise ValueError(
            f"test_features must have {features.shape[1]} columns like features, got {test_features.shape[1]}"
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
