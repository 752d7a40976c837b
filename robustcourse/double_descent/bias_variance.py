"""Why a model errs: all models of its kind do (bias), or chance made it another one each time (variance).

Train the same model on many draws of training data. How far the mean prediction is from the truth is the bias; how far
predictions are from their mean is the variance; their squares add up to the error. Chance enters twice, with the
examples and with the labels that are wrong. It can be told apart if several draws of labels share their examples.

Sources: Geman, Bienenstock & Doursat 1992 (Neural Computation 4); unbiased and at double descent, Yang et al. 2020
(arXiv:2002.11328); by source of chance, Adlam & Pennington 2020 (arXiv:2011.03321).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Parts:
    """The parts of the mean squared error, for each test example: error = bias + sampling + noise.

    Args:
        bias: squared distance of the mean prediction to the truth.
        sampling: variance from one set of training examples to another.
        noise: variance from one draw of their labels to another.
    """

    bias: Tensor
    sampling: Tensor
    noise: Tensor

    @property
    def variance(self) -> Tensor:
        """Of both sources."""
        return self.sampling + self.noise

    @property
    def error(self) -> Tensor:
        """The mean squared error, summed over outputs."""
        return self.bias + self.variance


def bias_variance(predictions: Tensor, truth: Tensor) -> Parts:
    """Split the squared error over draws, without bias: a part may come out below zero where it is almost nothing.

    Args:
        predictions: (D, L, ..., m, K): D ≥ 2 draws of training examples, L ≥ 1 draws of labels for each. With L = 1
            all variance counts as `sampling`. Stacks of `Path.predictions` have widths in the place of the dots.
        truth: (m, K) targets without noise.

    Returns:
        Parts of shape (..., m), summed over outputs: `Estimate.mean(parts.bias[t], unit="", observed="test examples")`.

    Raises:
        ValueError: other shapes, or too few draws.
    """
    if predictions.dim() < 4 or predictions.shape[-2:] != truth.shape:
        shapes = f"{tuple(predictions.shape)} and {tuple(truth.shape)}"
        raise ValueError(f"predictions must be of shape (D, L, ..., m, K) and truth of (m, K), got {shapes}")
    draws, labels = predictions.shape[:2]
    if draws < 2 or labels < 1:
        raise ValueError(f"predictions must be of D >= 2 and L >= 1 draws, got D={draws} and L={labels}")
    means = predictions.mean(1)
    noise = predictions.var(1).mean(0) if labels > 1 else 0 * means[0]
    # A mean over few draws still varies, which must not count twice: as variance, and as distance from the truth.
    between = means.var(0)
    bias = (means.mean(0) - truth).square() - between / draws
    return Parts(*(part.sum(-1) for part in (bias, between - noise / labels, noise)))
