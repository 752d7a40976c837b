"""What attacks make larger: losses that are high where the model is nearly, or already, wrong.

Each maps logits (B, classes) and labels (B,) to a number per example, (B,). The targeted ones take the class to reach
as well, (B,).

Sources: margin, Carlini & Wagner 2017 (arXiv:1608.04644); DLR, Croce & Hein 2020 (arXiv:2003.01690).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """−log of the probability of the label. Its gradient vanishes where the model is very sure, right or not."""
    return F.cross_entropy(logits, y, reduction="none")


def margin_loss(logits: Tensor, y: Tensor) -> Tensor:
    """The largest wrong logit minus the right one: positive exactly where the model errs."""
    return logits.scatter(1, y[:, None], -torch.inf).amax(1) - _of(logits, y)


def margin_targeted(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The target's logit minus the right one."""
    return _of(logits, target) - _of(logits, y)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """The margin over the difference of the largest and the third largest logit: no scaling of the logits hides it.

    With two classes there is no third logit, and the margin itself is used.
    """
    if logits.shape[1] < 3:
        return margin_loss(logits, y)
    top = logits.topk(3, 1).values
    return margin_loss(logits, y) / (top[:, 0] - top[:, 2] + 1e-12)


def dlr_targeted(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The targeted margin over the largest logit minus the mean of the third and fourth.

    With fewer than four classes there is no fourth logit, and the margin itself is used.
    """
    if logits.shape[1] < 4:
        return margin_targeted(logits, y, target)
    top = logits.topk(4, 1).values
    return margin_targeted(logits, y, target) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


def _of(logits: Tensor, y: Tensor) -> Tensor:
    return logits.gather(1, y[:, None]).squeeze(1)
