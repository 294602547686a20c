"""Distances between two sets of samples, each with a standard error.

Samples are arrays whose axis 0 counts them, as many in one set as in the other; the other axes are
taken together as one point. Both distances are 0 between equal laws and above 0 between others, so
how near a sampler comes to a law is read against exact samples compared with exact samples.

The error bar: the sets are cut into groups, the distance is taken from group to group, and what
comes back is the mean over groups with its standard error. So the groups, not the sets, are the
sample size of the distance, which matters where that is biased.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from edmjax._common.arguments import whole
from edmjax._common.arrays import has_no_value
from edmjax.noise.keys import check_key, check_single_key

__all__ = ["Estimate", "energy_distance", "sliced_wasserstein"]


class Estimate(NamedTuple):
    """A mean over groups, and its standard error (NaN of one group)."""

    value: Float[Array, ""]
    standard_error: Float[Array, ""]


def sliced_wasserstein(
    x: Any, y: Any, key: Any, *, num_projections: int = 128, num_groups: int = 8
) -> Estimate:
    """Returns the sliced Wasserstein-2 distance of two sets of samples, in their units.

        SW2^2 = E over directions u of int_0^1 (F_x^-1(q) - F_y^-1(q))^2 dq

    with `F_x` the law of `u . x`. Of finite sets it is above that of their laws, by the order of
    `sqrt(1 / group size)`: compare sets of equal size alone.

    Args:
        x, y: the sets, equal shapes (n, ...).
        key: one typed key, for the directions; each group has its own, so the standard error holds
            what is due to them.
        num_projections: directions a group, uniform on the sphere.
        num_groups: into how many groups the sets are cut; the rest of `n` over it is left out.

    Raises:
        TypeError: if `key` is not one typed key, or a number is not whole.
        ValueError: if the sets differ in shape or hold a number that is not finite, or there are
            fewer than 2 samples a group.

    Source: Bonneel et al. (2015), section 3.
    """
    x, y = _groups(x, y, num_groups)
    check_key(key)
    check_single_key(key)
    count = whole(num_projections, "num_projections")
    keys = jax.random.split(key, len(x))
    return _mean(_sliced(x, y, keys, count))


def energy_distance(x: Any, y: Any, *, num_groups: int = 8) -> Estimate:
    """Returns the energy distance of two sets of samples, in their units.

        2 E|X - Y| - E|X - X'| - E|Y - Y'|

    without bias, so that between equal laws it is a little below 0 as often as above.

    Args:
        x, y: the sets, equal shapes (n, ...).
        num_groups: as in `sliced_wasserstein`.

    Raises:
        TypeError, ValueError: as `sliced_wasserstein` does.

    Source: Székely and Rizzo (2013), equation 2.
    """
    return _mean(_energy(*_groups(x, y, num_groups)))


@jax.jit
def _energy(x: Any, y: Any) -> Any:
    n = x.shape[1]

    def total(a, b):
        """The sum of all distances, a row at a time: n^2 d numbers would be too many."""
        return jnp.sum(lax.map(lambda row: jnp.sum(_length(b - row)), a))

    def group(pair):
        a, b = pair
        return 2 * total(a, b) / n**2 - (total(a, a) + total(b, b)) / (n * (n - 1))

    return lax.map(group, (x, y))


def _length(v: Any) -> Any:
    return jnp.sqrt(jnp.sum(v**2, axis=-1))


def _sliced_group(x: Any, y: Any, key: Any, count: int) -> Any:
    directions = jax.random.normal(key, (x.shape[1], count), x.dtype)
    directions = directions / jnp.sqrt(jnp.sum(directions**2, axis=0))
    x, y = (
        jnp.sort(jnp.matmul(v, directions, precision=lax.Precision.HIGHEST), axis=0) for v in (x, y)
    )
    return jnp.sqrt(jnp.mean((x - y) ** 2))


def _sliced_all(x: Any, y: Any, keys: Any, count: int) -> Any:
    return jax.vmap(lambda x, y, key: _sliced_group(x, y, key, count))(x, y, keys)


_sliced = jax.jit(_sliced_all, static_argnames="count")


def _mean(values: Any) -> Estimate:
    groups = len(values)
    error = jnp.std(values, ddof=1) / math.sqrt(groups) if groups > 1 else jnp.nan
    return Estimate(jnp.mean(values), jnp.asarray(error, values.dtype))


def _groups(x: Any, y: Any, num_groups: Any) -> tuple[Any, Any]:
    """Both sets as (groups, samples a group, numbers a sample)."""
    x, y = _numbers("x", x), _numbers("y", y)
    if x.shape != y.shape or x.ndim == 0:
        raise ValueError(
            "`x` and `y` must be sets of samples of one shape and size (n, ...), got "
            f"{x.shape} and {y.shape}."
        )
    for name, values in (("x", x), ("y", y)):
        if not has_no_value(values) and not bool(jnp.isfinite(values).all()):
            raise ValueError(
                f"`{name}` holds samples that are not finite, so that it has no distance: leave "
                "them out and say how many they are."
            )
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


def _numbers(name: str, value: Any) -> Any:
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must hold real numbers, got {value!r:.80}.") from None
    if jnp.iscomplexobj(array):
        raise TypeError(f"`{name}` must hold real numbers, got {array.dtype}.")
    return array


def __dir__() -> list[str]:
    return __all__
