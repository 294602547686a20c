"""Thresholds: keep the denoised output in the range of the data."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass

from edmjax._common.arrays import as_sigma, from_left
from edmjax._common.functions import Wraps
from edmjax._common.trees import floating_tree
from edmjax._common.typing import Sigma, X
from edmjax.guidance._outputs import as_pytree, call, option, returned, sampled, vectors, wide


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Clipped(Wraps):
    """See `clip`."""

    denoise: Any
    low: Any
    high: Any

    def __call__(self, x: X, sigma: Sigma, cond: Any = None) -> Any:
        """A dict of the clipped "x0", the "raw" before it, and other outputs."""
        x = floating_tree(x, "x")
        out = call(self.denoise, x, as_sigma(sigma, x), cond)

        def leaf(v):
            return jnp.clip(v, jnp.asarray(self.low, v.dtype), jnp.asarray(self.high, v.dtype))

        return returned({"raw": out["x0"], **out, "x0": jax.tree.map(leaf, wide(out["x0"]))}, x)


def clip(denoise: Any, low: Any = -1.0, high: Any = 1.0) -> Clipped:
    """Static thresholding: `x0` clipped to [low, high], and the output before it as "raw".

    A sampler takes the clipped output throughout; `ej.samplers.euler_cfg_pp()` takes
    its direction from "raw", which makes it DDIM with a clipped x0 and the unclipped eps. Where
    `denoise` returns a "raw" of its own, that is kept.

    Args:
        denoise: any denoiser, guided or not.
        low: the least value of the data; may be traced.
        high: the greatest; may be traced.

    Raises:
        TypeError: `denoise` is not callable, or a bound is not a real scalar.
        ValueError: `low` is not below `high`.

    Source: Ho et al. (2020), whose code clips; the name is that of Saharia et al. (2022), section
    2.3.
    """
    low = option("low", low, lambda v: not math.isnan(v), "a number")
    high = option("high", high, lambda v: not math.isnan(v), "a number")
    if not (isinstance(low, jax.Array) or isinstance(high, jax.Array)) and low >= high:
        raise ValueError(f"`low` must be below `high`, got {low} and {high}.")
    return Clipped(as_pytree(denoise, "denoise"), low, high)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class DynamicThreshold(Wraps):
    """See `dynamic_threshold`."""

    denoise: Any
    quantile: Any
    max_value: Any

    def __call__(self, x: X, sigma: Sigma, cond: Any = None) -> Any:
        """A dict of the thresholded "x0", the "raw" before it, and other outputs."""
        x = sampled(x)
        out = call(self.denoise, x, as_sigma(sigma, x), cond)
        values = wide(out["x0"])
        entries = jnp.abs(vectors(values))
        s = jnp.quantile(entries, jnp.asarray(self.quantile, entries.dtype), axis=1)
        s = jnp.clip(s, 1, jnp.asarray(self.max_value, s.dtype))

        def leaf(v):
            bound = from_left(s, v).astype(v.dtype)
            return jnp.clip(v, -bound, bound) / bound

        return returned({"raw": out["x0"], **out, "x0": jax.tree.map(leaf, values)}, x)


def dynamic_threshold(
    denoise: Any, quantile: Any = 0.995, max_value: Any = math.inf
) -> DynamicThreshold:
    """Dynamic thresholding, for data in [-1, 1]: `x0` clipped to [-s, s] and divided by s.

        s = min(max(quantile of |x0|, 1), max_value)

    with the quantile over all entries of a sample, linear between neighbours. "raw" is the output
    before it, as in `clip`.

    Args:
        denoise: any denoiser, guided or not.
        quantile: which quantile of the absolute values, in [0, 1]; may be traced.
        max_value: the greatest s, at least 1; may be traced. Without it as in the paper. In
            diffusers it is `sample_max_value`, by default 1.0, where this is `clip(denoise)`.

    Raises:
        TypeError: `denoise` is not callable, or an option is not a real scalar.
        ValueError: `quantile` is outside [0, 1], or `max_value` is below 1.

    Source: Saharia et al. (2022, Imagen), section 2.3.
    """
    quantile = option("quantile", quantile, lambda v: 0 <= v <= 1, "in [0, 1]")
    max_value = option("max_value", max_value, lambda v: v >= 1, "at least 1")
    return DynamicThreshold(as_pytree(denoise, "denoise"), quantile, max_value)
