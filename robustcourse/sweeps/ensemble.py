"""Many small networks as one: a step of a hundred of them costs little more than its arithmetic.

A small network spends its time on the way to the processor: each operation takes microseconds before it begins. So the
weights of networks of like size are stacked, and one operation serves them all. Widths are rounded up with units whose
weights are all zero. Such a unit gives nothing, gets no gradient, and so stays zero: each network computes what it
would compute alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcourse.models import Normalize
from robustcourse.sweeps.streams import Streams

ROUND = 8  # widths are rounded up to a multiple: few stacks, and no half-filled registers


class Ensemble(nn.Module):
    """M networks from `mlp`, of any widths and depths, as one module in evaluation mode.

    Rows of a batch belong to the networks in turn: the first B to the first one. So every attack and every objective
    that treats examples one by one works on all networks as it does on one. Networks of like size should stand next to
    each other, where they share a stack.

    Args:
        models: `nn.Sequential`s of normalization, flattening, linear layers with biases and ReLUs in between, with the
            same normalization, classes and device. They keep their weights until `write` is called.

    Raises:
        TypeError: a model with another layer.
        ValueError: no models, or normalization, classes or device differ.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        if not models:
            raise ValueError("models must hold at least one model, got none")
        layers = [_layers(model) for model in models]
        first = models[0]
        assert isinstance(first, nn.Sequential)
        for m, model in enumerate(models):
            if not _alike(model, first) or layers[m][-1].out_features != layers[0][-1].out_features:
                raise ValueError(
                    f"models must share normalization, classes and device, but model {m} and model 0 differ; "
                    "make all of them from one data set"
                )
        self.normalize, self.flatten = first[0], first[1]
        self.batch: int | None = None  # rows of each network within `rows`, where other numbers are a mistake
        self._models = layers  # in lists of lists, where torch does not look for weights
        stacks = (Stack(list(alike)) for _, alike in groupby(layers, key=_sizes))
        self.stacks: Sequence[Stack] = nn.ModuleList(stacks)  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._models)

    def forward(self, x: Tensor) -> Tensor:
        """Each network's logits on its own rows: (M·B, *shape) to (M·B, classes).

        Raises:
            ValueError: a number of rows that the networks cannot share.
        """
        batch = self.batch or len(x) // len(self)
        if len(x) != batch * len(self):
            raise ValueError(
                f"an ensemble of {len(self)} models needs {f'{batch} rows' if self.batch else 'as many rows'} for "
                f"each, got {len(x)} in all; attacks that let points go (early_exit, restarts, chains) do not fit"
            )
        return self.each(x.unflatten(0, (len(self), batch))).mT.flatten(0, 1)

    def each(self, x: Tensor) -> Tensor:
        """Logits of all networks, (M, classes, B): the layout in which they are fastest, and cross-entropy too.

        Args:
            x: (B, C, H, W) that all networks see, or (M, B, C, H, W), for each its own.
        """
        shared = x.dim() == 4
        z = self.flatten(self.normalize(x if shared else x.flatten(0, 1)))
        z = z.T.expand(len(self), -1, -1) if shared else z.unflatten(0, x.shape[:2]).mT
        parts = z.split([len(stack) for stack in self.stacks])
        return torch.cat([stack(part) for stack, part in zip(self.stacks, parts, strict=True)])

    @contextmanager
    def rows(self, x: Tensor, generators: Sequence[torch.Generator]) -> Iterator[Tensor]:
        """All networks' examples, one network's below the other's: (M·B, C, H, W).

        Within the block the networks take so many rows and no others, and random tensors of so many rows come from the
        generators, each network's from its own.

        Args:
            x: as for `each`.
            generators: M of them, on the device of x.
        """
        rows = (x.expand(len(self), *x.shape) if x.dim() == 4 else x).flatten(0, 1)
        self.batch = len(rows) // len(self)
        try:
            with Streams(generators, len(rows)):
                yield rows
        finally:
            self.batch = None

    def square_norms(self) -> Tensor:
        """‖θ‖² of each network, biases included, (M,)."""
        return torch.cat(
            [sum(p.square().flatten(1).sum(1) for p in stack.parameters()) for stack in self.stacks]  # type: ignore[misc]
        )

    def keep(self, which: Tensor) -> list[tuple[nn.Parameter, nn.Parameter, Tensor]]:
        """Let all networks go but these.

        Args:
            which: (M,) booleans.

        Returns:
            For each tensor of weights that is left: what it was, what it is, and which rows were kept.
        """
        moved = []
        parts = which.split([len(stack) for stack in self.stacks])
        for stack, kept in zip(self.stacks, parts, strict=True):
            moved += stack.keep(kept)
        self.stacks = nn.ModuleList(stack for stack in self.stacks if len(stack))  # type: ignore[assignment]
        self._models = [layers for layers, kept in zip(self._models, which.tolist(), strict=True) if kept]
        return moved

    @torch.no_grad()
    def write(self) -> None:
        """Give the models that the ensemble was made of the weights that it has now."""
        rows = (row for stack in self.stacks for row in stack.rows())
        for layers, row in zip(self._models, rows, strict=True):
            for layer, (weight, bias) in zip(layers, row, strict=True):
                layer.weight.copy_(weight[: layer.out_features, : layer.in_features])
                layer.bias.copy_(bias[: layer.out_features, 0])


