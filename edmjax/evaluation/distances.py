"""How far a set of images, or of their features, is from another: distances, coverage, copies."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from edmjax._common.arguments import whole

_ROWS = 1000  # rows of a matrix of distances that are formed at once
_IMAGES = 250  # images whose distances to all training images are formed at once


def frechet_distance(
    x: Float[np.ndarray, "n features"], y: Float[np.ndarray, "m features"]
) -> float:
    """The squared Fréchet distance of the Gaussians with the sets' means and covariances.

        |m_x - m_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2))

    in the squared units of the features, computed in float64. It is 0 between equal laws. Between
    finite sets it is larger than between their laws, by the order of `1 / n + 1 / m`: compare
    distances of equal sizes only. `ValueError` where a set has fewer than 2 rows, the widths
    differ, or a number is not finite.

    Source: Heusel et al. 2017, equation 6, with features of Inception.
    """
    x, y = _features(x, y, 2, "2 or more")
    apart = x.mean(axis=0) - y.mean(axis=0)
    cov_x, cov_y = (np.atleast_2d(np.cov(v, rowvar=False)) for v in (x, y))
    # tr (A B)^(1/2) is the sum of the singular values of A^(1/2) B^(1/2): that product need not be
    # symmetric, but nothing complex appears, and its small values keep their digits.
    overlap = np.linalg.svd(_root(cov_x) @ _root(cov_y), compute_uv=False).sum()
    return float(apart @ apart + np.trace(cov_x) + np.trace(cov_y) - 2 * overlap)


def _root(cov: np.ndarray) -> np.ndarray:
    """The symmetric root of a covariance, whose rank may be less than its size."""
    values, vectors = np.linalg.eigh(cov)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _features(x: np.ndarray, y: np.ndarray, least: int, said: str) -> tuple[np.ndarray, np.ndarray]:
    """Both sets in float64, checked: `least` rows or more of as many finite features."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or min(len(x), len(y)) < least:
        raise ValueError(
            f"Both sets must be rows of features, {said}, got shape {x.shape} and {y.shape}."
        )
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"Both sets must have the same features, got {x.shape[1]} and {y.shape[1]} of them."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("There are features that are not finite: the samples diverged.")
    return x, y


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
    and `m` only. Computed in float64. `ValueError` where a set has `k` points or fewer, the widths
    differ, or a number is not finite.

    Source: Kynkäänniemi et al. 2019, equations 1 and 2, with their k = 3.
    """
    k = whole(k, "k")
    real, made = _features(real, made, k + 1, f"more than k = {k} of them")
    return PrecisionRecall(_share_inside(made, real, k), _share_inside(real, made, k))


def _share_inside(points: np.ndarray, centres: np.ndarray, k: int) -> float:
    radii = _squared_radii(centres, k)
    inside = [(rows <= radii).any(axis=1) for rows in _squared_distances(points, centres)]
    return float(np.concatenate(inside).mean())


def _squared_radii(points: np.ndarray, k: int) -> np.ndarray:
    """The squared distance of each point to the `k`-th nearest other one."""
    radii = []
    for part, squares in enumerate(_squared_distances(points, points)):
        rows = np.arange(len(squares))
        squares[rows, part * _ROWS + rows] = np.inf  # the point itself, but not its doubles
        radii.append(np.partition(squares, k - 1, axis=1)[:, k - 1])
    return np.concatenate(radii)


def _squared_distances(points: np.ndarray, y: np.ndarray) -> Iterator[np.ndarray]:
    """The squared distances of all points to all of `y`, `_ROWS` points at a time."""
    for start in range(0, len(points), _ROWS):
        x = points[start : start + _ROWS]
        yield np.maximum((x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * (x @ y.T), 0)


class Neighbours(NamedTuple):
    """Distances to the nearest and to the second nearest training image."""

    first: Float[np.ndarray, " n"]
    second: Float[np.ndarray, " n"]

    def copied(self) -> float:
        """The share of images whose nearest is closer than a third of the second nearest.

        The criterion of Gu et al. 2023 (arXiv 2310.02664), section 2. Some real images meet it by
        chance: their share is the floor.
        """
        return float(np.mean(self.first < self.second / 3))


def make_nearest(
    training: Float[np.ndarray, "m ..."],
) -> Callable[[Float[np.ndarray, "n ..."]], Neighbours]:
    """Returns a function of images: their Euclidean distances to the nearest two of `training`.

    In the units of a pixel, with all pixels of an image as one point. A matrix product in float32
    finds the nearest, and their distances are computed by subtraction: a copy has distance 0.
    `ValueError` for fewer than 2 training images, or for images of another shape.
    """
    if len(training) < 2:
        raise ValueError(f"There must be 2 training images or more, got {len(training)}.")
    flat = np.asarray(training, np.float32).reshape(len(training), -1)
    centre = flat.mean(axis=0)
    centred = jax.device_put(flat - centre)
    squares = jnp.sum(centred**2, axis=1)

    def nearest(images: np.ndarray) -> Neighbours:
        if images.shape[1:] != training.shape[1:]:
            raise ValueError(
                f"Images must have the shape of the training images, {training.shape[1:]}; got "
                f"{images.shape[1:]}."
            )
        rows = np.asarray(images, np.float32).reshape(len(images), -1) - centre
        found = [
            np.asarray(_two_nearest(rows[start : start + _IMAGES], centred, squares))
            for start in range(0, len(rows), _IMAGES)
        ]
        first, second = np.concatenate(found).T
        return Neighbours(first, second)

    return nearest


@jax.jit
def _two_nearest(rows: Any, centred: Any, squares: Any) -> Any:
    """The distances, (n, 2), to the two nearest of `centred`."""
    fit = jnp.matmul(rows, centred.T, precision=lax.Precision.HIGHEST) - squares / 2
    _, which = lax.top_k(fit, 2)
    apart = rows[:, None] - centred[which]
    return jnp.sort(jnp.sqrt(jnp.sum(apart**2, axis=-1)), axis=1)
