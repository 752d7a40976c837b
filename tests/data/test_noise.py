"""Label noise: as many wrong labels as asked for, each a wrong one, and nothing else changed."""

from __future__ import annotations

import pytest
import torch

from robustcourse import load
from robustcourse.data import label_noise


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_so_many_labels_are_wrong_and_all_classes_occur_among_them(share):
    data = load("digits")
    noisy = label_noise(data, share, seed=1)
    wrong = noisy.train.y != data.train.y
    assert int(wrong.sum()) == round(share * len(data.train))
    if share:
        assert len(noisy.train.y[wrong].unique()) == 10
    assert torch.equal(noisy.train.x, data.train.x)
    assert torch.equal(noisy.test.y, data.test.y)


def test_the_seed_decides_and_the_data_stay_as_they_are():
    data = load("digits")
    before, state = data.train.y.clone(), torch.get_rng_state()
    one, two, other = (label_noise(data, 0.3, seed).train.y for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(data.train.y, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_other_shares_are_refused(share):
    with pytest.raises(ValueError, match=r"share must be in \[0, 1\], got"):
        label_noise(load("digits"), share)
