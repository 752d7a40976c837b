"""Random features: a network whose first layer is drawn and never trained.

The other layer is linear, so its best weights have a formula, and the width can go through the number of examples and
far beyond. The features of a narrow model are the first of a wide one.

Sources: Rahimi & Recht 2007 (Random features for large-scale kernel machines, NeurIPS); ReLU, Cho & Saul 2009 (Kernel
methods for deep learning, NeurIPS); double descent in them, Belkin et al. 2019 (arXiv:1812.11118).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from robustcourse.double_descent.regression import check_matrix

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
