"""The margin: by how much the right answer wins. Below zero, the example is misread."""

from __future__ import annotations

from torch import Tensor

from robustcourse.attacks import margin_loss
from robustcourse.checks import check_labels


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Logit of the right class minus the largest of the others.

    Args:
        logits: (B, classes), at least two classes.
        y: (B,) int64 labels.

    Returns:
        (B,) margins, with a graph if the logits have one.

    Raises:
        TypeError, ValueError: y does not label the logits, or there is a single class.
    """
    check_labels(y, logits, classes=logits.shape[1])
    if logits.shape[1] < 2:
        raise ValueError(f"logits must be of at least two classes, got shape {tuple(logits.shape)}")
    return -margin_loss(logits, y)
