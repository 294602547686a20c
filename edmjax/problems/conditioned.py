"""What conditions an exact problem on a linear Gaussian measurement `y = A x0 + noise`.

For data N(m, C) with S = A C A^T + R, R diagonal,

    log p(y) = log N(y; A m, S)
    x0 | y ~ N(m + K (y - A m), C - K A C),    K = C A^T S^-1.

Where nothing is traced, everything is computed in float64 on the host.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import describe
from edmjax._common.typing import Arraylike


@runtime_checkable
class Matrices(Protocol):
    """A linear measurement, as `ej.posterior` makes it."""

    def in_matrices(self, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
        """`(A, y, variance)` for samples of this shape."""
        ...


class Update(NamedTuple):
    """The posterior of one Gaussian, or of several, along a first axis of `mean`."""

    mean: Any  # (..., d)
    variances: Any  # (..., d)
    basis: Any  # (..., d, d), in columns
    log_evidence: Any  # (...)


def read(measurement: object, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """`(A, y, variance)` of a measurement.

    Raises:
        TypeError: it is not a linear one.
        ValueError: `y` is not that of one sample.
    """
    if not hasattr(measurement, "in_matrices"):
        raise TypeError(
            "`measurement` must be a linear one, such as `ej.posterior.linear(apply, y, "
            f"noise_std)`, got {describe(measurement)}."
        )
    return measurement.in_matrices(shape)  # type: ignore[attr-defined]


def updated(
    mean: Arraylike,
    variances: Arraylike,
    basis: Arraylike | None,
    matrices: tuple[Arraylike, Arraylike, Arraylike],
) -> Update:
    """The posterior of N(mean, basis diag(variances) basis^T); `basis` None is the identity.

    `mean` may have axes in front: Gaussians that share the covariance.
    """
    a, y, noise, mean, variances, basis = _untyped(*matrices, mean, variances, basis)
    xp = module_of(a, y, noise, mean, variances, basis)
    root = xp.sqrt(variances) if basis is None else basis * xp.sqrt(variances)
    # C = root root^T, and G = A root: P = root (I - G^T S^-1 G) root^T.
    g = a * root if basis is None else a @ root
    total = g @ g.T + xp.diag(noise)
    values, vectors = xp.linalg.eigh((total + total.T) / 2)
    seen = values > len(noise) * xp.finfo(values.dtype).eps * values[-1]
    safe = xp.where(seen, values, 1)
    half = (vectors.T @ g) * xp.where(seen, 1 / xp.sqrt(safe), 0)[:, None]  # S^-1/2 G
    middle = xp.eye(g.shape[1]) - half.T @ half
    covariance = root[:, None] * middle * root if basis is None else root @ middle @ root.T
    left, directions = xp.linalg.eigh((covariance + covariance.T) / 2)
    rounding = len(left) * 4 * xp.finfo(left.dtype).eps * xp.max(variances)
    left = xp.where(left > rounding, left, 0)
    white = ((y - mean @ a.T) @ vectors) * xp.where(seen, 1 / xp.sqrt(safe), 0)  # S^-1/2 (y - A m)
    step = white @ half
    new = mean + (step * root if basis is None else step @ root.T)
    sizes = xp.where(seen, xp.log(2 * np.pi * safe), 0)
    return Update(new, left, directions, -0.5 * (xp.sum(white**2, axis=-1) + xp.sum(sizes)))


def module_of(*values: object) -> Any:
    """JAX's NumPy where one of the values is JAX's, else NumPy."""
    return jnp if any(isinstance(value, jax.Array) for value in values) else np


def log_sum(log_joint: Arraylike) -> Any:
    """The logarithm of the sum of what these are the logarithms of."""
    xp, (values,) = module_of(log_joint), _untyped(log_joint)
    best = xp.max(values)
    return best + xp.log(xp.sum(xp.exp(values - best)))


def _untyped(*values: Arraylike | None) -> tuple[Any, ...]:
    """NumPy's and JAX's arrays, which the same lines compute with."""
    return values