class Stack(nn.Module):
    """Networks whose sizes are equal when rounded up, layer by layer as (G, out, in) and (G, out, 1)."""

    def __init__(self, networks: Sequence[list[nn.Linear]]) -> None:
        super().__init__()
        sizes = _sizes(networks[0])
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layers, (fan_in, fan_out) in zip(zip(*networks, strict=True), pairwise(sizes), strict=True):
            self.weights.append(
                torch.stack([_padded(layer.weight, fan_out, fan_in) for layer in layers]).requires_grad_()
            )
            self.biases.append(
                torch.stack([_padded(layer.bias[:, None], fan_out, 1) for layer in layers]).requires_grad_()
            )

    def __len__(self) -> int:
        return len(self.weights[0])

    def forward(self, z: Tensor) -> Tensor:
        """(G, pixels, B) to (G, classes, B)."""
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = torch.baddbmm(bias, weight, z)
            z = z if i == last else z.relu_()
        return z

    def keep(self, which: Tensor) -> list[tuple[nn.Parameter, nn.Parameter, Tensor]]:
        moved = []
        for tensors in (self.weights, self.biases):
            for i, old in enumerate(tensors):
                tensors[i] = nn.Parameter(old.detach()[which])
                moved.append((old, tensors[i], which))
        return moved

    def rows(self) -> list[list[tuple[Tensor, Tensor]]]:
        """Weights and biases of each network, layer by layer."""
        return [[(w[g], b[g]) for w, b in zip(self.weights, self.biases, strict=True)] for g in range(len(self))]


def rounded(width: int) -> int:
    """How many units a hidden layer of this width has in a stack."""
    return -(-width // ROUND) * ROUND


def _layers(model: nn.Module) -> list[nn.Linear]:
    parts = list(model) if isinstance(model, nn.Sequential) else [model]
    linear = parts[2::2]
    good = (
        len(parts) % 2
        and [type(part) for part in parts[:2]] == [Normalize, nn.Flatten]
        and all(type(part) is nn.Linear and part.bias is not None for part in linear)
        and all(type(part) is nn.ReLU for part in parts[3::2])
    )
    if not good:
        got = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(
            f"models must be Normalize, Flatten and Linear layers with ReLUs between, as mlp makes; got {got}"
        )
    return linear  # type: ignore[return-value]


def _sizes(layers: Sequence[nn.Linear]) -> list[int]:
    """Pixels, the hidden widths rounded up, and classes."""
    return [layers[0].in_features, *(rounded(layer.out_features) for layer in layers[:-1]), layers[-1].out_features]


def _padded(tensor: Tensor, rows: int, columns: int) -> Tensor:
    return F.pad(tensor.detach(), (0, columns - tensor.shape[1], 0, rows - tensor.shape[0]))


def _alike(model: nn.Module, other: nn.Module) -> bool:
    mine, yours = [*model[0].buffers(), *model[0].parameters()], [*other[0].buffers(), *other[0].parameters()]  # type: ignore[index]
    device, its = next(model.parameters()).device, next(other.parameters()).device
    return device == its and all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(mine, yours, strict=True))
