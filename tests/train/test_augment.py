"""Augmentation: windows of the padded image, each image its own, mirrored or not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from robustcourse.runtime import seeded
from robustcourse.train import CropFlip


@pytest.mark.parametrize("flip", [False, True])
def test_each_image_becomes_one_of_the_windows_and_all_of_them_occur(flip):
    image = torch.rand(2, 3, 5)
    padded = F.pad(image, [1] * 4)
    windows = [padded[:, top : top + 3, left : left + 5] for top in range(3) for left in range(3)]
    windows += [window.flip(-1) for window in windows] if flip else []
    with seeded(0):
        got = CropFlip(pad=1, flip=flip)(image.expand(400, -1, -1, -1))
    which = [[torch.equal(one, window) for window in windows] for one in got]
    assert all(sum(row) == 1 for row in which)
    assert all(any(column) for column in zip(*which, strict=True))


def test_without_padding_and_mirrors_nothing_changes():
    x = torch.rand(3, 1, 4, 4)
    assert torch.equal(CropFlip(pad=0, flip=False)(x), x)


def test_it_draws_from_the_global_stream_and_leaves_its_input_alone():
    x = torch.rand(9, 1, 4, 4)
    before = x.clone()
    with seeded(1):
        one, two = CropFlip()(x), CropFlip()(x)
    with seeded(1):
        again = CropFlip()(x)
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
    assert torch.equal(x, before)


def test_a_negative_padding_is_refused():
    with pytest.raises(ValueError, match="pad must be >= 0, got -1"):
        CropFlip(pad=-1)
