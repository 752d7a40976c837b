"""What every call demands of its input, said once.

Nothing is silently clipped, cast or reshaped: a wrong input stops with an error that names it and says what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def check_images(x: Tensor) -> None:
    """Demand a non-empty float batch (B, ...) with finite values in [0, 1].

    Raises:
        TypeError: x is no tensor, or neither float32 nor float64: ε is finer than half precision can tell.
        ValueError: x is empty, has NaN or infinite values, or values outside [0, 1].
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a torch.Tensor, got {type(x).__name__}")
    if x.dtype not in {torch.float32, torch.float64}:
        raise TypeError(f"x must be float32 or float64 with values in [0, 1], got {x.dtype}; divide 0..255 by 255")
    if x.dim() < 2 or x.numel() == 0:
        raise ValueError(f"x must be a non-empty batch of shape (B, ...), got shape {tuple(x.shape)}")
    low, high = (float(end) for end in x.detach().aminmax())
    if not (low >= 0 and high <= 1):  # one comparison catches NaN too, which is neither
        if not x.isfinite().all():
            raise ValueError("x must be finite, but it has NaN or infinite values")
        raise ValueError(
            f"x must lie in [0, 1], got values in [{low:.3g}, {high:.3g}]; normalization is the model's first layer"
        )


def check_labels(y: Tensor, x: Tensor, classes: int | None = None) -> None:
    """Demand one int64 label for each example of x, in 0 … classes − 1 where the number of classes is known.

    Raises:
        TypeError: y is no int64 tensor.
        ValueError: y is not of shape (B,), lies on another device than x, or holds a label out of range.
    """
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        got = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(f"y must be an int64 tensor of labels, got {got}")
    if y.shape != x.shape[:1]:
        raise ValueError(f"y must have one label for each of the {len(x)} examples of x, got shape {tuple(y.shape)}")
    if y.device != x.device:
        raise ValueError(f"x and y must be on one device, got {x.device} and {y.device}")
    if classes is not None:
        low, high = (int(end) for end in y.aminmax())
        if low < 0 or high >= classes:
            raise ValueError(f"y must hold labels in 0 … {classes - 1}, got labels in {low} … {high}")


def check_logits(logits: Tensor, x: Tensor) -> None:
    """Demand logits (B, classes) for inputs (B, ...), none of them NaN.

    Raises:
        ValueError: the model returned something else.
    """
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(x):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"model must return logits of shape ({len(x)}, classes), got {got}")
    # Where there is a NaN, it is the maximum: found so at a quarter of the price.
    if logits.numel() and logits.max().isnan():
        raise ValueError("model returned NaN logits, which are no answer; did its training diverge?")


def check_module(model: nn.Module) -> None:
    """Demand a module, whose modes can be seen and set.

    Raises:
        TypeError: model is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")


def check_model(model: nn.Module) -> None:
    """Demand a module in evaluation mode: dropout and batch normalization act differently while training.

    Raises:
        TypeError: model is no module.
        ValueError: the model, or a part of it, is in training mode.
    """
    check_module(model)
    if any(part.training for part in model.modules()):
        raise ValueError("model is in training mode, which changes what it computes; call model.eval() first")


def check_nonnegative(name: str, number: float) -> None:
    """Demand a finite number ≥ 0 for an argument of this name: a radius, a weight in a loss.

    Raises:
        ValueError: it is negative, infinite or NaN.
    """
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name} must be a finite number >= 0, got {number}")


def check_share(name: str, number: float) -> None:
    """Demand a share for an argument of this name: a number from 0 to 1.

    Raises:
        ValueError: it is another one, or NaN.
    """
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {number}")


def check_untargeted(attack: object) -> None:
    """Demand an attack that drives away from the true labels: a targeted one would drive towards them, and help.

    Raises:
        ValueError: the attack is targeted.
    """
    if getattr(attack, "targeted", False):
        raise ValueError(f"attack must not be targeted, for the true labels would be its targets; got {attack}")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every part of the model in evaluation mode, and give each part its own mode back afterwards."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Ask for no gradient of the weights, so that a graph holds the input alone, and do as before afterwards."""
    weights = [weight for weight in model.parameters() if weight.requires_grad and weight.is_leaf]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
