"""Data from one Gaussian, with its exact flow."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from edmjax._common.arguments import on_host
from edmjax._common.arrays import register_fields
from edmjax._common.typing import Arraylike, Sigma
from edmjax.problems.conditioned import Matrices, read, updated
from edmjax.problems.problem import (
    Point,
    Problem,
    floating,
    freeze,
    from_basis,
    positive,
    ratio,
    scaled,
    spectrum,
    to_basis,
)


@register_fields
@dataclasses.dataclass(frozen=True, init=False, eq=False)
class Gaussian(Problem):
    """Data from N(mean, cov).

    With `cov = U diag(v) U^T`,

        denoise(x, sigma) = mean + U diag(v / (v + sigma^2)) U^T (x - mean).

    `mean` has the shape of a point; `cov` is a scalar variance, an array of the mean's shape (the
    diagonal), or a `(d, d)` matrix over the flattened point. Its eigendecomposition is made once,
    here, in float64.

    Raises:
        ValueError: a negative variance, a matrix that is not symmetric positive semidefinite, a
            shape that does not fit, or numbers that are not finite.
        TypeError: traced arguments.
    """

    mean: Num[Array | np.ndarray, "..."]
    variances: Num[Array | np.ndarray, " d"]
    basis: Num[Array | np.ndarray, "d d"] | None  # eigenvectors in columns; None where diagonal
    log_evidence: Num[Array | np.ndarray, ""] | None  # of a posterior, in nats

    def __init__(self, mean: Arraylike, cov: Arraylike):
        centre = on_host(mean, "mean")
        variances, basis = spectrum(on_host(cov, "cov"), centre.shape)
        freeze(self, mean=centre, variances=variances, basis=basis, log_evidence=None)

    def condition(self, measurement: Matrices) -> "Gaussian":
        """The exact posterior under a linear Gaussian measurement `y = A x0 + noise`.

            N(m + K (y - A m), C - K A C),    K = C A^T (A C A^T + R)^-1

        Its `log_evidence` is log p(y) in nats. What the measurement holds may be traced; where
        nothing is, it is computed in float64.

        Raises:
            TypeError: `measurement` is not a linear one, as `ej.posterior` makes it.
            ValueError: it is not of points of this shape, or `y` is not of one sample.
        """
        new = updated(
            self.mean.reshape(-1), self.variances, self.basis, read(measurement, self._event)
        )
        posterior = object.__new__(Gaussian)
        mean = new.mean.reshape(self._event)
        freeze(posterior, mean=mean, variances=new.variances, basis=new.basis)
        freeze(posterior, log_evidence=new.log_evidence)
        return posterior

    @property
    def _event(self):
        return np.shape(self.mean)

    def _least_variance(self):
        return self.variances

    def flow(self, x: Point, sigma: Sigma, sigma_next: Sigma) -> Float[Array, "..."]:
        """Where the probability flow dx/dsigma = -sigma score takes `x`, exactly.

            mean + U diag(sqrt((v + sigma_next^2) / (v + sigma^2))) U^T (x - mean)

        Between any two levels, up or down; in the shape and dtype of `x`. From `sigma = 0`, points
        stay at the mean in directions without variance.
        """
        x = floating(x)
        flat, sigma = self._enter(x, sigma)
        _, sigma_next = self._enter(x, sigma_next)
        mean, v, basis = self._constants(flat.dtype)
        square = ratio(v + sigma_next**2, v + sigma**2)
        # The inner `where` keeps the derivative of the root finite at 0.
        scale = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
        return (mean + scaled(flat - mean, scale, basis)).reshape(x.shape).astype(x.dtype)

    def _constants(self, dtype):
        basis = None if self.basis is None else jnp.asarray(self.basis, dtype)
        return jnp.ravel(jnp.asarray(self.mean, dtype)), jnp.asarray(self.variances, dtype), basis

    def _denoise(self, x, sigma):
        mean, v, basis = self._constants(x.dtype)
        return mean + scaled(x - mean, ratio(v, v + sigma**2), basis)

    def _score(self, x, sigma):
        mean, v, basis = self._constants(x.dtype)
        return -scaled(x - mean, 1 / positive(v + sigma**2), basis)

    def _log_prob(self, x, sigma):
        mean, v, basis = self._constants(x.dtype)
        total = positive(v + sigma**2)
        return -0.5 * jnp.sum(
            to_basis(x - mean, basis) ** 2 / total + jnp.log(2 * np.pi * total), axis=-1
        )

    def _draw(self, key, dtype):
        mean, v, basis = self._constants(dtype)
        return mean + from_basis(jnp.sqrt(v) * jax.random.normal(key, mean.shape, dtype), basis)
