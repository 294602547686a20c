"""Coordinates in which a Gaussian of any mean and covariance is N(0, sigma_data^2), exactly.

With `cov = U diag(v) U^T`, `total_i = sqrt(v_i + sigma^2)` and `total = sqrt(sigma_data^2 +
sigma^2)`, the coordinates

    z = total U diag(1 / total_i) U^T (x - mean)

give z a probability flow of the same form, with another denoiser. With D_G the denoiser of
N(mean, cov),

    D_z(z, sigma) = sigma_data^2 / total^2 z + total U diag(1 / total_i) U^T (D - D_G)(x, sigma),

which is the denoiser of N(0, sigma_data^2) if D is D_G. So every sampler runs on D_z, and samplers
on the network's own output are exact on that Gaussian: there F of D_z is 0. In general F is
`D - D_G`, divided by c_out and weighed direction by direction.
"""

import dataclasses
import math
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float, Num

from edmjax._common.arguments import on_host, positive_leaf
from edmjax._common.arrays import (
    check_sigma,
    from_left,
    has_no_value,
    register_fields,
    working_dtype,
)
from edmjax._common.functions import denoiser_as_pytree
from edmjax._common.held import Wraps, evaluate
from edmjax._common.trees import floating_tree
from edmjax._common.typing import Arraylike, Denoiser, Number, PyTree, Scalar, Sigma
from edmjax.problems.problem import Point, freeze, scaled, spectrum

# A direction is given at least this share of the mean variance: estimates are no better than that,
# and in a direction without variance every sample would end at the mean.
FLOOR = 1e-4


