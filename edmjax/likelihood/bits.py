"""Bits per dimension of data that were counts, such as pixels of 0 to 255.

Data `x` that take values a `step` apart, in the units that the denoiser works in, are spread evenly
over their cells, each `step` wide with the value in the middle: then a density `p` bounds their
probability,

    log P(x) >= E_u[ log p(x + step (u - 1/2)) ] + d log(step),    u uniform in [0, 1)^d,

with equality where p is constant over a cell. Theis et al. (2016), section 3.1.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jax.core import Tracer

from edmjax._common.arguments import real, whole
from edmjax._common.arrays import working_dtype
from edmjax._common.trees import check_batch_axis, floating_tree
from edmjax._common.typing import Arraylike, Int, Keys, Scalar, X
from edmjax.noise.keys import check_keys, sample_keys
from edmjax.scalar import is_traced

_LAST = 2**31 - 1  # an ordinal that no draw has: probes from the same key are other numbers


def dequantize(x: X, key: Keys, *, step: Scalar) -> X:
    """Returns `x + step (u - 1/2)`, with `u` uniform: each value spread over its cell.

    Args:
        x: values `step` apart, any pytree of floating arrays with the samples on axis 0. Pixels
            `k` of 256 levels scaled to `k / 127.5 - 1` are 1 / 127.5 apart.
        key: one typed key, of which sample `i` uses `fold_in(key, i)`, or one key a sample.
        step: the distance between neighbouring values, in the units of `x`.

    Raises:
        TypeError: `x` is not floating, or `key` not a typed key.
        ValueError: `step` is not positive, keys do not fit `x`, or values are not `step` apart, as
            pixels of another scale are; under `jit` that is not seen.
    """
    step = real(step, "step", above=0)
    x = floating_tree(x, "x")
    check_batch_axis(x, "x", True)
    check_keys(key, x, True)
    leaves, treedef = jax.tree.flatten(x)
    for leaf in leaves:
        _on_steps(leaf, step)
    keys = key if key.ndim else sample_keys(key, leaves[0].shape[0])

    def spread(index, leaf):
        def one(key):
            key = random.fold_in(random.fold_in(key, _LAST), index)
            return random.uniform(key, leaf.shape[1:], working_dtype(leaf.dtype))

        level = leaf.astype(working_dtype(leaf.dtype))
        return (level + step * (jax.vmap(one)(keys) - 0.5)).astype(leaf.dtype)

    return treedef.unflatten([spread(i, leaf) for i, leaf in enumerate(leaves)])


def bits_per_dim(log_p: Arraylike, dim: Int, *, step: Scalar) -> jax.Array:
    """Returns `-(log_p / dim + log(step)) / log(2)`, in the shape of `log_p`.

    Args:
        log_p: log-densities in nats of dequantized data, from `log_likelihood` at a `sigma_min`
            far below `step`.
        dim: how many numbers a sample has: 784 for an image of 28 x 28.
        step: the distance between neighbouring values, in the units of the data whose density
            `log_p` is: 2 / 256 for [-1, 1] cut into 256 cells, 1 / 127.5 for `k / 127.5 - 1`. Other
            packages add a fixed 7 or 8 bits, which is `-log2(step)` for their own scaling.

    Raises:
        TypeError: `dim` is not an integer.
        ValueError: `dim` is below 1, or `step` is not positive.
    """
    try:
        log_p = jnp.asarray(log_p)
    except (TypeError, ValueError):
        raise TypeError(f"`log_p` must hold real numbers, got {log_p!r:.80}.") from None
    return -(log_p / whole(dim, "dim") + jnp.log(real(step, "step", above=0))) / np.log(2)


def _on_steps(leaf: Any, step: Any) -> None:
    """Raises where values are not whole numbers of `step` apart, beyond the rounding of `leaf`."""
    if is_traced(step) or isinstance(leaf, Tracer) or leaf.size == 0:
        return
    values = np.asarray(leaf, np.float64).ravel()
    apart = (values - values[0]) / step
    off = np.abs(apart - np.round(apart))
    rounding = float(jnp.finfo(leaf.dtype).eps) * np.abs(values).max() / step
    worst = int(np.argmax(off))
    if not off[worst] <= 1e-3 + 2 * rounding:
        raise ValueError(
            f"Values of `x` must be whole numbers of `step` = {step:g} apart, got {values[0]:g} "
            f"and {values[worst]:g}, {apart[worst]:g} steps apart: pass the distance of "
            "neighbouring values in the scale of `x`, such as 1 / 127.5 for k / 127.5 - 1."
        )
