"""Distances between two sets of samples, each with a standard error.

Samples are arrays whose axis 0 counts them, as many in one set as in the other; the other axes
together are one point. Both distances are 0 between equal laws and above 0 between different ones.
To see how near a sampler comes to a law, compare its distance from exact samples with the distance
of two sets of exact samples.

For the error bar the sets are cut into groups and the distance is taken group by group; the result
is the mean over groups with its standard error. So the sample size of the distance is the size of a
group, not of a set, which matters for a biased distance.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from edmjax._common.arguments import whole
from edmjax._common.typing import Arraylike, Int, Keys
from edmjax.metrics.sets import Estimate, two_sets
from edmjax.noise.keys import check_key, check_single_key


def sliced_wasserstein(
    x: Arraylike, y: Arraylike, key: Keys, *, num_projections: Int = 128, num_groups: Int = 8
) -> Estimate:
    """Returns the sliced Wasserstein-2 distance of two sets of samples, in their units.

        SW2^2 = E over directions u of int_0^1 (F_x^-1(q) - F_y^-1(q))^2 dq

    with `F_x` the cumulative distribution of `u . x`. For finite sets it is higher than for their
    laws, by the order of `sqrt(1 / group size)`: compare only sets of equal size.

    Args:
        x, y: the sets, equal shapes (n, ...).
        key: one typed key, for the directions; each group has its own, so the standard error
            includes the error due to them.
        num_projections: the number of directions of a group, uniform on the sphere.
        num_groups: the number of groups; samples that do not fill a group are left out.

    Raises:
        TypeError: if `key` is not one typed key, or a count is not an integer.
        ValueError: if the sets differ in shape or hold a number that is not finite, or a group has
            fewer than 2 samples.

    Source: Bonneel et al. (2015), section 3.
    """
    x, y = _groups(x, y, num_groups)
    check_key(key)
    check_single_key(key)
    # A key a group: with shared directions the groups' errors would be correlated.
    count = whole(num_projections, "num_projections")
    keys = jax.random.split(key, len(x))
    return _mean(_sliced(x, y, keys, count))


def energy_distance(x: Arraylike, y: Arraylike, *, num_groups: Int = 8) -> Estimate:
    """Returns the energy distance of two sets of samples, in their units.

        2 E|X - Y| - E|X - X'| - E|Y - Y'|

    The estimate has no bias, so between equal laws it is about as often a little below 0 as above.

    Args:
        x, y: the sets, equal shapes (n, ...).
        num_groups: as in `sliced_wasserstein`.

    Raises:
        TypeError, ValueError: as `sliced_wasserstein` does.

    Source: Székely and Rizzo (2013), equation 2.
    """
    return _mean(_energy(*_groups(x, y, num_groups)))


@jax.jit
def _energy(x: jax.Array, y: jax.Array) -> jax.Array:
    n = x.shape[1]

    def total(a, b):
        """The sum of all distances, a row at a time: n^2 d numbers would not fit."""
        return jnp.sum(lax.map(lambda row: jnp.sum(_length(b - row)), a))

    def group(pair):
        a, b = pair
        # A sample's distance from itself is 0, so n (n - 1) pairs count within a set: no bias.
        return 2 * total(a, b) / n**2 - (total(a, a) + total(b, b)) / (n * (n - 1))

    return lax.map(group, (x, y))


def _length(v: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(v**2, axis=-1))


@partial(jax.jit, static_argnames="count")
def _sliced(x: jax.Array, y: jax.Array, keys: Keys, count: int) -> jax.Array:
    def group(x: jax.Array, y: jax.Array, key: Keys) -> jax.Array:
        directions = jax.random.normal(key, (x.shape[1], count), x.dtype)
        directions = directions / jnp.sqrt(jnp.sum(directions**2, axis=0))
        # In full: accelerators would round the products to bfloat16, and with them the distance.
        project = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
        x, y = (jnp.sort(project(v, directions), axis=0) for v in (x, y))
        return jnp.sqrt(jnp.mean((x - y) ** 2))

    return jax.vmap(group)(x, y, keys)


def _mean(values: jax.Array) -> Estimate:
    groups = len(values)
    error = jnp.std(values, ddof=1) / math.sqrt(groups) if groups > 1 else jnp.nan
    return Estimate(jnp.mean(values), jnp.asarray(error, values.dtype))


def _groups(x: Arraylike, y: Arraylike, num_groups: Int) -> tuple[jax.Array, jax.Array]:
    """Both sets as (groups, samples a group, numbers a sample)."""
    x, y = two_sets(x, y)
    groups = whole(num_groups, "num_groups")
    size = len(x) // groups
    if size < 2:
        raise ValueError(
            f"{len(x)} samples make no {groups} groups of 2 or more: pass more samples, or a "
            "smaller `num_groups`."
        )
    dtype = jnp.promote_types(jnp.result_type(x, y), jnp.float32)
    cut = (groups, size, math.prod(x.shape[1:]))
    x, y = (v[: groups * size].reshape(cut).astype(dtype) for v in (x, y))
    return x, y
