"""Small models for tests of attacks: some whose worst case is known, some trained, some that resist in odd ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from itertools import product
from types import SimpleNamespace
from typing import Any

import torch
from scipy import optimize
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from robustcourse import PGD, AdversarialTraining, Linf, Standard, fit, load, mlp
from robustcourse.attacks.attack import Standing, misread
from robustcourse.data import Dataset, Split
from robustcourse.threats import Threat


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Sequential:
    """Logits ⟨w_k, x⟩ + b_k, for weights (classes, pixels)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight, torch.zeros(len(weight)) if bias is None else bias
    return nn.Sequential(nn.Flatten(), layer.to(weight.dtype)).eval()


def network(pixels: int, classes: int = 3, scale: float = 1.0, seed: int = 0) -> nn.Sequential:
    """A random ReLU network that predicts all of its classes around grey images."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 8), nn.ReLU(), nn.Linear(8, classes)).eval()
    model[1].bias.data = -model[1].weight.data.sum(1) / 2
    model[-1].weight.data *= scale
    return model


def images(n: int = 50, pixels: int = 6, low: float = 0.4, high: float = 0.6) -> Tensor:
    """Uniform between two greys, by default so far from the box that small changes never meet it."""
    return low + (high - low) * torch.rand(n, 1, 1, pixels, generator=generator(1))


def hits(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1) == y


def wrong(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Misread by more than rounding."""
    with torch.no_grad():
        return misread(model(x), y)


def margins(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """f_y − f_k, (B, classes): what certificates bound from below."""
    logits = model(x)
    return logits.gather(1, y[:, None]) - logits


def by_patterns(model: nn.Module, x: Tensor, y: int, threat: Threat) -> Tensor:
    """The least margins of an MLP, (classes,): a linear program for each pattern of signs of all its hidden neurons."""
    low, high = (end.flatten().double().numpy() for end in threat.hull(x))
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    best = torch.full((linear[-1].out_features,), torch.inf).double()
    for signs in product([0.0, 1.0], repeat=sum(layer.out_features for layer in linear[:-1])):
        a, b = torch.eye(x.numel()).double(), torch.zeros(x.numel()).double()
        left, right, signs = [], [], torch.tensor(signs).double()
        for layer in linear[:-1]:
            on, signs = signs[: layer.out_features], signs[layer.out_features :]
            a, b = layer.weight.double() @ a, layer.weight.double() @ b + layer.bias.double()
            left.append(((1 - 2 * on)[:, None] * a).detach())
            right.append(((2 * on - 1) * b).detach())
            a, b = on[:, None] * a, on * b
        a, b = linear[-1].weight.double() @ a, linear[-1].weight.double() @ b + linear[-1].bias.double()
        for k in range(len(best)):
            goal, rest = (a[y] - a[k]).detach().numpy(), float((b[y] - b[k]).detach())
            found = optimize.linprog(
                goal, torch.cat(left).numpy(), torch.cat(right).numpy(), bounds=list(zip(low, high, strict=True))
            )
            if found.status == 0:
                best[k] = min(best[k], found.fun + rest)
    return best


class Constant(nn.Module):
    """Always sure of class 0, whatever it sees: nothing can break it. It has gradients, all of them zero."""

    def forward(self, x: Tensor) -> Tensor:
        logits = 0 * x.flatten(1)[:, :1].expand(-1, 3)
        return logits + torch.tensor([1.0, 0.0, 0.0], dtype=x.dtype)


class Detached(nn.Module):
    """The same answers, and no gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.eval()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.detach()).detach()


class Noisy(nn.Module):
    """A random defence: answers for the image and fresh noise, from the global random stream."""

    def __init__(self, model: nn.Module, size: float = 0.1) -> None:
        super().__init__()
        self.model, self.size = model, size
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x + self.size * torch.randn_like(x))


class Twins(nn.Module):
    """Two classes with the same logit, added up in two orders: only rounding tells them apart."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.weight, self.order = 10 * torch.rand(pixels, generator=generator()), torch.arange(pixels).flip(0)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        return torch.stack([x @ weight, x[:, self.order] @ weight[self.order]], 1)


class Scaled(nn.Module):
    """Logits so large that the probability of the answer rounds to one: cross-entropy loses its gradient."""

    def __init__(self, model: nn.Module, factor: float = 1e4) -> None:
        super().__init__()
        self.model, self.factor = model, factor
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.model(x)


class Rounded(nn.Module):
    """Pixels are rounded to a few levels first: the gradient is zero everywhere."""

    def __init__(self, model: nn.Module, levels: int = 4) -> None:
        super().__init__()
        self.model, self.levels = model, levels
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(self.round(x))

    def round(self, x: Tensor) -> Tensor:
        return (x * self.levels).round() / self.levels


@cache
def digits() -> Split:
    """The first 120 test images."""
    return load("digits").test[:120]


@cache
def trained(kind: str = "standard") -> nn.Module:
    """A network on digits, "standard" or "robust" in L∞. All tests share it, so none may change it."""
    data = load("digits")
    model = mlp(data, width=64)
    fit(model, data, Standard() if kind == "standard" else AdversarialTraining(PGD(Linf(0.15), steps=4)), epochs=12)
    return model.requires_grad_(False)


@cache
def precise() -> nn.Module:
    """The standard network in double precision, where it does not matter which points share a batch."""
    return deepcopy(trained()).double()


@contextmanager
def watching(model: nn.Module) -> Iterator[list[Tensor]]:
    """Keep every batch that the model sees."""
    seen: list[Tensor] = []
    hook = model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    try:
        yield seen
    finally:
        hook.remove()


class HostReads(TorchDispatchMode):
    """Counts the operations for which a GPU would have to finish first, because Python asks for a value or a shape."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        booleans = name in {"index", "index_put", "index_put_"} and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        )
        if booleans or name in {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique"}:
            self.count += 1
        return func(*args, **(kwargs or {}))


def watch_standing(monkeypatch, every: int | None = None) -> list[SimpleNamespace]:
    """Note what each search believes to have broken; `every`: let broken points go only now and then, as on a GPU."""
    seen, begin, close = [], Standing.__init__, Standing.close

    def begins(self, model, s, *rest):
        begin(self, model, s, *rest)
        self.x, self.y = s.x, s.y
        if every is not None:
            self._every = every

    def closes(self, *args):
        found, fell = close(self, *args)
        seen.append(SimpleNamespace(model=self._model, x=self.x, y=self.y, found=found.clone(), fell=fell.clone()))
        return found, fell

    monkeypatch.setattr(Standing, "__init__", begins)
    monkeypatch.setattr(Standing, "close", closes)
    return seen


def case(classes: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A linear model in which all classes meet at grey, images around it, and their labels."""
    w = torch.randn(classes, 6, generator=generator())
    model, x = linear(w, -w.sum(1) / 2), images()
    return model, x, model(x).argmax(1)


def truth(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> Tensor:
    """The distance to the nearest boundary of a linear model: margin / dual norm, smallest over the other classes."""
    logits, w = model(x).detach(), model[1].weight.data
    gaps = logits.gather(1, y[:, None]) - logits
    away = gaps / torch.stack([threat.dual((w[k] - w[y]).view_as(x)) for k in range(len(w))], 1)
    return away.scatter(1, y[:, None], torch.inf).amin(1)


def points(n: int = 40, classes: int = 4) -> Dataset:
    """Points of random pixels and random labels: nothing to understand, all to be learned by heart."""
    x = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    split = Split(x, torch.arange(n) % classes)
    return Dataset("points", split, split, classes, "drawn here")
