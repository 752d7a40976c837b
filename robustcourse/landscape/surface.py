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
    check_vector("theta", theta, len(own))
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

    def __init__(self, model: nn.Module, split: Split, objective: Objective | None, batch_size: int, seed: int) -> None:
        check_model(model)
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        self.centre = weights(model)
        self.model = deepcopy(model).requires_grad_(True)
        self.parameters = list(self.model.parameters())
        self.objective, self.size, self.seed = objective or Standard(), len(split), seed
        x = split.x.to(self.centre.dtype)  # for a model in double precision
        self.batches = list(zip(x.split(batch_size), split.y.split(batch_size), strict=True))

    def __call__(self, theta: Tensor) -> Tensor:
        """The height above θ, with a graph to `parameters`."""
        vector_to_parameters(theta, self.parameters)
        with seeded(self.seed):
            losses = [len(x) / self.size * self.objective(self.model, x, y) for x, y in self.batches]
        return torch.stack(losses).sum()

    def gradient(self, theta: Tensor) -> Tensor:
        """The gradient at θ, (P,), with a graph to `parameters`; worst images are held fixed."""
        with torch.enable_grad():
            parts = torch.autograd.grad(self(theta), self.parameters, create_graph=True, materialize_grads=True)
            return torch.cat([part.flatten() for part in parts])

    def heights(self, points: Tensor) -> Tensor:
        """The heights above many points, (T, P) to (T,), without a graph."""
        # An objective other than this one may ask for gradients, of images or of weights.
        with torch.set_grad_enabled(not isinstance(self.objective, Standard)):
            return torch.stack([self(theta).detach() for theta in points])


def check_vector(name: str, vector: Tensor, size: int) -> None:
    """Demand one number for each weight.

    Raises:
        ValueError: it has another shape.
    """
    if vector.shape != (size,):
        raise ValueError(f"{name} must be of shape ({size},), one number a weight, got {tuple(vector.shape)}")
