"""Three ways to ask for a flat model without attacking it: noise, small input gradients, small layers.

Noise is a penalty in disguise: for a little noise, the mean loss grows by the curvature (Bishop 1995).

Sources: noise, Cohen, Rosenfeld & Kolter 2019 (arXiv:1902.02918); input gradients, Drucker & LeCun 1992 and Ross &
Doshi-Velez 2018 (arXiv:1711.09404); spectral norms, Yoshida & Miyato 2017 (arXiv:1705.10941).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse.checks import check_nonnegative


@dataclass(frozen=True)
class GaussianNoise:
    """Mean cross-entropy on x + σ z, with z of independent standard Gaussians; not clipped to [0, 1].

    Args:
        sigma: σ ≥ 0, in units of the input range.

    Cost: one forward and one backward pass a step. Raises: ValueError if σ is negative or not finite.
    """

    sigma: float

    def __post_init__(self) -> None:
        check_nonnegative("sigma", self.sigma)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x + self.sigma * torch.randn_like(x)), y)


@dataclass(frozen=True)
class GradientPenalty:
    """Mean of ℓ(f(x), y) + λ ‖∇ₓ ℓ(f(x), y)‖₂².

    Args:
        weight: λ ≥ 0.

    Cost: a forward and a backward pass, and once more both for the gradient of a gradient. Raises: ValueError if λ is
    negative or not finite.
    """

    weight: float

    def __post_init__(self) -> None:
        check_nonnegative("weight", self.weight)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x = x.detach().requires_grad_(True)
        losses = F.cross_entropy(model(x), y, reduction="none")
        (gradient,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
        return (losses + self.weight * gradient.flatten(1).square().sum(1)).mean()


@dataclass(frozen=True)
class SpectralPenalty:
    """Mean of ℓ(f(x), y) + λ/2 Σ σ(W)² over the layers, where σ(W) is the largest singular value.

    The product of the σ(W) bounds the Lipschitz constant of a network of linear layers. A convolution counts as the
    matrix of its kernel, (out, in · h · w), which the paper takes for it.

    Args:
        weight: λ ≥ 0.

    Cost: one forward and one backward pass a step, and a singular value decomposition a layer. Raises: ValueError if λ
    is negative or not finite.
    """

    weight: float

    def __post_init__(self) -> None:
        check_nonnegative("weight", self.weight)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        layers = [w.flatten(1) for w in model.parameters() if w.dim() > 1]
        norms = torch.stack([torch.linalg.matrix_norm(w, 2) for w in layers])
        return F.cross_entropy(model(x), y) + self.weight / 2 * norms.square().sum()
