"""Precision and recall of samples: how many are like data, and how much of the data they reach."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_ROWS = 1000  # of a matrix of distances that are formed at once


class PrecisionRecall(NamedTuple):
    """Shares from 0 to 1."""

    precision: float
    recall: float


def precision_recall(
    real: Float[np.ndarray, "n features"], made: Float[np.ndarray, "m features"], *, k: int = 3
) -> PrecisionRecall:
    """The share of `made` in the manifold of `real`, and of `real` in the manifold of `made`.

    A set's manifold is the union of balls around its points, each as wide as the distance to the
    `k`-th nearest other point of the set, edges included. The sizes matter: compare at equal `n`
    and `m` alone. Computed in float64. `ValueError` where a set has `k` points or fewer, the widths
    differ, or a number is not finite.

    Source: Kynkäänniemi et al. 2019, equations 1 and 2, with their k = 3.
    """
    real, made = (np.asarray(v, np.float64) for v in (real, made))
    if k < 1 or real.ndim != 2 or made.ndim != 2 or min(len(real), len(made)) <= k:
        raise ValueError(
            f"Both sets must be rows of features, more than k of them, and k 1 or above; got "
            f"shapes {real.shape} and {made.shape}, and k = {k}."
        )
    if real.shape[1] != made.shape[1]:
        raise ValueError(
            f"Both sets must have the same features, got {real.shape[1]} and {made.shape[1]}."
        )
    if not (np.isfinite(real).all() and np.isfinite(made).all()):
        raise ValueError("There are features that are not finite: the samples diverged.")
    return PrecisionRecall(_share_inside(made, real, k), _share_inside(real, made, k))


def _share_inside(points: np.ndarray, centres: np.ndarray, k: int) -> float:
    radii = _squared_radii(centres, k)
    inside = [
        (_squared_distances(points[start : start + _ROWS], centres) <= radii).any(axis=1)
        for start in range(0, len(points), _ROWS)
    ]
    return float(np.concatenate(inside).mean())


def _squared_radii(points: np.ndarray, k: int) -> np.ndarray:
    """The squared distance of each point to the `k`-th nearest other one."""
    radii = []
    for start in range(0, len(points), _ROWS):
        squares = _squared_distances(points[start : start + _ROWS], points)
        rows = np.arange(len(squares))
        squares[rows, start + rows] = np.inf  # the point itself, but not its doubles
        radii.append(np.partition(squares, k - 1, axis=1)[:, k - 1])
    return np.concatenate(radii)


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * (x @ y.T)
    return np.maximum(squares, 0)
