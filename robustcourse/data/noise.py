"""Label noise: some training labels are wrong, as they are in the world. The test labels stay right."""

from __future__ import annotations

import dataclasses

import torch

from robustcourse.checks import check_share
from robustcourse.data.dataset import Dataset, Split
from robustcourse.runtime import stream


def label_noise(data: Dataset, share: float, seed: int = 0) -> Dataset:
    """The same data with a share of the training labels replaced, each by one of the other classes.

    Args:
        share: of the training examples, in [0, 1], rounded to a whole number of them.
        seed: of which examples and which labels.

    Raises:
        ValueError: the share is outside [0, 1].
    """
    check_share("share", share)
    # A stream of its own: with the same seed, `fit` would meet the wrong labels first.
    y, generator = data.train.y.clone(), stream(f"label noise, {seed}")
    wrong = torch.randperm(len(y), generator=generator)[: round(share * len(y))]
    shift = torch.randint(1, data.classes, (len(wrong),), generator=generator)
    wrong, shift = wrong.to(y.device), shift.to(y.device)
    y[wrong] = (y[wrong] + shift) % data.classes
    return dataclasses.replace(data, train=Split(data.train.x, y))
