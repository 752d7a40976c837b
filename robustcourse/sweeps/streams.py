"""A stream of random numbers for each model: what one draws is no matter of who is trained beside it.

Methods draw for a whole batch at once, as in `torch.rand_like(x)`. Where the rows of a batch belong to many models in
turn, the call is taken apart: each model's rows come from its own generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

IN_PLACE = (Tensor.uniform_, Tensor.normal_, Tensor.exponential_, Tensor.bernoulli_, Tensor.random_)
NEW: dict[Any, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    torch.rand: (torch.empty, Tensor.uniform_),
    torch.randn: (torch.empty, Tensor.normal_),
    torch.rand_like: (torch.empty_like, Tensor.uniform_),
    torch.randn_like: (torch.empty_like, Tensor.normal_),
}


class Streams(TorchFunctionMode):
    """Within `with Streams(generators, rows):` random tensors of that many rows are drawn model by model.

    Tensors of another length are drawn as ever: they are no model's own. The generator that such a call names serves
    only for those.

    Args:
        generators: one a model, on the device of what is drawn.
        rows: of a batch, all models' together; a multiple of their number.
    """

    def __init__(self, generators: Sequence[torch.Generator], rows: int) -> None:
        super().__init__()
        self.generators, self.rows = generators, rows

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in NEW:
            make, fill = NEW[func]
            rest = {name: value for name, value in kwargs.items() if name != "generator"}
            if self._owned(out := make(*args, **rest)):
                return self._fill(fill, out)
        elif func in IN_PLACE and self._owned(args[0]):
            return self._fill(func, *args, **kwargs)
        return func(*args, **kwargs)

    def _owned(self, out: Tensor) -> bool:
        return out.dim() > 0 and len(out) == self.rows

    def _fill(self, func: Callable[..., Tensor], out: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        for block, generator in zip(out.chunk(len(self.generators)), self.generators, strict=True):
            func(block, *args, **{**kwargs, "generator": generator})
        return out
