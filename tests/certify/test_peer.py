"""Our bounds beside those of another implementation, which were stored."""

from __future__ import annotations

import json

import pytest
import torch

from robustcourse import Linf, certify
from tests.certify import peer

STORED = json.loads(peer.FILE.read_text("utf-8"))


@pytest.mark.parametrize("method", peer.METHODS)
@pytest.mark.parametrize("name", peer.networks())
def test_bounds_are_the_same_or_better(name, method):
    x, y = peer.images()
    theirs = torch.tensor(STORED[name][method], dtype=torch.float64)
    ours = getattr(certify, method)(peer.networks()[name], x, y, Linf(peer.EPS))
    assert (ours >= theirs - 1e-9).all()
    if method == "crown":  # the better of lines and intervals, neuron by neuron, may be better than either
        assert (ours - theirs).mean() < 0.01 * theirs.abs().mean()
    else:
        boxes = torch.tensor(STORED[name]["ibp"], dtype=torch.float64)
        torch.testing.assert_close(ours, torch.maximum(theirs, boxes), rtol=1e-9, atol=1e-9)
