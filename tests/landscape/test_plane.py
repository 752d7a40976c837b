"""The plane of a path that lies in a plane, of one that does not, and of training."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcourse import fit
from robustcourse.landscape import plane, slice2d, weights
from tests.landscape.cases import AT, DATA, SPLIT, small


def wander(steps: int, size: int, seed: int) -> torch.Tensor:
    return torch.randn(steps, size, generator=torch.Generator().manual_seed(seed)).double().cumsum(0)


@given(seed=st.integers(0, 1000), steps=st.integers(3, 30), size=st.integers(2, 40))
@settings(max_examples=20, deadline=None)
def test_a_flat_path_is_found_again_in_its_plane(seed, steps, size):
    path = wander(steps, 2, seed) @ wander(2, size, seed + 1) + 5
    found = plane(path)
    torch.testing.assert_close(path[-1] + found.coordinates @ found.directions, path)
    assert float(found.explained.sum()) == pytest.approx(1)
    torch.testing.assert_close(found.directions @ found.directions.T, torch.eye(2).double())


@given(seed=st.integers(0, 1000), steps=st.integers(3, 30), size=st.integers(3, 600))
@settings(max_examples=20, deadline=None)
def test_the_directions_are_singular_vectors(seed, steps, size):
    path = wander(steps, size, seed)
    found = plane(list(path))
    _, lengths, ways = torch.linalg.svd(path - path.mean(0), full_matrices=False)
    torch.testing.assert_close(found.explained, lengths[:2] ** 2 / (lengths**2).sum())
    torch.testing.assert_close((found.directions * ways[:2]).sum(1).abs(), torch.ones(2).double())
    assert found.coordinates.shape == (steps, 2)
    assert not found.coordinates[-1].any()


def test_training_leaves_a_path_whose_end_is_the_middle_of_the_slice():
    model = small().float()
    path = [weights(model)]
    path += fit(model, DATA, epochs=6, watch=weights).watched
    assert path[-1].equal(weights(model))
    found = plane(path)
    assert found.explained[0] > found.explained[1] > 0
    losses = slice2d(model, SPLIT, found.directions, AT)
    assert losses[2, 2] == slice2d(model, SPLIT, found.directions, torch.zeros(1))
    assert plane(path).directions.equal(found.directions)


def test_wrong_input_is_named():
    for path in ([], wander(2, 5, 0)):
        with pytest.raises(ValueError, match=f"path must have at least 3 points to span a plane, got {len(path)}"):
            plane(path)
    with pytest.raises(
        ValueError, match=r"path must consist of vectors of one length \(P,\), got shapes \[\(4,\), \(5,\)\]"
    ):
        plane([torch.ones(5), torch.ones(4), torch.zeros(5)])
    with pytest.raises(ValueError, match=r"path must consist of vectors of one length \(P,\), got shapes \[\(2, 2\)\]"):
        plane(torch.ones(3, 2, 2))
    with pytest.raises(ValueError, match="path must move, but all its points are the same"):
        plane(torch.ones(3, 4))
