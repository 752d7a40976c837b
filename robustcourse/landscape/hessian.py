"""The Hessian: how the loss curves around the weights, in every direction.

It has P² numbers, too many to write down for most networks. But what it does to one vector costs little more than a
gradient, and that is enough for its largest eigenvalues and its trace.

Under attack, the Hessian is that of the loss at the worst images that were found, held fixed. For the gradient this is
exact (Danskin 1967). For the curvature it is a choice: it leaves out that the worst images move with the weights. With
them, the loss is a maximum of many functions, which has kinks and no Hessian there.

Sources: exact products, Pearlmutter 1994 (Neural Computation 6); the trace by random vectors, Hutchinson 1990; for
networks, Yao, Gholami, Keutzer & Mahoney 2020 (arXiv:1912.07145).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from robustcourse.data import Split
from robustcourse.evaluate.estimate import Estimate
from robustcourse.landscape.surface import Surface, check_vector, weights
from robustcourse.train.objectives import Objective

Product = Callable[[Tensor], Tensor]  # v (P,) to H v (P,)
LIMIT = 10_000  # weights up to which all P² numbers are written down: 400 MB in single precision


def hessian_product(model: nn.Module, split: Split, objective: Objective | None = None, seed: int = 0) -> Product:
    """The map v → H v, for the Hessian H (P, P) of the loss on all examples of the split, at the model's weights.

    Args:
        model: in evaluation mode; it stays as it is. In double precision, as `deepcopy(model).double()`, so is H.
        split: the examples, on the model's device. The graph for all of them is kept, so this is what needs memory.
        objective: the loss, `Standard()` if None. A robust one searches once, and its worst images stay fixed.
        seed: of the objective's random choices.

    Returns:
        A map from (P,) to (P,), of the model's precision. Each call costs about 1.5 to 2 gradients.

    Raises:
        TypeError, ValueError: a wrong input, as `robustcourse.checks` says.
    """
    surface = Surface(model, split, objective, len(split), seed)
    gradient = surface.gradient(surface.centre)

    def product(vector: Tensor) -> Tensor:
        check_vector("vector", vector, len(gradient))
        parts = torch.autograd.grad(
            gradient, surface.parameters, vector.to(gradient), retain_graph=True, materialize_grads=True
        )
        return torch.cat([part.flatten() for part in parts])

    return product


def hessian(model: nn.Module, split: Split, objective: Objective | None = None, seed: int = 0) -> Tensor:
    """The Hessian itself, (P, P), symmetric, for networks of up to 10,000 weights.

    Args:
        model, split, objective, seed: as for `hessian_product`.

    Cost: P products, and memory for 3 P² numbers.

    Raises:
        TypeError, ValueError: a wrong input, or too many weights.
    """
    if (size := len(theta := weights(model))) > LIMIT:
        raise ValueError(
            f"model must have at most {LIMIT:,} weights for a Hessian that is written down, got {size:,}, which would "
            f"take {size**2 * theta.element_size() / 2**30:,.1f} GiB; use hessian_product, and lanczos or trace"
        )
    surface = Surface(model, split, objective, len(split), seed)
    gradient, full = surface.gradient(theta), theta.new_empty(size, size)
    for rows, some in zip(full.split(16), torch.eye(size).to(theta).split(16), strict=True):  # 16 at once are faster
        parts = torch.autograd.grad(
            gradient, surface.parameters, some, retain_graph=True, is_grads_batched=True, materialize_grads=True
        )
        torch.cat([part.flatten(1) for part in parts], 1, out=rows)
    return full.add(full.T).div_(2)


def lanczos(product: Product, size: int, k: int = 1, lowest: bool = False, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The k largest eigenvalues of a symmetric matrix of which only products are known, or its k lowest.

    The work is done by scipy's `eigsh`, which is ARPACK: Lanczos' method with restarts (Lehoucq, Sorensen & Yang 1998).

    Args:
        product: v (P,) to H v (P,), as `hessian_product` gives it.
        size: P.
        k: how many, from 1 to P − 1.
        lowest: the k lowest (most negative) ones instead; these lie close together, and take several times as long.
        seed: of the vector with which the search begins.

    Returns:
        Eigenvalues (k,), the outermost first, and their eigenvectors (k, P), of length one, in double precision on the
        CPU. Eigenvalues are right to 1e-4 of the largest one, and mostly to all digits of the product.

    Cost: mostly 10 to 20 products for the largest one, about 20 for five, and 60 to 120 for the lowest.

    Raises:
        ValueError: k is out of range.
    """
    if not 1 <= k < size:
        raise ValueError(f"k must be in 1 … {size - 1} for a matrix of size {size}, got {k}; all are in `hessian`")

    # ARPACK is content when the error is small relative to the eigenvalue that it looks for. The lowest may be tiny, so
    # it is made large first: without the shift, most products would go into digits that nobody needs.
    shift = float(lanczos(product, size, seed=seed)[0]) if lowest else 0.0

    def shifted(vector: np.ndarray) -> np.ndarray:
        return product(torch.from_numpy(vector)).cpu().double().numpy() - shift * vector

    values, vectors = eigsh(
        LinearOperator((size, size), shifted, dtype=np.float64),
        k,
        which="SA" if lowest else "LA",
        v0=np.random.default_rng(seed).standard_normal(size),
        ncv=min(size, 2 * k + (40 if lowest else 8)),
        tol=1e-4,
        maxiter=1000,
    )
    order = np.argsort(values if lowest else -values)
    return torch.from_numpy(values[order] + shift), torch.from_numpy(vectors.T[order].copy())


def trace(product: Product, size: int, probes: int = 100, seed: int = 0) -> Estimate:
    """The sum of all eigenvalues, as the mean of ⟨v, H v⟩ over random vectors v of signs ±1, with its interval.

    Args:
        product, size: as for `lanczos`.
        probes: how many vectors, ≥ 2; the interval shrinks as one over their root.
        seed: of the vectors.

    Raises:
        ValueError: probes < 2.
    """
    if probes < 2:
        raise ValueError(f"probes must be >= 2, for one gives no interval, got {probes}")
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(probes):
        signs = 2.0 * torch.randint(2, (size,), generator=generator).double() - 1
        values.append(float(signs @ product(signs).cpu().double()))
    return Estimate.mean(values, unit="", observed="probes")