@register_fields
@dataclasses.dataclass(frozen=True, init=False, eq=False)
class GaussianSplit:
    """The coordinates in which N(mean, cov) is N(0, sigma_data^2).

        split = ej.samplers.gaussian_split(mean, cov)
        plan = ej.make_plan(ej.samplers.f_pc(sigma_data=float(split.sigma_data)), sigmas)
        z = ej.sample(split(denoise), plan, split.enter(x, sigmas[0]))
        x0 = split.leave(z, sigmas[-1])

    With a number for `cov` only the mean is removed, which samplers on the network's own output
    need. The grid stays as it is.

    Args:
        mean: of the shape of a point.
        cov: of the data: a scalar variance, an array of the mean's shape (the diagonal), or a
            `(d, d)` matrix over the flattened point. Directions with less than 1e-4 of the mean
            variance are treated as if they had that much.
        sigma_data: the standard deviation of the data in the new coordinates; by default the root
            of the mean variance.

    Raises:
        ValueError: a negative variance, no variance at all, a matrix that is not symmetric positive
            semidefinite, a shape that does not fit, numbers that are not finite, or a `sigma_data`
            that is not positive.
        TypeError: a traced `mean` or `cov`.

    Zheng et al. (2023, DPM-Solver-v3) split off a linear part direction by direction, here with the
    statistics of a Gaussian; the flow of a Gaussian is Wang and Vastola's (2024).
    """

    mean: Num[Array | np.ndarray, "..."]
    variances: Num[Array | np.ndarray, " d"]
    basis: Num[Array | np.ndarray, "d d"] | None  # eigenvectors in columns; None where diagonal
    sigma_data: Num[Array | np.ndarray, ""]

    def __init__(self, mean: Arraylike, cov: Arraylike, sigma_data: Number | None = None):
        centre = on_host(mean, "mean")
        variances, basis = spectrum(on_host(cov, "cov"), centre.shape)
        mean_variance = float(np.mean(variances))
        if not mean_variance > 0:
            raise ValueError("`cov` must have a direction of positive variance, got none.")
        variances = np.maximum(variances, FLOOR * mean_variance)
        given = np.sqrt(mean_variance) if sigma_data is None else sigma_data
        width = positive_leaf(cast(Scalar, given), "sigma_data")
        freeze(self, mean=centre, variances=variances, basis=basis, sigma_data=width)

    def __call__(self, denoise: Denoiser) -> Denoiser:
        """The denoiser of the new coordinates, a pytree as `denoise` is one.

        It declares the `sigma_range` that `denoise` declares. Raises TypeError if `denoise` is not
        a function.
        """
        return _Split(self, denoiser_as_pytree(denoise, "denoise"))

    def enter(self, x: Point, sigma: Sigma) -> Float[Array, "..."]:
        """`z` of the point `x` at level `sigma`, in the shape and dtype of `x`."""
        flat, sigma, (mean, v, basis, width) = self._flat(x, sigma)
        factor = jnp.sqrt(sigma**2 + width**2) / jnp.sqrt(v + sigma**2)
        return self._like(scaled(flat - mean, factor, basis), x)

    def leave(self, z: Point, sigma: Sigma) -> Float[Array, "..."]:
        """The point `x` of `z` at level `sigma`, in the shape and dtype of `z`."""
        flat, sigma, (mean, v, basis, width) = self._flat(z, sigma)
        factor = jnp.sqrt(v + sigma**2) / jnp.sqrt(sigma**2 + width**2)
        return self._like(mean + scaled(flat, factor, basis), z)

    def _flat(self, x: Point, sigma: Sigma) -> tuple[Any, Any, Any]:
        """`x` as (..., d), `sigma` as (..., 1), and the constants in the precision of both."""
        x, event = floating_tree(x, "x"), np.shape(self.mean)
        if not isinstance(x, jax.Array):
            raise TypeError(
                f"`gaussian_split` takes points in one array of shape {('batch', *event)}, got "
                f"{type(x).__name__} {x!r:.80}."
            )
        lead = x.ndim - len(event)
        if lead < 0 or x.shape[lead:] != event:
            raise ValueError(
                f"x has shape {x.shape}, but the mean has shape {event}: expected that, or "
                f"{('batch', *event)}."
            )
        check_sigma(sigma)
        if not has_no_value(sigma):
            on_host(sigma, "sigma")  # at infinity both coordinates are NaN
        dtype = working_dtype(x.dtype)
        sigma = jnp.asarray(sigma, dtype)
        if sigma.ndim and (lead == 0 or sigma.shape != x.shape[:1]):
            raise ValueError(
                f"sigma has shape {sigma.shape}: expected a scalar"
                + (f" or {x.shape[:1]}, one level a sample." if lead else " for a single point.")
            )
        flat = x.reshape(*x.shape[:lead], math.prod(event)).astype(dtype)
        sigma = from_left(sigma, flat)
        held = (self.mean.reshape(-1), self.variances, self.basis, self.sigma_data)
        return flat, sigma, jax.tree.map(lambda value: jnp.asarray(value, dtype), held)

    @staticmethod
    def _like(flat: Any, x: Point) -> Array:
        return flat.reshape(np.shape(x)).astype(jnp.asarray(x).dtype)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class _Split(Wraps):
    """The denoiser of the coordinates of `split`."""

    split: GaussianSplit
    denoise: Denoiser

    def held(self, z: Point, sigma: Sigma, cond: PyTree, dtypes: PyTree) -> Point:
        split = self.split
        x = split.leave(z, sigma)
        denoised = evaluate(self.denoise, x, sigma, cond, dtypes)
        if not isinstance(denoised, jax.Array | np.ndarray) or denoised.shape != x.shape:
            raise TypeError(
                "`gaussian_split` takes a denoiser that returns one array of the shape of `x`; put "
                "clipping and guidance inside it."
            )
        flat, level, (mean, v, basis, width) = split._flat(z, sigma)
        centred, _, _ = split._flat(x, sigma)
        out, _, _ = split._flat(denoised, sigma)
        residual = out - mean - scaled(centred - mean, v / (v + level**2), basis)
        total = level**2 + width**2
        rest = scaled(residual, jnp.sqrt(total) / jnp.sqrt(v + level**2), basis)
        return split._like(width**2 / total * flat + rest, z)


# Named as the samplers are: `ej.samplers.gaussian_split(mean, cov)`.
gaussian_split = GaussianSplit
