"""The base of exact problems: points of any shape, laws in flat coordinates."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Shaped

from edmjax._common.arguments import whole
from edmjax._common.arrays import check_sigma, has_no_value, working_dtype
from edmjax._common.functions import with_cond
from edmjax._common.held import Held
from edmjax._common.typing import Int, Keys, PyTree, Sigma
from edmjax.noise.keys import sample_keys

Point: TypeAlias = Shaped[Array | np.ndarray, "..."]


class Problem(Held):
    """The base of all problems: turns a law in flat coordinates into one of points of any shape."""

    # Every subclass has these: the shape of a point, the variances of which one may be 0, and the
    # law in flat coordinates, of `x` (..., d) at `sigma` (..., 1), or a draw by `(key, dtype)`.
    _event: Any
    _least_variance: Callable[[], Any]
    _denoise: Callable[[Array, Array], Array]
    _score: Callable[[Array, Array], Array]
    _log_prob: Callable[[Array, Array], Array]
    _draw: Callable[[Keys, Any], Array]

    def __call__(self, x: Point, sigma: Sigma) -> Float[Array, "..."]:
        """`denoise(x, sigma)`."""
        return self.denoise(x, sigma)

    def held(self, x: Point, sigma: Sigma, cond: PyTree, dtypes: PyTree) -> Float[Array, "..."]:
        """`denoise(x, sigma)`: there is no network that would be shown other dtypes."""
        return with_cond(self, x, sigma, cond=cond)

    def denoise(self, x: Point, sigma: Sigma) -> Float[Array, "..."]:
        """E[x0 | x] where `x = x0 + sigma n`, in the shape and dtype of `x`."""
        x = floating(x)
        flat, sigma = self._enter(x, sigma)
        return self._denoise(flat, sigma).reshape(x.shape).astype(x.dtype)

    def score(self, x: Point, sigma: Sigma) -> Float[Array, "..."]:
        """The gradient of `log_prob(x, sigma)` in `x`, in the shape and dtype of `x`."""
        self._need_density(sigma)
        x = floating(x)
        flat, sigma = self._enter(x, sigma)
        return self._score(flat, sigma).reshape(x.shape).astype(x.dtype)

    def log_prob(self, x: Point, sigma: Sigma) -> Float[Array, "..."]:
        """The log-density of `x0 + sigma n` at `x` in nats; a number a point, at least float32."""
        self._need_density(sigma)
        return self._log_prob(*self._enter(floating(x), sigma))

    def sample(self, key: Keys, n: Int, sigma: Sigma = 0.0) -> Float[Array, "n ..."]:
        """`n` independent draws of `x0 + sigma n`; draw `i` depends on `(key, i)` alone.

        `sigma` is a scalar or has shape `(n,)`; the same key gives the same `x0` at every level.
        """
        event, dtype, n = self._event, jnp.zeros(()).dtype, whole(n, "n", least=0)

        def draw(key, sigma):
            data, noise = jax.random.split(key)
            x0 = self._draw(data, dtype).reshape(event)
            return x0 + sigma * jax.random.normal(noise, event, dtype)

        check_sigma(sigma)
        if np.shape(sigma) not in ((), (n,)):
            raise ValueError(
                f"`sigma` must be a scalar or one level for each of {n} samples, got shape "
                f"{np.shape(sigma)}."
            )
        levels = jnp.broadcast_to(jnp.asarray(sigma, dtype), (n,))
        return jax.vmap(draw)(sample_keys(key, n), levels)

    def _enter(self, x, sigma):
        """`x` as `(..., d)` and `sigma` as `(..., 1)`, both in the precision to compute in."""
        lead = x.ndim - len(self._event)
        if lead < 0 or x.shape[lead:] != self._event:
            raise ValueError(
                f"x has shape {x.shape}, but a point of this problem has shape {self._event}: "
                f"expected that, or {('batch', *self._event)}."
            )
        check_sigma(sigma)
        sigma = jnp.asarray(sigma, working_dtype(x.dtype))
        if sigma.ndim and (lead == 0 or sigma.shape != x.shape[:1]):
            raise ValueError(
                f"sigma has shape {sigma.shape}: expected a scalar"
                + (f" or {x.shape[:1]}, one level a sample." if lead else " for a single point.")
            )
        x = x.reshape(*x.shape[:lead], math.prod(self._event)).astype(sigma.dtype)
        return x, sigma.reshape(sigma.shape + (1,) * (x.ndim - sigma.ndim))

    def _need_density(self, sigma):
        """Raises where the data have no density; a traced level 0 acts as one just above 0."""
        least = self._least_variance()
        if has_no_value(sigma) or has_no_value(least):
            return
        if (np.asarray(sigma) == 0).any() and (np.asarray(least) == 0).any():
            raise ValueError(
                "At sigma = 0 these data have no density: some direction has variance 0. "
                "Ask for sigma above 0."
            )


def freeze(problem: Any, **fields: Any) -> None:
    """Sets the fields of a frozen dataclass, in its `__init__`."""
    for name, value in fields.items():
        object.__setattr__(problem, name, value)


def floating(x: Point) -> Array:
    """`x` as a JAX array; TypeError if it is not floating."""
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"x must be a floating array, got dtype {x.dtype}.")
    return x


def spectrum(cov: np.ndarray, event: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray | None]:
    """Variances and basis of one covariance over points of shape `event`; no basis if diagonal."""
    d = math.prod(event)
    if cov.shape == () or cov.shape == event:
        variances, basis = np.broadcast_to(cov.reshape(-1), (d,)).copy(), None
    elif cov.shape == (d, d):
        if np.abs(cov - cov.T).max() > 1e-6 * np.abs(cov).max():
            raise ValueError("A covariance matrix must be symmetric: cov - cov.T is not 0.")
        variances, basis = np.linalg.eigh((cov + cov.T) / 2)
        # A matrix of low rank, formed in float32, has eigenvalues a rounding away from 0.
        rounding = max(1e-6 * variances[-1], 0.0)
        variances[(-rounding <= variances) & (variances <= d * 1e-16 * variances[-1])] = 0.0
    else:
        raise ValueError(
            f"A covariance has shape {cov.shape} for points of shape {event}: "
            f"expected (), {event} or {(d, d)}."
        )
    if (variances < 0).any():
        raise ValueError(
            f"A covariance must be positive semidefinite, got a variance of {variances.min()}."
        )
    return variances, basis


def to_basis(x: Array, basis: Array | None) -> Array:
    """The coordinates of `x`, (..., d), in `basis`; None is the identity."""
    if basis is None:
        return x
    return jnp.einsum("...i,...ij->...j", x, basis, precision=lax.Precision.HIGHEST)


def from_basis(z: Array, basis: Array | None) -> Array:
    """The point whose coordinates in `basis` are `z`, (..., d)."""
    if basis is None:
        return z
    return jnp.einsum("...j,...ij->...i", z, basis, precision=lax.Precision.HIGHEST)


def scaled(x: Array, scale: Array, basis: Array | None) -> Array:
    """`U diag(scale) U^T x`, with U the `basis`."""
    return from_basis(scale * to_basis(x, basis), basis)


def positive(variance: Array) -> Array:
    """`variance`, with 0 replaced by a number so small that it acts as the limit.

    The inverse square of that number, which derivatives need, is still finite.
    """
    return jnp.where(variance > 0, variance, jnp.finfo(variance.dtype).tiny ** 0.25)


def ratio(numerator: Array, denominator: Array) -> Array:
    """`numerator / denominator`, and 0 for 0 / 0."""
    return numerator / positive(denominator)
