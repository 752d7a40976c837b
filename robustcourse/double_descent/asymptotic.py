"""Double descent with pencil and paper: the risk of least squares when examples and weights grow together.

Inputs are p independent numbers of variance 1, the answer is linear in them, y = ⟨x, β⟩ plus noise, with r² = ‖β‖² the
signal and σ² the noise. As n and p grow with p / n = γ, all that chance could do averages out, and the risk of the
shortest least squares solution becomes a formula in γ, r² and σ². Risk is the squared distance to the answer without
noise; the error against noisy answers is larger by σ².

Sources: Hastie, Montanari, Rosset & Tibshirani 2022 (arXiv:1903.08560); `finite_risk`, Belkin, Hsu & Xu 2020
(arXiv:1903.07571).
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcourse.checks import check_nonnegative, check_share
from robustcourse.double_descent.regression import ridge

Numbers = float | list[float] | Tensor  # anything that `torch.as_tensor` takes


def risk(gamma: Numbers, signal: float = 1.0, noise: float = 1.0) -> Tensor:
    """The shortest least squares solution: r² (1 − 1/γ)⁺ of bias, and σ² min(γ, 1) / |1 − γ| of variance.

    Signal and noise do not mix: with noise = 0 it is the bias, with signal = 0 the variance.

    Args:
        gamma: weights for each example, > 0.
        signal: r² ≥ 0.
        noise: σ² ≥ 0.

    Returns:
        float64, in the shape of gamma; infinite at γ = 1 if there is noise.

    Raises:
        ValueError: γ ≤ 0, or a negative variance, or one that is not finite.
    """
    gamma = _check(gamma, signal, noise)
    bias = signal * (1 - 1 / gamma).clamp_min(0)
    return bias + noise * gamma.clamp_max(1) / (1 - gamma).abs() if noise else bias


def misspecified_risk(gamma: Numbers, captured: float, signal: float = 1.0, noise: float = 1.0) -> Tensor:
    """The same where the model sees inputs that carry a share κ of the signal only: the rest acts as more noise.

    With κ = 1 − (1 + γ)⁻ᵃ, say, more inputs show more of the signal, and the second descent may beat the first.

    Args:
        gamma, signal, noise, and what comes back: as for `risk`.
        captured: κ in [0, 1].

    Raises:
        ValueError: as for `risk`, or κ is outside [0, 1].
    """
    check_share("captured", captured)
    missed = (1 - captured) * signal
    return missed + risk(gamma, captured * signal, missed + noise)


def optimal_ridge_risk(gamma: Numbers, signal: float = 1.0, noise: float = 1.0) -> Tensor:
    """Ridge with the best of all penalties, λ = p σ² / r² for `ridge`. There is no peak.

    It is σ² γ m(−γσ²/r²), where m is the Stieltjes transform of the Marchenko–Pastur law, the limit of the eigenvalues
    of xᵀx / n: a root of a quadratic equation.

    Args:
        gamma, signal, noise, and what comes back: as for `risk`.

    Raises:
        ValueError: as for `risk`.
    """
    gamma = _check(gamma, signal, noise)
    # The root, times r²: then no signal is no special case.
    a = signal * (1 - gamma) + noise * gamma
    return ((a**2 + 4 * gamma**2 * signal * noise).sqrt() - a) / (2 * gamma)


def finite_risk(n: int, p: int, signal: float = 1.0, noise: float = 1.0) -> float:
    """`risk` for so many examples and Gaussian inputs, exactly: the mean of an inverse Wishart matrix is known.

    n = 200 is not infinite: at p = 190 the variance is 12 % larger than its limit.

    Args:
        n, p: examples and weights, ≥ 1.
        signal, noise: as for `risk`.

    Returns:
        The mean over draws; infinite for |n − p| ≤ 1 if there is noise.

    Raises:
        ValueError: n or p is < 1, or a negative variance, or one that is not finite.
    """
    _check_sizes(n, p)
    _check(1.0, signal, noise)
    bias, gap = signal * max(0.0, 1 - n / p), abs(n - p) - 1
    return bias + (noise * min(n, p) / gap if gap > 0 else float("inf")) if noise else bias


def simulate_risk(
    n: int, p: int, signal: float = 1.0, noise: float = 1.0, penalty: float = 0.0, draws: int = 100, seed: int = 0
) -> Tensor:
    """Draw data, fit `ridge`, measure the risk, many times: `Estimate.mean(simulate_risk(200, 400), unit="")`.

    Args:
        n, p: examples and weights, ≥ 1.
        signal, noise: as for `risk`.
        penalty: λ ≥ 0 of `ridge`.
        draws: ≥ 1, each of other inputs, noise and direction of β.
        seed: of all draws.

    Returns:
        (draws,) float64. For |n − p| ≤ 3 the variance of these numbers is infinite, and their mean tells little.

    Raises:
        ValueError: n, p or draws is < 1, or a negative variance or penalty, or one that is not finite.
    """
    _check_sizes(n, p)
    _check(1.0, signal, noise)
    if draws < 1:
        raise ValueError(f"draws must be >= 1, got {draws}")
    generator, risks = torch.Generator().manual_seed(seed), []
    for _ in range(draws):
        x, beta, chance = (torch.randn(*size, generator=generator).double() for size in ((n, p), (p,), (n,)))
        beta *= signal**0.5 / beta.norm()
        risks.append((ridge(x, x @ beta + noise**0.5 * chance, penalty) - beta).square().sum())
    return torch.stack(risks)


def _check(gamma: Numbers, signal: float, noise: float) -> Tensor:
    check_nonnegative("signal", signal)
    check_nonnegative("noise", noise)
    gamma = torch.as_tensor(gamma, dtype=torch.float64)
    if not ((gamma > 0) & gamma.isfinite()).all():
        raise ValueError(f"gamma must be finite and > 0, got {gamma.tolist()}")
    return gamma


def _check_sizes(n: int, p: int) -> None:
    if n < 1 or p < 1:
        raise ValueError(f"n and p must be >= 1, got n={n}, p={p}")
