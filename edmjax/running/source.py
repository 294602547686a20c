"""Where the noise of a run comes from: keys, draws that were given, or a Brownian path.

With keys, the draws are white, or what a function of the user's makes of the keys.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from edmjax._common.manual import vary_like
from edmjax._common.packed import pack_comparable
from edmjax._common.trees import floating_tree
from edmjax._common.typing import Array, Keys, NoiseFunction, PyTree, Scalar
from edmjax.noise.keys import check_keys, draw
from edmjax.noise.own import check_noise_function, own_draw
from edmjax.noise.paths import Brownian, Increments, KeyLike, unit_increment
from edmjax.running.layout import Points

NO_INCREMENTS = (
    "The draws of {who} are no increments of a path: pass a key in place of `ej.brownian(key)`."
)
OF_KEYS = "`noise` is a function of keys, one a sample: pass a key as well, got {got}."


def source_of_noise(
    x: PyTree,
    key: KeyLike | None,
    noise: PyTree,
    *,
    who: str,
    batched: bool,
    room: bool,
    num_draws: int | None,
    needed: str | None,
) -> tuple[Keys | None, PyTree, Any]:
    """`(key, noise, make)` that a run draws from, once they fit `x`: one of the first two is None.

    `make` is the user's function that makes noise of the key, ready for a `program`; None where
    the noise is white, or given.

    Args:
        x, key, noise, batched: as `sample` is given them.
        who: whose draws are no increments of a path, for the message.
        room: whether anything in the run takes noise.
        num_draws: how many draws a given `noise` must hold; None where that is not known.
        needed: what to say where there is neither a key nor noise; None where none is needed.
    """
    make = None
    if callable(noise):
        make, noise = function_of_noise(noise, key), None
    # Noise that is given wins over a key, and is checked even where the plan takes none of it: a
    # wrong shape is a mistake all the same.
    if noise is not None:
        noise = floating_tree(noise, "noise")
        check_noise(noise, x, num_draws)
        return None, noise if room else None, None
    if not room:
        return None, None, None
    if isinstance(key, Brownian):
        raise ValueError(NO_INCREMENTS.format(who=who))
    if key is not None:
        check_keys(key, x, batched)
        return key, None, make
    if needed is not None:
        raise ValueError(needed if make is None else OF_KEYS.format(got="no key"))
    return None, None, None


def function_of_noise(noise: NoiseFunction, key: KeyLike | None) -> Any:
    """The function `noise`, ready for a `program`, once it is one of (keys, like)."""
    check_noise_function(noise)
    if isinstance(key, Brownian):
        raise ValueError(OF_KEYS.format(got="a path, whose draws are its own increments"))
    # It has no data of its own more often than not, and what is at the top of a module stays.
    return pack_comparable(noise)


def no_draws(x: PyTree) -> Any:
    """The `noise` of a plan that has room for draws and makes none."""
    return jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape), leaf.dtype), x)


def check_noise(noise: PyTree, x: PyTree, num_draws: int | None) -> None:
    """Checks the draws that were given; `num_draws` is None where the plan is traced."""
    if jax.tree.structure(noise) != jax.tree.structure(x):
        raise ValueError(
            f"`noise` must have the structure of `x`, {jax.tree.structure(x)}, got "
            f"{jax.tree.structure(noise)}."
        )
    for draws, leaf in zip(jax.tree.leaves(noise), jax.tree.leaves(x), strict=True):
        count = "num_draws" if num_draws is None else num_draws
        right = draws.ndim == leaf.ndim + 1 and draws.shape[1:] == leaf.shape
        if not right or (num_draws is not None and draws.shape[0] != num_draws):
            want = f"({', '.join(str(n) for n in (count, *leaf.shape))})"
            raise ValueError(
                f"`noise` must hold every draw of the plan, leaf shape (num_draws, *leaf.shape) = "
                f"{want}, got {tuple(draws.shape)}; `ej.draw_noise(plan, key, x)` makes it."
            )


def draws_of_row(
    points: Points,
    asked: Array,
    *,
    key: Keys | Increments | None,
    noise: PyTree,
    make: NoiseFunction | None = None,
    skip: bool = False,
) -> list[Any]:
    """The draws of one row of a plan, as they are carried to the next iteration.

    Args:
        points: how the loop holds points.
        asked: for each slot of the row the ordinal of its draw, -1 where there is none; on a path,
            the pair of times that it lies between.
        key: the samples' keys, or `Increments`; None where `noise` is given.
        noise: the draws that were given, or None.
        make: what makes noise of the keys; None where it is white.
        skip: whether a slot without a draw costs nothing, by a `lax.cond`. It costs a question to
            the host on a GPU, so it is for plans of different kinds in one program.
    """
    if isinstance(key, Increments):
        return [unit_increment(key.key, times, points.x) for times in asked]
    one = functools.partial(_one_draw, points, key=key, noise=noise, make=make)
    if not skip:
        return [one(ordinal) for ordinal in asked]

    # `cond` needs both branches alike, and the shape of a carried draw is the generator's own.
    def nothing(ordinal: Scalar) -> Any:
        shapes = jax.eval_shape(one, ordinal)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return vary_like(zeros, (key, noise))

    return [lax.cond(ordinal >= 0, one, nothing, ordinal) for ordinal in asked]


def _one_draw(
    points: Points,
    ordinal: Scalar,
    *,
    key: Keys | None,
    noise: PyTree,
    make: NoiseFunction | None,
) -> Any:
    if key is not None and make is not None:
        return points.pack(own_draw(make, key, jnp.maximum(ordinal, 0), points.x))
    if key is not None:
        return draw(key, jnp.maximum(ordinal, 0), points.x)
    return points.pack(jax.tree.map(functools.partial(_take, ordinal=ordinal), noise))


def _take(draws: Array, ordinal: Scalar) -> Any:
    """One of the draws that were given; 0 for a slot without one.

    Beyond the draws that were given there is nothing to take: NaN, not the last one again.
    """
    if draws.shape[0] == 0:  # an axis that JAX does not index
        draws = jnp.full((1, *draws.shape[1:]), jnp.nan, draws.dtype)
    taken = draws.at[jnp.maximum(ordinal, 0)].get(mode="fill", fill_value=jnp.nan)
    return jnp.where(ordinal < 0, 0, taken).astype(draws.dtype)
