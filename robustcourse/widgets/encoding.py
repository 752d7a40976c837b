"""Networks and tensors as the page reads them.

Numbers travel as float16 (rounded by less than a part in two thousand), so a prediction that hangs by a hair may differ
from the one PyTorch makes in float32.
"""

from __future__ import annotations

import base64
from typing import Any

import torch
from torch import Tensor, nn

from robustcourse.checks import evaluating
from robustcourse.models import Normalize


def encode(model: nn.Module, x: Tensor) -> dict[str, Any]:
    """A model as nn.mjs reads it: the shape of an input, the number of classes and a list of layers.

    Args:
        model: layers in sequence (`nn.Sequential`): Normalize, Flatten, Linear, Conv2d and ReLU.
        x: (1, C, H, W), an input of the model; it is passed through to check that the layers fit.

    Raises:
        TypeError: the model is no sequence, or has a layer that the page cannot compute.
        ValueError: a weight is NaN, infinite or too large for float16, or the model returns no logits.
    """
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"model must be an nn.Sequential, got {type(model).__name__}")
    layers = []
    h = x
    with torch.no_grad(), evaluating(model):
        for layer in model:
            h = h.to(next(iter([*layer.parameters(), *layer.buffers()]), h))
            layers.append(_layer(layer, h))
            h = layer(h)
    if h.dim() != 2:
        raise ValueError(f"model must return logits of shape (B, classes), got {tuple(h.shape)}")
    return {"shape": list(x.shape[1:]), "classes": h.shape[1], "layers": layers}


def of_two_classes(network: dict[str, Any]) -> dict[str, Any]:
    if network["classes"] != 2:
        raise ValueError(f"model must have two classes, got {network['classes']}")
    return network


def _layer(layer: nn.Module, x: Tensor) -> dict[str, Any]:
    """One layer, whose input is x."""
    match layer:
        case Normalize():
            mean, std = (numbers(part.expand(x.shape[1:])) for part in (layer.mean, layer.std))
            return {"type": "normalize", "mean": mean, "std": std}
        case nn.Flatten(start_dim=1, end_dim=-1):
            return {"type": "flatten"}
        case nn.ReLU():
            return {"type": "relu"}
        case nn.Linear() if x.dim() == 2:
            return {"type": "linear", **_weights(layer)}
        case nn.Conv2d(dilation=(1, 1), groups=1, padding_mode="zeros") if not isinstance(layer.padding, str):
            sides = {"kernel": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
            return {"type": "conv2d", **_weights(layer), **{k: list(v) for k, v in sides.items()}}
    raise TypeError(
        f"the page cannot compute {layer} on an input of shape {tuple(x.shape)}; allowed are Normalize, Flatten, ReLU, "
        "Linear after Flatten, and Conv2d with numbers as zero padding, no dilation and no groups"
    )


def _weights(layer: nn.Linear | nn.Conv2d) -> dict[str, str]:
    return {"weight": numbers(layer.weight), "bias": numbers(bias_of(layer))}


def bias_of(layer: nn.Linear | nn.Conv2d) -> Tensor:
    return layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias


def numbers(values: Tensor) -> str:
    """The numbers of a tensor, row by row, as base64 of little-endian float16; `decode` of nn.mjs reads them.

    Raises:
        ValueError: a number is NaN, infinite or too large for float16.
    """
    half = values.detach().to("cpu", torch.float16)
    if not half.isfinite().all():
        raise ValueError("weights must be finite and below 65504, the largest float16")
    return base64.b64encode(half.contiguous().numpy().astype("<f2").tobytes()).decode()
