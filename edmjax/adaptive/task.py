"""What an adaptive method is, and what it sees of a call: points, network, noise and norm.

Points are trees like `x`, in at least float32. Levels, errors and counts have shape (batch,).
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from edmjax._common.arguments import real
from edmjax._common.arrays import from_left, has_no_value, working_dtype
from edmjax._common.functions import outputs_of
from edmjax._common.held import cast, dtypes_of, evaluate
from edmjax._common.typing import Denoiser, NoiseFunction, PyTree, Scalar
from edmjax.noise.keys import fold, keys_of, normal_like
from edmjax.noise.own import own_draw


class Method:
    """What `multistep` and `dpm_adaptive` return: how `sample` tries a step.

    Between steps a method has a state of its own. Its `done`, `sigma`, `nfe`, `accepted` and
    `rejected` are of shape (batch,).
    """

    per_sample: bool
    draws: bool  # whether an accepted step ends in fresh noise

    def start(self, task: "Task") -> PyTree:
        """The state before the first step."""
        raise NotImplementedError  # abstract: every method has its own

    def attempt(self, task: "Task", at: PyTree) -> PyTree:
        """The state after one step is tried; samples that are done stay as they are."""
        raise NotImplementedError  # abstract: every method has its own

    def end(self, task: "Task", at: PyTree) -> PyTree:
        """The points of a state."""
        raise NotImplementedError  # abstract: every method has its own


class Task(NamedTuple):
    """The call, as a method sees it."""

    x: Any  # the start, wide
    sigma_max: Any  # (batch,)
    sigma_min: Any  # (batch,)
    sigma_data: Any  # ()
    denoise: Callable[[Any, Any], Any]  # (point, sigma) -> denoised, wide
    draw: Callable[[Any], Any]  # ordinals (batch,) -> noise, wide
    norm: Callable[[Any], Any]  # a tree -> its RMS, (batch,)


def task_of(
    denoise: Denoiser,
    x: PyTree,
    key: Any,
    noise: PyTree,
    make: NoiseFunction | None,
    cond: PyTree,
    levels: Any,
    *,
    per_sample: bool,
) -> Task:
    dtypes = jax.tree.map(lambda leaf: working_dtype(leaf.dtype), x)
    dtype = jnp.result_type(*jax.tree.leaves(dtypes))
    batch = jax.tree.leaves(x)[0].shape[0]
    keys: Any = None if key is None else keys_of(key, x, batched=True)

    def denoised(point, sigma):
        out = evaluate(denoise, point, sigma, cond, dtypes_of(x))
        return cast(jax.tree.map(jnp.asarray, outputs_of(out, x)[0]), dtypes)

    def draw(ordinal):
        if noise is not None:
            rows = jnp.arange(batch)
            # Beyond the draws that were given there is nothing to take: NaN, not the last again.
            drawn = jax.tree.map(
                lambda v: v.at[ordinal, rows].get(mode="fill", fill_value=jnp.nan), noise
            )
        elif make is not None:
            drawn = own_draw(make, keys, ordinal, x)
        else:
            drawn = normal_like(fold(keys, ordinal), x)
        return cast(drawn, dtypes)

    def norm(tree):
        leaves = [leaf.astype(dtype) for leaf in jax.tree.leaves(tree)]
        squares = [jnp.sum(leaf**2, axis=range(1, leaf.ndim)) for leaf in leaves]
        size = sum(math.prod(leaf.shape[1:]) for leaf in leaves)
        mean = functools.reduce(operator.add, squares) / size
        if not per_sample:
            mean = jnp.broadcast_to(jnp.mean(mean), mean.shape)
        return jnp.sqrt(mean)

    sigma_max, sigma_min, sigma_data = (jnp.asarray(level, dtype) for level in levels)
    return Task(
        x=cast(x, dtypes),
        sigma_max=jnp.broadcast_to(sigma_max, (batch,)),
        sigma_min=jnp.broadcast_to(sigma_min, (batch,)),
        sigma_data=sigma_data,
        denoise=denoised,
        draw=draw,
        norm=norm,
    )


def select(which: jax.Array, yes: PyTree, no: PyTree) -> Any:
    """`yes` for the samples where `which`, else `no`; trees with the samples on axis 0."""
    return jax.tree.map(lambda a, b: jnp.where(from_left(which, a), a, b), yes, no)


def tolerances(rtol: Scalar, atol: Scalar) -> tuple[Any, Any]:
    """`rtol` and `atol` as numbers, finite and not both 0; left as they are where traced."""
    rtol, atol = real(rtol, "rtol", least=0), real(atol, "atol", least=0)
    if not has_no_value(rtol) and not has_no_value(atol) and rtol == 0 and atol == 0:
        raise ValueError("`rtol` and `atol` are both 0, and no step has no error: raise one.")
    return rtol, atol
