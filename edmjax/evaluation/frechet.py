"""The Fréchet distance of two sets of features, each taken for a Gaussian."""

import numpy as np
from jaxtyping import Float


def frechet_distance(
    x: Float[np.ndarray, "n features"], y: Float[np.ndarray, "m features"]
) -> float:
    """The squared Fréchet distance of the Gaussians with the sets' means and covariances.

        |m_x - m_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2))

    in the squared units of the features, computed in float64. 0 between equal laws, but of finite
    sets it is above that of their laws, by the order of `1 / n + 1 / m`: compare distances at equal
    sizes alone. `ValueError` where a set has fewer than 2 rows, the widths differ, or a number is
    not finite.

    Source: Heusel et al. 2017, equation 6, who take features of Inception.
    """
    x, y = _checked("x", x), _checked("y", y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"Both sets must have the same features, got {x.shape[1]} and {y.shape[1]} of them."
        )
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


def _checked(name: str, features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            f"`{name}` must be rows of features, 2 or more, got shape {features.shape}."
        )
    if not np.isfinite(features).all():
        raise ValueError(f"`{name}` has features that are not finite: the samples diverged.")
    return features
