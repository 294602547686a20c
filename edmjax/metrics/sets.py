"""Sets of samples: arrays of finite real numbers whose axis 0 counts them, and a mean's error."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from edmjax._common.arrays import has_no_value
from edmjax._common.exported import serializable_tuple
from edmjax._common.typing import Arraylike


@serializable_tuple
class Estimate(NamedTuple):
    """A mean, and its standard error (NaN for a mean over a single group)."""

    value: Float[Array, ""]
    standard_error: Float[Array, ""]


def reals(value: Arraylike, name: str) -> jax.Array:
    """`value` as an array of real numbers."""
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must hold real numbers, got {value!r:.80}.") from None
    if jnp.iscomplexobj(array):
        raise TypeError(f"`{name}` must hold real numbers, got {array.dtype}.")
    return array


def two_sets(x: Arraylike, y: Arraylike) -> tuple[jax.Array, jax.Array]:
    """`x` and `y` as finite arrays of one shape (n, ...)."""
    x, y = reals(x, "x"), reals(y, "y")
    if x.shape != y.shape or x.ndim == 0:
        raise ValueError(
            "`x` and `y` must be sets of samples of one shape and size (n, ...), got "
            f"{x.shape} and {y.shape}."
        )
    for name, values in (("x", x), ("y", y)):
        if not has_no_value(values) and not bool(jnp.isfinite(values).all()):
            raise ValueError(
                f"`{name}` holds samples that are not finite, so the distance is undefined: leave "
                "them out, and say how many there were."
            )
    return x, y
