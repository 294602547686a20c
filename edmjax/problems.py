"""Problems whose denoiser, score and log-density are known exactly: what solvers are tested on.

The frame is variance exploding: `x = x0 + sigma * n` with `n` standard normal, so that `log_prob(x,
sigma)` is the log-density of the data blurred by `sigma`, `score` its gradient, and

    denoise(x, sigma) = E[x0 | x] = x + sigma^2 score(x, sigma).

A point has the shape of the data's mean; `x` may carry any axes before it, and `sigma` is a scalar
or one level for each entry of `x`'s axis 0. Each problem is a pytree of host float64 arrays, so it
passes through `jit` as an argument, and calling it denoises: `ej.sample(problem, plan, x, key)`.
Computation runs in `x`'s own precision, float32 at least, with full-precision matrix products.

At `sigma = 0` the denoiser is its limit from above: `x` itself, except that where the data have no
variance it is the nearest point that has any density.
"""

import dataclasses
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

from edmjax._arrays import on_host, register_fields
from edmjax._problem import (
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
from edmjax._typing import Sigma

Constant: TypeAlias = Num[Array | np.ndarray, "..."] | float | int | list | tuple


@register_fields
@dataclasses.dataclass(frozen=True, init=False, eq=False)
class Gaussian(Problem):
    """Data from N(mean, cov).

    With `cov = U diag(v) U^T`,

        denoise(x, sigma) = mean + U diag(v / (v + sigma^2)) U^T (x - mean).

    `mean` has the shape of a point; `cov` is a scalar variance, an array of the mean's shape (the
    diagonal), or a `(d, d)` matrix over the flattened point. The matrix is taken apart once, here,
    in float64.

    Raises:
        ValueError: a negative variance, a matrix that is not symmetric positive semidefinite, a
            shape that does not fit, or numbers that are not finite.
        TypeError: traced arguments.
    """

    mean: Num[Array | np.ndarray, "..."]
    variances: Num[Array | np.ndarray, " d"]
    basis: Num[Array | np.ndarray, "d d"] | None  # eigenvectors in columns; None where diagonal

    def __init__(self, mean: Constant, cov: Constant):
        centre = on_host("mean", mean)
        variances, basis = spectrum(on_host("cov", cov), centre.shape)
        freeze(self, mean=centre, variances=variances, basis=basis)

    @property
    def _event(self):
        return np.shape(self.mean)

    def _least_variance(self):
        return self.variances

    def flow(self, x: Point, sigma: Sigma, sigma_next: Sigma) -> Float[Array, "..."]:
        """Where the probability flow dx/dsigma = -sigma score takes `x`, exactly.

            mean + U diag(sqrt((v + sigma_next^2) / (v + sigma^2))) U^T (x - mean)

        Between any two levels, up or down; in the shape and dtype of `x`. From `sigma = 0` a
        direction without variance cannot be brought back, and stays at the mean.
        """
        x = floating(x)
        flat, sigma = self._enter(x, sigma)
        _, sigma_next = self._enter(x, sigma_next)
        mean, v, basis = self._constants(flat.dtype)
        square = ratio(v + sigma_next**2, v + sigma**2)
        # The inner `where` keeps the derivative finite where the root is that of 0.
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


@register_fields
@dataclasses.dataclass(frozen=True, init=False, eq=False)
class Mixture(Problem):
    """Data from a mixture of Gaussians, `sum_k weights[k] N(means[k], covs[k])`.

    With responsibilities `r_k = P(component k | x)` and each component's own denoiser,

        denoise(x, sigma) = sum_k r_k denoise_k(x, sigma),   r = softmax(log(weights) + log N_k(x)).

    `means` has shape `(k, *point)`; `covs` is a scalar variance, `(k,)` variances, `(k, *point)`
    diagonals, or `(k, d, d)` matrices over the flattened point. An array that can be read in two
    ways is read as the earlier. `weights` are positive and sum to 1 (to 1e-6): they are not
    normalised here. A call holds an array of shape `(batch, k, d)`; for a large data set with equal
    weights see `Empirical`.

    Raises as `Gaussian` does, and for the weights.
    """

    weights: Num[Array | np.ndarray, " k"]
    means: Num[Array | np.ndarray, "k ..."]
    variances: Num[Array | np.ndarray, "k d"]
    bases: Num[Array | np.ndarray, "k d d"] | None  # eigenvectors in columns; None where diagonal

    def __init__(self, weights: Constant, means: Constant, covs: Constant):
        w, mu, cov = on_host("weights", weights), on_host("means", means), on_host("covs", covs)
        if mu.ndim < 1 or w.shape != mu.shape[:1]:
            raise ValueError(
                f"weights has shape {w.shape} and means {mu.shape}: "
                "expected (k,) and (k, d), one weight a component."
            )
        if not (w > 0).all() or abs(w.sum() - 1) > 1e-6:
            raise ValueError(
                "weights must be positive and sum to 1: "
                f"got a least weight of {w.min()} and a sum of {w.sum()}."
            )
        if cov.ndim == 0:
            cov = np.broadcast_to(cov, w.shape)
        if cov.shape[:1] != w.shape:
            raise ValueError(
                f"covs has shape {cov.shape} for {len(w)} components: expected (), (k,), "
                "the shape of means, or (k, d, d)."
            )
        parts = [spectrum(np.asarray(c), mu.shape[1:]) for c in cov]
        bases = [basis for _, basis in parts if basis is not None]
        freeze(
            self,
            weights=w,
            means=mu,
            variances=np.stack([variances for variances, _ in parts]),
            bases=np.stack(bases) if bases else None,
        )

    @property
    def _event(self):
        return np.shape(self.means)[1:]

    def _least_variance(self):
        return self.variances

    def _parts(self, x, sigma):
        """What the components say of `x`: arrays of shape (k, d), (..., k, d) or (..., k).

        `z` is `x - means` in the bases. The log joint lacks an offset common to all components, of
        size d log sigma, so that what decides between them is not rounded away at large sigma.
        """
        means = jnp.asarray(self.means, x.dtype).reshape(np.shape(self.means)[0], -1)
        v = jnp.asarray(self.variances, x.dtype)
        bases = None if self.bases is None else jnp.asarray(self.bases, x.dtype)
        total = positive(v + sigma[..., None] ** 2)
        z = to_basis(x[..., None, :] - means, bases)
        half_log_det = 0.5 * jnp.sum(jnp.log(2 * np.pi * total), axis=-1)
        offset = half_log_det[..., :1]
        log_weights = jnp.log(jnp.asarray(self.weights, x.dtype))
        log_joint = log_weights - 0.5 * jnp.sum(z**2 / total, axis=-1) - (half_log_det - offset)
        return means, v, total, bases, z, log_joint, offset[..., 0]

    def _denoise(self, x, sigma):
        means, v, total, bases, z, log_joint, _ = self._parts(x, sigma)
        denoised = means + from_basis(v / total * z, bases)
        return jnp.sum(jax.nn.softmax(log_joint)[..., None] * denoised, axis=-2)

    def _score(self, x, sigma):
        _, _, total, bases, z, log_joint, _ = self._parts(x, sigma)
        scores = -from_basis(z / total, bases)
        return jnp.sum(jax.nn.softmax(log_joint)[..., None] * scores, axis=-2)

    def _log_prob(self, x, sigma):
        *_, log_joint, offset = self._parts(x, sigma)
        return jax.nn.logsumexp(log_joint, axis=-1) - offset

    def _draw(self, key, dtype):
        which, normal = jax.random.split(key)
        k = jax.random.categorical(which, jnp.log(jnp.asarray(self.weights, dtype)))
        mean = jnp.ravel(jnp.asarray(self.means, dtype)[k])
        z = jnp.sqrt(jnp.asarray(self.variances, dtype)[k]) * jax.random.normal(
            normal, mean.shape, dtype
        )
        basis = None if self.bases is None else jnp.asarray(self.bases, dtype)[k]
        return mean + from_basis(z, basis)


@register_fields
@dataclasses.dataclass(frozen=True, init=False, eq=False)
class Empirical(Problem):
    """Data drawn from a finite set, each point blurred by a Gaussian of standard deviation `std`.

    With `m = sum_i r_i data[i]`, `r = softmax(-|x - data|^2 / (2 (std^2 + sigma^2)))`,

        denoise(x, sigma) = m + std^2 / (std^2 + sigma^2) (x - m);

    `std = 0` is the optimal denoiser of the data set itself (Karras et al. 2022, equation 57).
    `data` has shape `(n, *point)`. A call costs two matrix products, `(batch, d) x (d, n)` and
    back, and holds arrays of `(batch, n)`. The distances come from the product, so in float32 the
    log-odds of two data points carry an error of about 1e-7 |x - centre| |data - centre| /
    (std^2 + sigma^2); where that matters use float64, or `Mixture` with equal weights, which
    subtracts before it squares. For many bare calls with much data, move it to the device once:
    `jax.device_put(problem)`.

    Raises:
        ValueError: no data, a negative std, numbers that are not finite.
        TypeError: traced arguments.
    """

    centred: Num[Array | np.ndarray, "n ..."]  # less their mean, as products round less then
    centre: Num[Array | np.ndarray, "..."]
    half_squares: Num[Array | np.ndarray, " n"]  # |centred|^2 / 2
    std: Num[Array | np.ndarray, ""]

    def __init__(self, data: Constant, std: Constant = 0.0):
        points, blur = on_host("data", data), on_host("std", std)
        if points.ndim < 1 or points.size == 0:
            raise ValueError(f"data has shape {points.shape}: expected (n, *point), n at least 1.")
        if blur.shape != () or blur < 0:
            raise ValueError(f"std must be one number, 0 or above, got {blur}.")
        centre = points.mean(axis=0)
        points -= centre
        flat = points.reshape(len(points), -1)
        half_squares = 0.5 * np.einsum("nd,nd->n", flat, flat)
        freeze(self, centred=points, centre=centre, half_squares=half_squares, std=blur)

    @property
    def _event(self):
        return np.shape(self.centre)

    def _least_variance(self):
        return self.std

    def _posterior(self, x, sigma):
        """Posterior mean of the data points, total variance, log-odds, and the likeliest point."""
        data = jnp.asarray(self.centred, x.dtype).reshape(np.shape(self.centred)[0], -1)
        centre = jnp.ravel(jnp.asarray(self.centre, x.dtype))
        total = positive(jnp.asarray(self.std, x.dtype) ** 2 + sigma**2)
        half = jnp.asarray(self.half_squares, x.dtype)
        fit = jnp.einsum("...d,nd->...n", x - centre, data, precision=lax.Precision.HIGHEST) - half
        best = jnp.argmax(fit, axis=-1)
        # Differences from the best before dividing: the best gets exactly 0, however small `total`.
        log_odds = (fit - jnp.take_along_axis(fit, best[..., None], axis=-1)) / total
        mean = centre + jnp.einsum(
            "...n,nd->...d", jax.nn.softmax(log_odds), data, precision=lax.Precision.HIGHEST
        )
        return mean, total, log_odds, centre + data[best]

    def _denoise(self, x, sigma):
        mean, total, _, _ = self._posterior(x, sigma)
        return mean + jnp.asarray(self.std, x.dtype) ** 2 / total * (x - mean)

    def _score(self, x, sigma):
        mean, total, _, _ = self._posterior(x, sigma)
        return (mean - x) / total

    def _log_prob(self, x, sigma):
        _, total, log_odds, best = self._posterior(x, sigma)
        # The best point's distance is formed by subtraction; the product's would cancel.
        at_best = -0.5 * jnp.sum((x - best) ** 2 / total + jnp.log(2 * np.pi * total), axis=-1)
        return at_best + jax.nn.logsumexp(log_odds, axis=-1) - np.log(log_odds.shape[-1])

    def _draw(self, key, dtype):
        which, normal = jax.random.split(key)
        i = jax.random.randint(which, (), 0, np.shape(self.centred)[0])
        x0 = jnp.asarray(self.centre, dtype) + jnp.asarray(self.centred, dtype)[i]
        return x0 + jnp.asarray(self.std, dtype) * jax.random.normal(normal, x0.shape, dtype)
