"""The loss as a function of all weights at once: a height above each point θ of a space with P dimensions.

A point, a direction, an eigenvector of the Hessian, the difference of two networks: here each is one vector (P,), in
the order of `model.parameters()`.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from robustcourse.checks import check_model, check_module
from robustcourse.data import Split
from robustcourse.runtime import seeded
from robustcourse.train.objectives import Objective, Standard


def weights(model: nn.Module) -> Tensor:
    """A copy of all weights and biases in one vector, (P,): `fit(..., watch=weights)` keeps a point for each epoch.

    Raises:
        TypeError: model is no module.
        ValueError: it has no weights.
    """
    check_module(model)
    if next(model.parameters(), None) is None:
        raise ValueError("model has no weights, so its loss has no landscape")
    return parameters_to_vector(model.parameters()).detach()


def with_weights(model: nn.Module, theta: Tensor) -> nn.Module:
    """A copy of the model with these weights, (P,) as `weights` gives them.

    Raises:
        TypeError, ValueError: no model with weights, or theta is not of their shape.
    """
    own = weights(model)
    check_directions("theta", theta, own.shape)
    copy = deepcopy(model)
    vector_to_parameters(theta.detach().to(own, copy=True), copy.parameters())
    return copy


class Surface:
    """The loss of a model on fixed examples at any weights, θ (P,) to a number.

    A robust objective searches its worst images anew at each point, always with the same random starts. So the height
    depends on θ alone, and what looks rough is rough.

    Args:
        model: in evaluation mode; it is copied, and stays as it is.
        split: the examples, on the model's device.
        objective: `Standard()` if None.
        batch_size: examples at a time, ≥ 1, for an objective that is a mean over examples; it bounds the memory.
        seed: of the objective's random choices.

    Raises:
        TypeError, ValueError: no model with weights in evaluation mode, or batch_size < 1.
    """

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        objective: Objective | None = None,
        batch_size: int = 1024,
        seed: int = 0,
    ) -> None:
        check_model(model)
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        self.centre = weights(model)
        self.parameters = list((copy := deepcopy(model).requires_grad_(True)).parameters())
        self.model, self.objective, self.seed = copy, objective or Standard(), seed
        x = split.x.to(self.centre.dtype)  # for a model in double precision
        self.batches = list(zip(x.split(batch_size), split.y.split(batch_size), strict=True))

    def __call__(self, theta: Tensor) -> Tensor:
        """The height above θ, with a graph to `parameters`."""
        vector_to_parameters(theta, self.parameters)
        n = sum(len(x) for x, _ in self.batches)
        with seeded(self.seed):
            return torch.stack([len(x) / n * self.objective(self.model, x, y) for x, y in self.batches]).sum()

    def heights(self, points: Tensor) -> Tensor:
        """The heights above many points, (T, P) to (T,), without a graph."""
        # Other objectives may ask for gradients, of the images or of the weights.
        with torch.set_grad_enabled(not isinstance(self.objective, Standard)):
            return torch.stack([self(theta).detach() for theta in points])


def check_directions(name: str, given: Tensor, shape: tuple[int, ...]) -> None:
    """Demand vectors with one number for each weight.

    Raises:
        ValueError: they have another shape.
    """
    if given.shape != shape:
        raise ValueError(
            f"{name} must be of shape {tuple(shape)}, one number for each of the model's {shape[-1]:,} weights, "
            f"got {tuple(given.shape)}"
        )
