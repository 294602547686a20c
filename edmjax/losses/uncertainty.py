"""A learned weight for each noise level, in place of a law that is balanced by hand."""

import math
from statistics import NormalDist

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from edmjax._common.arguments import whole
from edmjax._common.typing import Int
from edmjax.losses.batch import PerSample


def uncertainty_weighted(
    each: PerSample, uncertainty: dict[str, Float[Array, "..."]]
) -> Float[Array, ""]:
    """The mean of `loss / exp(u(sigma)) + u(sigma)` with `u` of `log_uncertainty`.

    For a given network it is lowest at `u(sigma) = log E[loss | sigma]`. Then every level has the
    same weighted loss, 1, and the network's gradient is the gradient of the loss, divided by the
    average loss of the level.

    Source: Karras et al. 2024 (arXiv 2312.02696), appendix B, after Kendall et al. 2018.
    """
    u = log_uncertainty(uncertainty, each.c_noise)
    return jnp.mean(each.loss * jnp.exp(-u) + u)


def log_uncertainty(
    uncertainty: dict[str, Float[Array, "..."]], c_noise: Float[Array, "*levels"]
) -> Float[Array, "*levels"]:
    """`u = bias + weight . features`, of Fourier features of `c_noise` with norm 1."""
    half = uncertainty["weight"].shape[-1] // 2
    # Quantiles of a normal distribution in place of draws, so that there is nothing to store. The
    # upper half will do: with a sine and a cosine of each, its sign makes no difference.
    quantiles = [NormalDist().inv_cdf(0.5 + (k + 0.5) / (2 * half)) for k in range(half)]
    angles = 2 * jnp.pi * c_noise[..., None] * np.asarray(quantiles, np.float32)
    features = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1) / math.sqrt(half)
    # Not a matrix product, which accelerators may round to bfloat16.
    return uncertainty["bias"] + jnp.sum(features * uncertainty["weight"], axis=-1)


def init_uncertainty(num_entries: Int, *, dim: Int = 128) -> dict[str, Float[Array, "..."]]:
    """The parameters of `u` at the start: `log(num_entries)` at all levels.

    `num_entries` is the number of entries of a sample; the start is then the optimum for a network
    that outputs zero. `dim` is the number of features, sines and cosines: even.
    """
    num_entries, dim = whole(num_entries, "num_entries"), whole(dim, "dim", least=2)
    if dim % 2:
        raise ValueError(f"`dim` counts sines and cosines, so it must be even, got {dim}.")
    return {"bias": jnp.log(jnp.float32(num_entries)), "weight": jnp.zeros(dim, jnp.float32)}
