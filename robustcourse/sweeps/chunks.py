"""How much memory a member takes, and how a sweep is cut into chunks that fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise

import numpy as np

from robustcourse.data import Dataset
from robustcourse.sweeps.ensemble import rounded
from robustcourse.sweeps.member import Member
from robustcourse.sweeps.together import LOOK
from robustcourse.train.objectives import Objective, Standard


def footprint(member: Member, data: Dataset, objective: Objective | None = None, batch_size: int | None = None) -> int:
    """About how many bytes a member takes in training at most, as one of many.

    Eight copies of its weights: its own, those in the ensemble, their gradients, two moments of Adam, and for an
    instant the weights and moments of those that stay when others retire. Then what is kept of each example in a batch,
    or of each test example that is looked at. The factors are measured ones, for float32 and an attack like PGD.
    """
    pixels, width = math.prod(data.shape), rounded(member.width)
    sizes = [pixels, *[width] * member.depth, data.classes]
    weights = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes))
    hidden, examples = width * member.depth, member.examples or len(data.train)
    batch, look = min(batch_size or examples, examples), min(len(data.test), LOOK)
    if isinstance(objective or Standard(), Standard):  # which takes all images from where they lie
        row = 4 * (pixels * (batch < examples) + hidden + data.classes)
    else:
        row = 10 * pixels + 6 * hidden + 16 * data.classes
    return 4 * (8 * weights + max(batch * row, look * 2 * (hidden + data.classes)))


def chunks(members: Sequence[Member], sizes: Mapping[Member, int], memory: float, workers: int) -> list[list[Member]]:
    """Members that can be trained together, in parts of about the same size, the large members first.

    Args:
        members: each with its number of examples, which is the same within a chunk.
        sizes: their footprints, each at most `memory`.
        memory: that the footprints in a chunk add up to, at most.
        workers: there are as many chunks at least, or one for each member.
    """
    ordered = sorted(members, key=lambda m: (m.examples or 0, m.depth, m.width), reverse=True)
    size = np.array([sizes[member] for member in ordered])
    middle = (size.cumsum() - size / 2) / size.sum()  # where each lies when they stand in a row of length 1
    parts = workers
    while True:
        row = zip(ordered, (parts * middle).astype(int), strict=True)
        cut = [[m for m, _ in chunk] for _, chunk in groupby(row, key=lambda at: (at[0].examples, at[1]))]
        fits = all(sum(sizes[member] for member in chunk) <= memory for chunk in cut)
        if fits and len(cut) >= min(workers, len(members)):
            return cut
        parts += 1 + parts // 8
