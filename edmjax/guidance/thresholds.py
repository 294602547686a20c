"""Thresholds: keep the denoised output in the range of the data."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass

from edmjax._common.arguments import real
from edmjax._common.arrays import as_sigma, from_left
from edmjax._common.functions import denoiser_as_pytree
from edmjax._common.held import Wraps
from edmjax._common.typing import Denoiser, PyTree, Scalar, Sigma
from edmjax.guidance.outputs import call, returned, sampled, scalar_leaf, vectors, wide
from edmjax.scalar import is_traced


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Clipped(Wraps):
    """The denoiser that `clip` returns."""

    denoise: Denoiser
    low: Scalar
    high: Scalar

    def held(self, x: PyTree, sigma: Sigma, cond: PyTree, dtypes: PyTree) -> PyTree:
        """A dict of the clipped "x0", the "raw" before it, and other outputs."""
        out = call(self.denoise, x, as_sigma(sigma, x), cond, dtypes)

        def leaf(v):
            return jnp.clip(v, jnp.asarray(self.low, v.dtype), jnp.asarray(self.high, v.dtype))

        return returned({"raw": out["x0"], **out, "x0": jax.tree.map(leaf, wide(out["x0"]))}, x)


def clip(denoise: Denoiser, low: Scalar = -1.0, high: Scalar = 1.0) -> Clipped:
    """Static thresholding: `x0` clipped to [low, high], and the output before it as "raw".

    Samplers take the clipped output throughout. `ej.samplers.euler_cfg_pp()` takes its direction
    from "raw", which makes it DDIM with a clipped x0 and the unclipped eps. Where `denoise` returns
    a "raw" of its own, it is kept.

    Args:
        denoise: any denoiser, guided or not.
        low: the lowest value of the data; may be traced.
        high: the highest; may be traced.

    Raises:
        TypeError: `denoise` is not callable, or a bound is not a real scalar.
        ValueError: `low` is not below `high`.

    Source: Ho et al. (2020), whose code clips; the name is from Saharia et al. (2022), section 2.3.
    """
    low = scalar_leaf(real(low, "low", least=-math.inf, most=math.inf))
    high = scalar_leaf(real(high, "high", least=-math.inf, most=math.inf))
    if not is_traced(low, high) and low >= high:
        raise ValueError(f"`low` must be below `high`, got {low} and {high}.")
    return Clipped(denoiser_as_pytree(denoise, "denoise"), low, high)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class DynamicThreshold(Wraps):
    """The denoiser that `dynamic_threshold` returns."""

    denoise: Denoiser
    quantile: Scalar
    max_value: Scalar

    def held(self, x: PyTree, sigma: Sigma, cond: PyTree, dtypes: PyTree) -> PyTree:
        """A dict of the thresholded "x0", the "raw" before it, and other outputs."""
        x = sampled(x)
        out = call(self.denoise, x, as_sigma(sigma, x), cond, dtypes)
        values = wide(out["x0"])
        entries = jnp.abs(vectors(values))
        s = jnp.quantile(entries, jnp.asarray(self.quantile, entries.dtype), axis=1)
        most = jnp.asarray(self.max_value, s.dtype)
        s = jnp.clip(s, jnp.minimum(1, most), most)  # a lower end above the upper has no meaning

        def leaf(v):
            bound = from_left(s, v).astype(v.dtype)
            return jnp.clip(v, -bound, bound) / bound

        return returned({"raw": out["x0"], **out, "x0": jax.tree.map(leaf, values)}, x)


def dynamic_threshold(
    denoise: Denoiser, quantile: Scalar = 0.995, max_value: Scalar = math.inf
) -> DynamicThreshold:
    """Dynamic thresholding, for data in [-1, 1]: `x0` clipped to [-s, s] and divided by s.

        s = min(max(quantile of |x0|, 1), max_value)

    with the quantile over all entries of a sample, interpolated linearly. "raw" is the output
    before, as in `clip`.

    Args:
        denoise: any denoiser, guided or not.
        quantile: which quantile of the absolute values, in [0, 1]; may be traced.
        max_value: the largest s, above 0; may be traced. The paper has none. diffusers calls it
            `sample_max_value`, with a default of 1.0, for which this is `clip(denoise)`. Below 1
            every s is `max_value`: clipped there, and stretched to [-1, 1].

    Raises:
        TypeError: `denoise` is not callable, or an option is not a real scalar.
        ValueError: `quantile` is outside [0, 1], or `max_value` is not above 0.

    Source: Saharia et al. (2022, Imagen), section 2.3.
    """
    quantile = scalar_leaf(real(quantile, "quantile", least=0, most=1))
    max_value = scalar_leaf(real(max_value, "max_value", above=0, most=math.inf))
    return DynamicThreshold(denoiser_as_pytree(denoise, "denoise"), quantile, max_value)
