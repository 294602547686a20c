"""Noise of the user's own: a function `(keys, like) -> noise` in place of white noise.

`keys` is one key a sample, shape (n,), and `like` has the structure, shapes and dtypes to return;
axis 0 of its leaves counts samples. It is one call for all samples, so that a function may draw
them as it likes; noise that belongs to a sample is a `jax.vmap` over keys. White noise is
`ej.normal_like`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from edmjax._common.arguments import describe
from edmjax._common.arrays import working_dtype
from edmjax._common.functions import check_function, compiled
from edmjax._common.held import cast, dtypes_of
from edmjax._common.trees import Layout, check_like
from edmjax._common.typing import Array, Keys, NoiseFunction, PyTree, Scalar
from edmjax.noise.keys import fold


def check_noise_function(noise: object, name: str = "noise") -> None:
    """Raises unless `noise` is a function of (keys, like)."""
    check_function(noise, name, "keys", "like")


def drawn(
    noise: NoiseFunction, keys: Keys, like: PyTree, name: str = "noise", whose: str = "like"
) -> Any:
    """What the function returns, as arrays in the dtypes of `like`.

    One key, not an array of them, is for a `like` that is one sample: the function is given a batch
    of one all the same. `name` is the argument that it was given as, and `whose` what a message
    calls the tree of these shapes.

    Raises:
        TypeError: if it returns numbers that are not floating.
        ValueError: if it returns another structure or other shapes than `like` has.
    """
    if keys.ndim == 0:
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype), like)
        return jax.tree.map(lambda leaf: leaf[0], drawn(noise, keys[None], one, name, whose))
    made = check_like(noise(keys, like), like, f"`{name}`", whose)
    for value, leaf in zip(jax.tree.leaves(made), jax.tree.leaves(like), strict=True):
        dtype = getattr(value, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"`{name}` must return floating arrays, {leaf.dtype}, got {describe(value)}."
            )
    made = jax.tree.map(lambda value, leaf: jnp.asarray(value, leaf.dtype), made, like)
    # A kernel of its own: fused with the sums of a step, it would be rounded as no given noise is.
    return jax.lax.optimization_barrier(made)


def own_noise(noise: NoiseFunction, keys: Keys, x: PyTree, name: str = "noise") -> Any:
    """The noise of these keys, like `x`: made in at least float32, and then cast."""
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, working_dtype(leaf.dtype)), x)
    return cast(drawn(noise, keys, like, name), dtypes_of(x))


def own_draw(noise: NoiseFunction, keys: Keys, ordinal: Scalar | Array, x: PyTree) -> Any:
    """Draw number `ordinal` of each sample, like `x`."""
    return own_noise(noise, fold(keys, ordinal), x)


def own_draws(noise: NoiseFunction, keys: Keys, first: Scalar, count: int, x: PyTree) -> Any:
    """Draws `first ... first + count - 1`, leaf shape (count, *leaf.shape)."""
    return jax.lax.map(lambda j: own_draw(noise, keys, j, x), first + jnp.arange(count))


def _all_draws(noise: NoiseFunction, keys: Keys, *, num_draws: int, like: Layout) -> Any:
    return own_draws(noise, keys, 0, num_draws, like.tree())


def all_own_draws(noise: NoiseFunction, keys: Keys, num_draws: int, x: PyTree) -> Any:
    """All draws, leaf shape (num_draws, *leaf.shape)."""
    return compiled(_all_draws, (noise,), (keys,), num_draws=num_draws, like=Layout(x))
