"""Noise that belongs to a sample: draw `j` of leaf `l` of sample `i` depends on i, j, l and key.

    noise = normal(fold_in(fold_in(key_i, j), l)),    key_i = fold_in(key, i)

Nothing else enters, so a sample does not change with the batch, the chunk or the mesh it is made
in. Draws are made in float32 (float64 for float64 leaves) and then cast to the leaf's dtype.
"""

import functools
import math
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import random

from edmjax._common.arguments import count, whole
from edmjax._common.arrays import working_dtype
from edmjax._common.trees import Layout, floating_tree
from edmjax._common.typing import Array, Int, Keys, PyTree, Scalar, Shape, X


def sample_keys(key: Keys, n: Int, start: Int = 0) -> Keys:
    """Returns the keys of samples `start ... start + n - 1`, shape (n,): `fold_in(key, i)`.

    In a function that `jax.export` exports, `n` may be a symbolic size, such as `x.shape[0]`.

    Raises:
        TypeError: if `key` is not a single typed key (`jax.random.key(seed)`), or `n` or `start`
            is not an integer.
        ValueError: if `n` or `start` is negative, samples are numbered above 2^31 - 1, or the key's
            generator depends on batching.
    """
    check_key(key)
    check_single_key(key)
    start = whole(start, "start", least=0, most=2**31 - 1)  # what int32 counts to
    n = count(n, "n", most=2**31 - 1 - start)
    return jax.vmap(lambda i: random.fold_in(key, i))(jnp.arange(start, start + n))


def is_typed(key: object) -> bool:
    """Whether `key` is a typed key or an array of them."""
    return isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)


def check_typed(key: object) -> None:
    """Raises where `key` is not a typed key or an array of them."""
    if not is_typed(key):
        got = (
            f"an array of {key.dtype}{list(key.shape)}" if isinstance(key, jax.Array) else repr(key)
        )
        raise TypeError(f"`key` must be a typed key, such as `jax.random.key(0)`, got {got}.")


def check_single_key(key: Keys) -> None:
    """Raises where `key` is not one typed key."""
    check_typed(key)
    if key.shape != ():
        raise TypeError(f"`key` must be a single key, got an array of keys of shape {key.shape}.")


def check_key(key: Keys) -> None:
    """Raises where `key` is not a typed key whose draws are the same under vmap."""
    check_typed(key)
    # The rbg generators draw for a whole batch at once: under vmap a sample's noise would depend on
    # the samples beside it.
    if "rbg" in str(random.key_impl(key)):
        raise ValueError(
            f"Keys of the {random.key_impl(key)} generator draw other numbers under vmap, so a "
            "sample would depend on its batch: use `jax.random.key(seed, impl='threefry2x32')`."
        )


def check_keys(key: Keys, x: PyTree, batched: bool) -> None:
    """Raises where `key` is not one key, or one for each sample of `x`."""
    # A row of keys of any other length would be broadcast or cut without an error.
    check_key(key)
    batch = jax.tree.leaves(x)[0].shape[0] if batched else None
    if key.shape not in ((), (batch,)):
        raise ValueError(
            f"`key` must be one key, or one for each of the {batch} samples, got shape {key.shape}."
            if batched
            else f"With batched=False `x` is one sample and `key` one key, got shape {key.shape}."
        )


def keys_of(key: Keys, x: PyTree, batched: bool) -> Keys:
    """The key of each sample of `x`, shape (batch,), or the one key where `x` is one sample."""
    # Keys that already belong to samples, as in a chunk of a larger run, are used as they are.
    if batched and key.shape == ():
        return sample_keys(key, jax.tree.leaves(x)[0].shape[0])
    return key


