"""Where the samples of a chunk start: their keys, and points that are given or drawn."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from edmjax._common.arguments import describe
from edmjax._common.arrays import has_tracers, working_dtype
from edmjax._common.functions import program
from edmjax._common.packed import pack_comparable
from edmjax._common.trees import Layout, check_alike, parts_hint
from edmjax._common.typing import Denoiser, Keys, NoiseFunction, PyTree
from edmjax.noise.keys import check_key, normal_like
from edmjax.noise.own import check_noise_function, own_noise
from edmjax.noise.paths import Brownian, KeyLike
from edmjax.planning.table import PlanLike
from edmjax.running.sizes import expected_start, relative_size, start_std, warn_of_size


class Starts:
    """The points that samples start from: those that are given, or noise of the first level.

    Args:
        x: the points of all samples, or a function of (keys, like) that makes them, or None.
        make: what makes noise of keys; None where it is white.
        plan: the plan; its first level is the size of the noise.
        num_samples: how many points `x` must hold.
        like: one sample.
    """

    def __init__(self, x: Any, make: Any, plan: PlanLike, num_samples: int, like: Layout):
        self.plan: PlanLike = plan
        self.own: bool = x is not None or make is not None
        self.given: Any = None
        self.std: Any = np.float64(1)
        if callable(x):
            check_noise_function(x, "x")
            make = pack_comparable(x)
        elif x is not None:
            self.given = _all_starts(x, num_samples, like)
        else:
            self.std = start_std(plan)
        self.name: str = "`x`" if x is not None else "The start that `noise` makes"
        # A plain function is traced once, and not once a chunk.
        self.made: Any = program(_starts, make, like=like, name="noise" if x is None else "x")

    def of(self, keys: Keys, first: int) -> Any:
        """Those of the samples from number `first` on, whose keys these are."""
        if self.given is None:
            return self.made(keys, self.std)
        last = len(jax.tree.leaves(self.given)[0]) - 1
        index = np.minimum(np.arange(first, first + len(keys)), last)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), self.given)

    def check(self, denoise: Denoiser, points: PyTree) -> None:
        """Warns where points that the user gave, or made, have the size of another level."""
        expected = expected_start(denoise, self.plan) if self.own else None
        if expected is None or has_tracers(points):
            return
        ratio = float(relative_size(points, expected, True))
        # Through `begin` and `run_in_chunks`, to the caller of `sample_in_chunks`.
        warn_of_size(ratio, expected, stacklevel=5, what=self.name)


def _all_starts(x: PyTree, num_samples: int, like: Layout) -> Any:
    """The given points of all samples in NumPy arrays, once they are like the samples."""
    whole = like.tree(num_samples)
    given = jax.tree.map(np.asarray, x)  # they stay on the host
    for leaf in jax.tree.leaves(given):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            hint = parts_hint(leaf.dtype) or "convert it with `x.astype(np.float32)`."
            raise TypeError(f"`x` must hold floating arrays, got {describe(leaf)}: {hint}")
    check_alike(given, whole, "`x` must have", "samples")
    return jax.tree.map(lambda value, leaf: value.astype(leaf.dtype, copy=False), given, whole)


@functools.partial(jax.jit, static_argnames="rows")
def keys_of_chunk(key_start: Keys, key_steps: Keys, first: Any, *, rows: int) -> tuple[Keys, Keys]:
    """The keys of samples `first ... first + rows - 1`: for their starts, and for the plan."""
    # `first` is data, so that every chunk runs the same program.
    index = first + jnp.arange(rows, dtype=jnp.int32)

    def of(key: Keys) -> Any:
        if key.ndim:  # one a sample; those that fill up the last chunk may have any
            return key[jnp.minimum(index, len(key) - 1)]
        return jax.vmap(functools.partial(random.fold_in, key))(index)

    return of(key_start), of(key_steps)


def _starts(make: NoiseFunction | None, keys: Keys, std: Any, *, like: Layout, name: str) -> Any:
    """Points of these samples: `std` times noise, white where there is no function."""

    def scaled(noise: Any) -> Any:
        return (jnp.asarray(std, working_dtype(noise.dtype)) * noise).astype(noise.dtype)

    whole = like.tree(len(keys))
    noise = normal_like(keys, whole) if make is None else own_noise(make, keys, whole, name)
    return jax.tree.map(scaled, noise)


def split_keys(key: KeyLike, num_samples: int) -> tuple[Keys, Keys]:
    """The key of the noise that samples start from, and the key of the noise that they draw.

    Both are one key, or one a sample where `key` is.
    """
    key = key.key if isinstance(key, Brownian) else key
    check_key(key)
    if key.shape not in ((), (num_samples,)):
        raise ValueError(
            f"`key` must be one key, or one for each of the {num_samples} samples, got shape "
            f"{key.shape}."
        )
    if key.ndim:
        key_start, key_steps = jax.vmap(random.split, out_axes=1)(key)
    else:
        key_start, key_steps = random.split(key)
    return key_start, key_steps
