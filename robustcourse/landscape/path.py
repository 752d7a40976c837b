"""The way that training took, seen in the plane in which most of it lies.

A random plane shows next to nothing of a path, for in many dimensions two random directions are nearly at right angles
to all that happens. The two main directions of the path itself show as much as any plane can.

Source: Li, Xu, Taylor, Studer & Goldstein 2018 (arXiv:1712.09913), section 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.decomposition import PCA
from torch import Tensor


@dataclass(frozen=True)
class Plane:
    """The plane through the end of a path along its two main directions.

    Args:
        directions: (2, P) of length one, at right angles; as `slice2d` takes them.
        coordinates: (T, 2) where each point of the path falls on the plane; the end is (0, 0).
        explained: (2,) share of the path's variance along each.
    """

    directions: Tensor
    coordinates: Tensor
    explained: Tensor


def plane(path: Tensor | Sequence[Tensor]) -> Plane:
    """The plane of a path, from its principal components.

    To record one, keep `weights` of the start and of each epoch; the model ends where the path does, so that
    `slice2d(model, split, plane(path).directions, at)` is the loss on its plane:

        path = [weights(model)]
        path += fit(model, data, epochs=20, watch=weights).watched

    A point of the path lies above or below the plane, so its loss need not be that of the slice at its coordinates.

    Args:
        path: (T, P) weights in the order of training, or T vectors (P,); T ≥ 3.

    Raises:
        ValueError: fewer than three points, of different lengths, or all in one place.
    """
    if len(path) < 3:
        raise ValueError(f"path must have at least 3 points to span a plane, got {len(path)}")
    if len(shapes := {tuple(point.shape) for point in path}) > 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"path must consist of vectors of one length (P,), got shapes {sorted(shapes)}")
    points = torch.stack(list(path))
    if points.eq(points[0]).all():
        raise ValueError("path must move, but all its points are the same")
    # In full, for the randomized solver that scikit-learn takes otherwise draws from a random state.
    found = PCA(2, svd_solver="full").fit(points.cpu().numpy())
    directions = torch.from_numpy(found.components_).to(points)
    explained = torch.from_numpy(found.explained_variance_ratio_).to(points)
    return Plane(directions, (points - points[-1]) @ directions.T, explained)