def normal_like(key: Keys | X, x: X) -> X:
    """Returns standard normal noise like `x`, from the key of a draw.

    Leaf `l` of a sample is `normal(fold_in(key, l))`, in float32 (float64 for float64 leaves) and
    then cast; keys of shape (batch,) make a batch. Arrays like `x` in place of the key are returned
    as they are. So a corrector draws with `normal_like(key[m], x)` whether `sample` was given a key
    or the noise itself. As the `noise` of a call that draws it changes nothing.

    Raises:
        TypeError: if `x` holds no floating arrays.
        ValueError: if `key` is neither one key, nor a key per sample of `x`, nor noise like `x`.
    """
    floating_tree(x, "x", shapes=True)
    if not is_typed(key):
        if [jnp.shape(v) for v in jax.tree.leaves(key)] != [v.shape for v in jax.tree.leaves(x)]:
            raise ValueError(
                "`key` must be a typed key, such as `jax.random.key(0)`, one for each sample of "
                f"`x`, or noise like `x`, got {key!r:.80}."
            )
        return cast(X, key)
    keys = cast(Keys, key)
    if keys.ndim:
        check_keys(keys, x, batched=True)
    # Without the barrier XLA would cut first, and compute the tail apart.
    padded = jax.lax.optimization_barrier(_padded_like(keys, x))
    return jax.tree.map(lambda draw, leaf: cut_draw(draw, leaf.shape), padded, x)


def padded_size(size: int) -> int:
    """How many numbers are drawn to give `size` of them: enough to fill whole SIMD vectors."""
    # With partitionable keys each number depends on its index alone, so a draw is the beginning of
    # a longer one. The vector lengths of XLA on a CPU divide 16.
    partitionable = getattr(jax.config, "jax_threefry_partitionable")  # noqa: B009 (untyped)
    return size + -size % 16 if partitionable else size


def _padded_like(key: Any, x: Any) -> Any:
    """The noise of `normal_like` before `cut_draw`: leaves of shape ([batch,] whole vectors).

    XLA computes the tail that does not fill a SIMD vector with different instructions, which may
    differ by one ulp in the inverse error function (jax 0.12), and how long that tail is depends on
    the batch. So each sample draws whole vectors, and they are cut in a kernel of its own.
    """
    leaves, treedef = jax.tree.flatten(x)

    def draw_leaf(index: int, shape: Shape, dtype: Any) -> Any:
        size = padded_size(math.prod(shape[key.ndim :]))

        def one(key: Any) -> Any:
            wide = working_dtype(dtype)
            return random.normal(random.fold_in(key, index), (size,), wide).astype(dtype)

        return (jax.vmap(one) if key.ndim else one)(key)

    return treedef.unflatten([draw_leaf(i, v.shape, v.dtype) for i, v in enumerate(leaves)])


def cut_draw(padded: Array, shape: Shape) -> Array:
    """What `draw` makes, ([batch,] whole vectors), in the shape of a leaf."""
    # Given noise that is split over devices is not padded: it has the leaf's shape already.
    if padded.shape == shape:
        return padded
    return padded[..., : math.prod(shape[padded.ndim - 1 :])].reshape(shape)


def padded_draw(draw: Array, shape: Shape) -> Array:
    """The inverse of `cut_draw`; `shape` is (batch,), or () without an axis of samples."""
    flat = draw.reshape((*shape, -1))
    size = flat.shape[-1]
    return jnp.pad(flat, [(0, 0)] * len(shape) + [(0, padded_size(size) - size)])


def fold(keys: Keys, ordinal: Scalar | Array) -> Any:
    """The key of draw number `ordinal`, a number or one a sample, of each sample's key."""
    if jnp.ndim(ordinal):
        return jax.vmap(random.fold_in)(keys, ordinal)
    of = functools.partial(random.fold_in, data=ordinal)
    return jax.vmap(of)(keys) if keys.ndim else of(keys)


def draw(keys: Keys, ordinal: Scalar, x: PyTree) -> PyTree:
    """Draw number `ordinal` of each sample; `cut_draw` gives it the shape of `x`."""
    return _padded_like(fold(keys, ordinal), x)


@functools.partial(jax.jit, static_argnames=("num_draws", "like"))
def _draw_all(keys: Keys, *, num_draws: int, like: Any) -> Any:
    return jax.lax.map(lambda j: draw(keys, j, like.tree()), jnp.arange(num_draws))


def draw_all(keys: Keys, num_draws: int, x: PyTree) -> PyTree:
    """All draws, leaf shape (num_draws, *leaf.shape), one compiled program for each shape."""
    padded = _draw_all(keys, num_draws=num_draws, like=Layout(x))
    return jax.tree.map(
        lambda draws, leaf: jax.vmap(lambda v: cut_draw(v, leaf.shape))(draws), padded, x
    )
