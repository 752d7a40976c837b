"""Normalization as a layer."""

from __future__ import annotations

import pytest
import torch

from robustcourse.models import Normalize


def test_each_channel_has_its_own_mean_and_spread():
    layer = Normalize(torch.tensor([0.5, 0.25]), torch.tensor([0.5, 0.25]))
    x = torch.stack([torch.full((3, 4), 1.0), torch.full((3, 4), 0.5)])[None]
    assert torch.equal(layer(x), torch.ones(1, 2, 3, 4))


def test_mean_and_spread_are_stored_with_the_model_and_are_not_trained():
    layer = Normalize(torch.tensor([0.5]), torch.tensor([0.5]))
    assert set(layer.state_dict()) == {"mean", "std"}
    assert not list(layer.parameters())


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.5, 0.5], [0.5], r"mean and std must both be of shape \(C,\), got \(2,\), \(1,\)"),
        (0.5, 0.5, r"mean and std must both be of shape \(C,\), got \(\), \(\)"),
        ([0.5], [0.0], r"std must be positive, got \[0.0\]"),
        ([0.5], [float("nan")], r"std must be positive, got \[nan\]"),
    ],
)
def test_what_is_refused(mean, std, message):
    with pytest.raises(ValueError, match=message):
        Normalize(torch.tensor(mean), torch.tensor(std))
