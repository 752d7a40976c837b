"""Splits and data sets: what they hold, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from robustcourse.data import Dataset, Split

X = torch.rand(6, 3, 4, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6) % 2
SPLIT = Split(X, Y)


def test_a_split_is_selected_by_slice_list_and_mask():
    assert len(SPLIT) == 6
    for index in (slice(0, 6, 2), [0, 2, 4], Y == 0):
        part = SPLIT[index]
        assert torch.equal(part.x, X[::2])
        assert part.y.tolist() == [0, 0, 0]


def test_a_data_set_knows_its_shape_and_prints_its_size():
    data = Dataset("noise", SPLIT, SPLIT[:2], 2, "drawn here")
    assert data.shape == (3, 4, 5)
    assert repr(data) == "Dataset(noise: 6 + 2 of (3, 4, 5), 2 classes)"
    assert data.to("cpu").train.x.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (X.flatten(1), Y, ValueError, r"x must be of shape \(N, C, H, W\), got \(6, 60\)"),
        (X * 255, Y, ValueError, r"x must lie in \[0, 1\]"),
        (X[:0], Y[:0], ValueError, "x must be a non-empty batch"),
        (X.double(), Y, TypeError, "x must be float32, as models are, got torch.float64"),
        (X.half(), Y, TypeError, "x must be float32 or float64"),
        (X, Y[:5], ValueError, "y must have one label for each of the 6 examples"),
        (X, Y.int(), TypeError, "y must be an int64 tensor of labels, got torch.int32"),
    ],
)
def test_a_split_refuses_what_it_should_not_hold(x, y, error, message):
    with pytest.raises(error, match=message):
        Split(x, y)


def test_an_empty_selection_is_refused():
    with pytest.raises(ValueError, match="x must be a non-empty batch"):
        SPLIT[Y == 7]
