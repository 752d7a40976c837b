"""The straight way from one network to another: does the loss rise in between?

Two networks that were trained from different seeds mostly have a barrier between them. Part of it is only a matter of
order: hidden units can be permuted, which changes the weights and not the function, and without matching their order
the way between mixes units that have nothing to do with each other.

Sources: Frankle, Dziugaite, Roy & Carbin 2020 (arXiv:1912.05671); permutations, Entezari, Sedghi, Saukh & Neyshabur
2022 (arXiv:2110.06296), and matching by weights, Ainsworth, Hayase & Srinivasa 2023 (arXiv:2209.04836).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise, zip_longest

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from robustcourse.certify.layers import ACTIVATIONS, row
from robustcourse.checks import check_module
from robustcourse.data import Split
from robustcourse.evaluate import correct
from robustcourse.landscape.surface import Surface, weights, with_weights
from robustcourse.models import Normalize
from robustcourse.train.objectives import Objective


@dataclass(frozen=True)
class Way:
    """What was found on the straight way from a first network to a second.

    Args:
        at: (T,) from 0, the first, to 1, the second.
        loss: (T,) of the objective.
        hits: (T, N) booleans, which examples are read correctly, as they are.
    """

    at: Tensor
    loss: Tensor
    hits: Tensor

    @property
    def barrier(self) -> float:
        """How far the highest loss on the way lies above the mean of its two ends."""
        return float(self.loss.max() - (self.loss[0] + self.loss[-1]) / 2)


def connect(
    first: nn.Module,
    second: nn.Module,
    split: Split,
    points: int = 11,
    objective: Objective | None = None,
    *,
    batch_size: int = 1024,
    seed: int = 0,
) -> Way:
    """Loss and accuracy at (1 − t) θ₁ + t θ₂, for t in even steps from 0 to 1.

    Args:
        first, second: built alike, in evaluation mode; they stay as they are.
        split, objective, batch_size, seed: as for `slice1d`.
        points: how many, with both ends, ≥ 3.

    Raises:
        TypeError, ValueError: a wrong input, fewer than 3 points, or networks that are not built alike.
    """
    if points < 3:
        raise ValueError(f"points must be >= 3, the two ends and one between, got {points}")
    _check_alike(first, second)
    surface = Surface(first, split, objective, batch_size, seed)
    at = torch.linspace(0, 1, points).to(surface.centre)
    way = torch.lerp(surface.centre, weights(second), at[:, None])
    hits = [correct(with_weights(first, theta), split, batch_size=batch_size) for theta in way]
    return Way(at, surface.heights(way), torch.stack(hits))


@torch.no_grad()
def matched(first: nn.Sequential, second: nn.Sequential) -> nn.Sequential:
    """The second network with its hidden units in the order in which its weights are nearest to those of the first.

    Which order is best is an assignment problem for one hidden layer, and solved exactly. For several, one layer after
    the other is matched while the rest stays, until nothing comes nearer.

    Args:
        first, second: two MLPs that are built alike, as by `mlp`.

    Returns:
        A copy of the second that computes the same function, but for rounding.

    Raises:
        ValueError: networks that are not built alike, have other layers than MLPs, or no hidden one.
    """
    _check_alike(first, second)
    copy = deepcopy(second)
    chains = _linear(first), _linear(copy)
    improved = True
    while improved:
        improved = False
        for (a, after_a), (b, after_b) in zip(*map(pairwise, chains), strict=True):
            # ⟨θ₁, θ₂⟩ as a sum over pairs of units: what comes in, with the bias, and what goes out.
            like = after_a.weight.T @ after_b.weight
            for p, q in zip(a.parameters(), b.parameters(), strict=True):
                like = like + p.view(len(p), -1) @ q.view(len(q), -1).T
            order = torch.from_numpy(linear_sum_assignment(like.cpu(), maximize=True)[1]).to(like.device)
            if like.gather(1, order[:, None]).sum() > like.trace() + 1e-6 * like.abs().sum():
                for p in b.parameters():
                    p.copy_(p[order])
                after_b.weight.copy_(after_b.weight[:, order])
                improved = True
    return copy


def _linear(model: nn.Sequential) -> list[nn.Linear]:
    """The linear layers of an MLP."""
    linear = [layer for layer in row(model) if isinstance(layer, nn.Linear)]
    if not all(isinstance(layer, (nn.Linear, Normalize, nn.Flatten, *ACTIVATIONS)) for layer in row(model)):
        raise ValueError(f"model must be an MLP, Linear layers with ReLU between, to match its units, got {model}")
    if len(linear) < 2:
        raise ValueError(f"model must have a hidden layer, whose units can be matched, got {model}")
    return linear


def _check_alike(first: nn.Module, second: nn.Module) -> None:
    check_module(first)
    check_module(second)
    layers = ([str(part) for part in model.modules() if not list(part.children())] for model in (first, second))
    for one, another in zip_longest(*layers, fillvalue="nothing"):
        if one != another:
            raise ValueError(f"first and second must be built alike, got {one} and {another}")
    for (name, buffer), other in zip(first.named_buffers(), second.buffers(), strict=True):
        if not buffer.equal(other):
            raise ValueError(
                f"first and second must differ in their weights alone, but not in {name!r}; the straight way between "
                "leaves out what is measured on data, as by batch normalization"
            )
