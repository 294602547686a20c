"""Data drawn from a finite set of points, blurred or not."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Num

from edmjax._common.arguments import on_host
from edmjax._common.arrays import register_fields
from edmjax._common.typing import Arraylike
from edmjax.problems.conditioned import Matrices, read, updated
from edmjax.problems.problem import Problem, freeze, positive
from edmjax.problems.tied import Tied


@register_fields
@dataclasses.dataclass(frozen=True, init=False, eq=False)
class Empirical(Problem):
    """Data drawn from a finite set, each point blurred by a Gaussian of standard deviation `std`.

    With `m = sum_i r_i data[i]`, `r = softmax(-|x - data|^2 / (2 (std^2 + sigma^2)))`,

        denoise(x, sigma) = m + std^2 / (std^2 + sigma^2) (x - m);

    `std = 0` is the optimal denoiser of the data set itself (Karras et al. 2022, equation 57).
    `data` has shape `(n, *point)`. A call costs two matrix products, `(batch, d) x (d, n)` and
    back, and holds arrays of `(batch, n)`. The distances come from the product, so in float32 the
    log-odds of two data points have an error of about 1e-7 |x - centre| |data - centre| /
    (std^2 + sigma^2); where that matters use float64, or `Mixture` with equal weights, which
    subtracts before it squares. For many bare calls with much data, move it to the device once:
    `jax.device_put(problem)`.

    Raises:
        ValueError: no data, a negative std, numbers that are not finite.
        TypeError: traced arguments.
    """

    centred: Num[Array | np.ndarray, "n ..."]  # minus their mean, so that products round less
    centre: Num[Array | np.ndarray, "..."]
    half_squares: Num[Array | np.ndarray, " n"]  # |centred|^2 / 2
    std: Num[Array | np.ndarray, ""]

    def __init__(self, data: Arraylike, std: Arraylike = 0.0):
        points, blur = on_host(data, "data"), on_host(std, "std")
        if points.ndim < 1 or points.size == 0:
            raise ValueError(f"data has shape {points.shape}: expected (n, *point), n at least 1.")
        if blur.shape != () or blur < 0:
            raise ValueError(f"`std` must be one number, 0 or above, got {blur}.")
        centre = points.mean(axis=0)
        points -= centre
        flat = points.reshape(len(points), -1)
        half_squares = 0.5 * np.einsum("nd,nd->n", flat, flat)
        freeze(self, centred=points, centre=centre, half_squares=half_squares, std=blur)

    def condition(self, measurement: Matrices) -> "Tied":
        """The exact posterior under a linear Gaussian measurement: a mixture of one covariance.

        Each data point becomes its own posterior mean, and its weight is its evidence. It holds
        arrays of `(batch, n)` too. Raises as `Gaussian.condition` does.
        """
        n, d = np.shape(self.centred)[0], math.prod(self._event)
        means = (self.centred + self.centre).reshape(n, d)
        variances = np.full(d, self.std**2)
        new = updated(means, variances, None, read(measurement, self._event))
        return Tied(new, self._event, n)

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
        # The distance to the best point is formed by subtraction; by the product it would cancel.
        at_best = -0.5 * jnp.sum((x - best) ** 2 / total + jnp.log(2 * np.pi * total), axis=-1)
        return at_best + jax.nn.logsumexp(log_odds, axis=-1) - np.log(log_odds.shape[-1])

    def _draw(self, key, dtype):
        which, normal = jax.random.split(key)
        i = jax.random.randint(which, (), 0, np.shape(self.centred)[0])
        x0 = jnp.asarray(self.centre, dtype) + jnp.asarray(self.centred, dtype)[i]
        return x0 + jnp.asarray(self.std, dtype) * jax.random.normal(normal, x0.shape, dtype)
