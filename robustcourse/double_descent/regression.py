"""Linear regression with any number of weights.

With fewer weights than examples, least squares has one answer. With more, many answers fit every example, and the one
to look at is the shortest: gradient descent from zero ends there, and so does ridge regression as its penalty goes to
zero. One singular value decomposition x = u diag(s) vᵀ gives them all.

Sources: ridge, Hoerl & Kennard 1970 (Technometrics 12); leaving one out where every example is fitted, Hastie et al.
2022 (arXiv:1903.08560).
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcourse.checks import check_labels, check_nonnegative


def ridge(x: Tensor, y: Tensor, penalty: float = 0.0) -> Tensor:
    """The weights w that make ‖y − x w‖² + λ ‖w‖² smallest; at λ = 0 the shortest of those that fit best.

    Each column of y is a regression of its own, with p weights: K columns have pK weights and nK equations.

    Args:
        x: (n, p) float64, an example a row.
        y: (n,) or (n, K) float64.
        penalty: λ ≥ 0.

    Returns:
        (p,) or (p, K).

    Raises:
        TypeError: x or y is no float64 tensor: single precision is too coarse where p is close to n.
        ValueError: x or y is empty, not finite or of another shape, or λ is negative, infinite or NaN.
    """
    check_regression(x, y)
    check_nonnegative("penalty", penalty)
    u, s, kept = decompose(x)
    u, s = u[:, kept], s[kept]
    return x.mT @ ((u / (s**2 + penalty)) @ (u.mT @ y))


def leave_one_out(x: Tensor, y: Tensor, penalty: float = 0.0) -> Tensor:
    """By how much `ridge` misses each example if it is trained on the others alone. Nothing is trained again.

    It is (B y)_i / B_ii with B = (x xᵀ + λ)⁻¹. As λ goes to zero and p < n, λB becomes 1 − H, with the hat matrix H
    that makes predictions of y, and this is the textbook's (y_i − ŷ_i) / (1 − H_ii). With p ≥ n, every example is
    fitted and that is 0 / 0; but B is still there.

    Args:
        x, y, penalty: as for `ridge`.

    Returns:
        The residuals, in the shape of y: y_i minus what is predicted for example i without it.

    Raises:
        TypeError, ValueError: as for `ridge`.
    """
    check_regression(x, y)
    check_nonnegative("penalty", penalty)
    u, s, kept = decompose(x, full=True)

    def residuals(inverse: Tensor) -> Tensor:
        return ((u * inverse) @ (u.mT @ y.reshape(len(y), -1)) / (u**2 @ inverse)[:, None]).view_as(y)

    if penalty:
        return residuals(1 / (s**2 + penalty))
    lost = (~kept).double()
    # An example is fitted whatever it is if nothing of it is lost: all are if p ≥ n, and one with a feature of its own.
    fitted = (u**2 @ lost < 1e-20).view(-1, *[1] * (y.dim() - 1))
    return torch.where(fitted, residuals(torch.where(kept, 1 / s**2, 0)), residuals(lost))


def effective_dimension(x: Tensor, penalty: float = 0.0) -> float:
    """How many weights the penalty leaves free: Σ s² / (s² + λ) over the singular values s of x; at λ = 0 its rank.

    Raises:
        TypeError, ValueError: as for `ridge`.
    """
    check_matrix("x", x)
    check_nonnegative("penalty", penalty)
    _, s, kept = decompose(x)
    return float((s**2 / (s**2 + penalty))[kept].sum())


def one_hot(y: Tensor, classes: int) -> Tensor:
    """Labels as targets of a regression: (n, classes) float64, 1 at the label and 0 elsewhere, minus 1 / classes.

    Without that, a model would spend weights on the mean. The largest output is the answer.

    Raises:
        TypeError, ValueError: y holds no labels in 0 … classes − 1, or fewer examples than there are classes.
    """
    check_labels(y, y)
    if len(y) < classes:
        raise ValueError(f"y must hold at least as many examples as there are classes, {classes}, got {len(y)}")
    check_labels(y, y, classes)
    return torch.nn.functional.one_hot(y, classes).double() - 1 / classes


def decompose(x: Tensor, full: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """The left half u, s of x = u diag(s) vᵀ, and which s are more than rounding (as `torch.linalg.pinv` sees it).

    Args:
        full: give all n directions u; of those that x does not reach, s = 0.
    """
    n, p = x.shape
    # A triangle with the same x xᵀ, from a QR decomposition of xᵀ, has the same u and s and is smaller.
    u, s, _ = torch.linalg.svd(torch.linalg.qr(x.mT, mode="r").R.mT if p > n else x, full_matrices=full)
    s = torch.cat([s, s.new_zeros(u.shape[1] - len(s))])
    return u, s, s > max(n, p) * torch.finfo(x.dtype).eps * s.max()


def check_regression(x: Tensor, y: Tensor, names: tuple[str, str] = ("x", "y")) -> None:
    """Demand a matrix x, and y with as many rows."""
    check_matrix(names[0], x)
    check_matrix(names[1], y[:, None] if isinstance(y, Tensor) and y.dim() == 1 else y)
    if len(y) != len(x):
        raise ValueError(f"{names[1]} must have one row for each of the {len(x)} rows of {names[0]}, got {len(y)}")


def check_matrix(name: str, x: Tensor) -> None:
    """Demand a float64 matrix, not empty and finite."""
    if not isinstance(x, Tensor) or x.dtype != torch.float64:
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} must be a float64 tensor, got {got}; x.double() makes one")
    if x.dim() != 2 or x.numel() == 0:
        raise ValueError(f"{name} must be a matrix that is not empty, got shape {tuple(x.shape)}")
    if not torch.stack(x.aminmax()).isfinite().all():  # NaN is both; a fifth of the time of asking each number
        raise ValueError(f"{name} must be finite, but it has NaN or infinite values")
