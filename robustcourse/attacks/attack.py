"""What all attacks share: a frozen configuration that holds no model, checks its input, and leaves no trace."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robustcourse.checks import check_images, check_labels, check_logits, check_model, frozen
from robustcourse.runtime import seeded
from robustcourse.threats import Threat, per_example

if TYPE_CHECKING:
    from robustcourse.attacks.chain import Chain

Search = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Attack(ABC):
    """Searches a threat set for an input that the model misreads. `a | b` gives b the points that survive a.

    Args:
        threat: the set to search.
    """

    threat: Threat

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Search the threat set around every example.

        Args:
            model: in evaluation mode. Its weights, their gradients and its mode stay as they are.
            x: (B, ...) float32 or float64 in [0, 1].
            y: (B,) int64 labels.
            generator: source of all randomness, on the device of x; a fresh one with seed 0 if None. The result depends
                on it and the arguments alone, even if the model itself is random, and the global random state stays.

        Returns:
            (B, ...) in the threat set around x, as bad for the model as the attack could find.

        Raises:
            TypeError, ValueError: a wrong input, as `robustcourse.checks` says.
            FloatingPointError: the gradient of the loss has NaN or infinite values.
        """
        return self.guarded(self.search, model, x, y, generator)

    def guarded(
        self, search: Search, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Run a search on checked input, in a world of its own."""
        check_model(model)
        check_images(x)
        check_labels(y, x)
        generator = generator or torch.Generator(x.device).manual_seed(0)
        # A random model draws from a stream of its own, which depends on the generator and does not move it.
        seed = zlib.crc32(generator.get_state().numpy().tobytes())
        # Also where the caller evaluates under no_grad or inference_mode. Labels that were made under the latter cannot
        # be kept for a backward pass, their copy can.
        with seeded(seed), torch.inference_mode(False), torch.enable_grad(), frozen(model):
            return search(model, x.detach().clone(), y.clone(), generator).detach()

    @abstractmethod
    def search(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The attack itself: everything has been checked but the model's answers."""

    def __or__(self, other: Attack) -> Chain:
        from robustcourse.attacks.chain import Chain

        return Chain.of(self, other)


def query(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The model's logits (B, classes), without a gradient, and checked: an attack's first look at the model."""
    with torch.no_grad():
        logits = model(x)
    check_logits(logits, x)
    check_labels(y, x, classes=logits.shape[1])
    return logits


def likeliest(logits: Tensor, y: Tensor, count: int) -> Tensor:
    """The wrong classes of largest logit, largest first, (count, B); no more than there are."""
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.topk(min(count, logits.shape[1] - 1), 1).indices.T


def misread(logits: Tensor, y: Tensor) -> Tensor:
    """Where another class wins by more than rounding, (B,): such a point stays misread in any other batch."""
    top, right = logits.amax(1), logits.gather(1, y[:, None]).squeeze(1)
    return top - right > 100 * torch.finfo(logits.dtype).eps * (top.abs() + right.abs())


def slope(
    model: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor], bf16: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """One forward and one backward pass: logits (B, classes), losses (B,), and their gradient in x, (B, ...).

    Raises:
        ValueError: no gradient reaches x.
    """
    x = x.detach().requires_grad_(True)
    with torch.autocast(x.device.type, torch.bfloat16) if bf16 else nullcontext():
        logits = model(x)
    values = loss(logits.to(x.dtype))
    # For the input alone: faster than values.backward(), and the weights' gradients stay untouched. Each loss counts
    # once, as in their sum, which would be one more thing to go through.
    each = torch.ones_like(values)
    gradient = torch.autograd.grad(values, x, each, allow_unused=True)[0] if values.requires_grad else None
    if gradient is None:
        raise ValueError(
            "model gives no gradient with respect to its input, so this attack is blind: something in it detaches; "
            "attack it through `BPDA`, or with one that needs no gradient, as Square"
        )
    return logits.detach().to(x.dtype), values.detach(), gradient


def check_gradient(gradient: Tensor) -> None:
    """Demand finite numbers. The sign of NaN is zero, so a point with such a gradient would stay, and look robust.

    Raises:
        FloatingPointError: there are others.
    """
    # A sum of finite numbers may overflow, but no other sum is finite: one fast look settles most cases.
    if not gradient.sum().isfinite() and not gradient.isfinite().all():
        raise FloatingPointError("the gradient of the loss has NaN or infinite values; the attack cannot follow it")


class Standing:
    """The points that still stand, and what a search knows of each. One that breaks is written down, and leaves.

    On a GPU, where asking whether any point broke makes the processor wait, they leave at every tenth call.

    Args:
        model, bf16: the judge, and whether its verdicts come in half precision, and must be confirmed in full.
        s: the search's state, tensors of B rows each; at least x, y and x_adv.
        solved: (logits, y) to booleans (B,), the verdict to confirm.
    """

    def __init__(
        self, model: nn.Module, s: SimpleNamespace, bf16: bool = False, solved: Callable[..., Tensor] = misread
    ) -> None:
        self.found = s.x.clone()  # of all points, broken or not
        self.fell = torch.zeros(len(s.x), dtype=torch.bool, device=s.x.device)
        self._model, self._bf16, self._solved, self._calls = model, bf16, solved, 0
        self._every = 1 if s.x.device.type == "cpu" else 10
        s.index, s.broken, s.broken_at = torch.arange(len(s.x), device=s.x.device), self.fell.clone(), s.x

    def leave(self, s: SimpleNamespace, broken: Tensor) -> bool:
        """Take the points that are broken at x_adv, (b,), out of every tensor of s. Returns whether any is left."""
        s.broken_at = s.x_adv.where(per_example(broken & ~s.broken, s.x_adv), s.broken_at)
        s.broken = s.broken | broken
        self._calls += 1
        if self._calls % self._every == 0:
            self._let_go(s)
        return len(s.x) > 0

    def close(self, s: SimpleNamespace, points: str = "x_adv") -> tuple[Tensor, Tensor]:
        """End the search, and keep these points of those who stand. Returns all (B, ...), and who fell, (B,)."""
        self._let_go(s)
        self.found[s.index] = getattr(s, points)
        return self.found, self.fell

    def _let_go(self, s: SimpleNamespace) -> None:
        if not s.broken.any():
            return
        if self._bf16:
            at = s.broken.nonzero().squeeze(1)
            with torch.no_grad():
                s.broken[at] = self._solved(self._model(s.broken_at[at]), s.y[at])
        gone, stay = s.index[s.broken], ~s.broken
        self.found[gone], self.fell[gone] = s.broken_at[s.broken], True
        for name, tensor in vars(s).items():
            setattr(s, name, tensor[stay])
