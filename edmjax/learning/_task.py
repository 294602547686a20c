"""What is fitted: the denoiser on flat samples, the noises in two parts, and where they lead.

Inside a fit a sample is one row of a matrix, in float32 at least, whatever tree `x` is.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from jax.core import Tracer

from edmjax._common.arguments import count, ordered, positive
from edmjax._common.arrays import wide
from edmjax._common.functions import as_pytree, outputs_of
from edmjax._common.trees import check_batch_axis, check_cond, floating_tree
from edmjax.noise.keys import check_keys
from edmjax.planning.make import make_plan
from edmjax.planning.table import Plan
from edmjax.running.one_plan import trajectory
from edmjax.samplers import unipc
from edmjax.scalar import flag
from edmjax.schedules import exponential

LEAST_NOISES = 16  # a quarter of them chooses


class Flat:
    """A denoiser of rows: `flat(x, sigma, cond)` for `x` of shape (batch, size)."""

    def __init__(self, like: Any):
        leaves, self.treedef = jax.tree.flatten(like)
        self.shapes = [leaf.shape[1:] for leaf in leaves]
        self.dtypes = [leaf.dtype for leaf in leaves]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.dtype = jnp.result_type(*[wide(dtype) for dtype in self.dtypes])

    def rows(self, tree: Any) -> Any:
        leaves = jax.tree.leaves(tree)
        return jnp.concatenate(
            [jnp.asarray(v, self.dtype).reshape(v.shape[0], -1) for v in leaves], axis=1
        )

    def tree(self, rows: Any) -> Any:
        parts = jnp.split(rows, np.cumsum(self.sizes)[:-1], axis=1)
        leaves = [
            part.reshape(-1, *shape).astype(dtype)
            for part, shape, dtype in zip(parts, self.shapes, self.dtypes, strict=True)
        ]
        return self.treedef.unflatten(leaves)

    def denoise(self, denoise: Any, rows: Any, sigma: Any, cond: Any) -> Any:
        x = self.tree(rows)
        out = denoise(x, sigma) if cond is None else denoise(x, sigma, cond)
        return self.rows(outputs_of(out, x)[0])


class Part(NamedTuple):
    """Some of the noises, with the way of the flow from each; arrays alone, a pytree."""

    points: Any  # (levels, batch, size), the flow at levels that are even in log sigma
    outputs: Any  # (levels, batch, size), the denoised outputs there
    end: Any  # (batch, size), where a plan is to end
    cond: Any

    def take(self, rows: Any) -> "Part":
        cond = jax.tree.map(lambda leaf: leaf[rows], self.cond)
        return Part(self.points[:, rows], self.outputs[:, rows], self.end[rows], cond)


def interpolate(table: Any, sigmas: Any, low: float, high: float) -> Any:
    """`table`, given at levels even in log sigma, at `sigmas`: shape (sigmas, batch, size).

    By the cubic polynomial through the four levels around.
    """
    where = (math.log(high) - jnp.log(sigmas)) * ((len(table) - 1) / math.log(high / low))
    index = jnp.clip(lax.stop_gradient(where).astype(int), 1, len(table) - 3)
    t = (where - index).astype(table.dtype)[:, None, None]
    return (
        -t * (t - 1) * (t - 2) / 6 * table[index - 1]
        + (t + 1) * (t - 1) * (t - 2) / 2 * table[index]
        - (t + 1) * t * (t - 2) / 2 * table[index + 1]
        + (t + 1) * t * (t - 1) / 6 * table[index + 2]
    )


class Task(NamedTuple):
    """A fit, checked: what both functions share."""

    denoise: Any  # a pytree
    flat: Flat
    nfe: int
    low: float
    high: float
    final_zero: bool
    width: float  # the standard deviation of what the flow ends in
    train: Part
    validation: Part
    x: Any  # the noises of both parts, as they were given, in their order
    cond: Any
    key: Any  # for batches

    def batches(self, updates: int, size: int) -> Any:
        """The rows of each update: shape (updates, size), int32; no row twice in one."""
        total = self.train.end.shape[0]
        keys = random.split(self.key, updates)
        return jax.vmap(lambda key: random.permutation(key, total)[:size])(keys)


def task_of(
    denoise: Any,
    nfe: Any,
    x: Any,
    key: Any,
    *,
    cond: Any,
    sigma_min: Any,
    sigma_max: Any,
    final_zero: Any,
    reference_nfe: Any,
) -> Task:
    """Checks the arguments, follows the flow, and splits the noises."""
    if not callable(denoise):
        raise TypeError(f"`denoise` must be a function of (x, sigma), got {denoise!r:.80}.")
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((denoise, x, key, cond))):
        raise TypeError(
            "A fit returns numbers and runs programs of its own, so it cannot run under `jit`: "
            "call it outside, and use what it returns inside."
        )
    nfe = count(nfe, "`nfe`")
    low, high = ordered(sigma_min, sigma_max)
    zero = flag(final_zero, "final_zero")
    x = floating_tree(x, "x")
    check_batch_axis(x, "x", True)
    if cond is not None:
        check_cond(cond, x)
    total = jax.tree.leaves(x)[0].shape[0]
    if total < LEAST_NOISES:
        raise ValueError(
            f"`x` holds {total} noises: a fit needs {LEAST_NOISES} at least, and a few hundred to "
            "do well on others."
        )
    flat = Flat(x)
    if not sum(flat.sizes):
        raise ValueError("`x` holds samples without components: there is nothing to fit.")
    check_keys(key, x, True)
    if key.shape:
        raise ValueError(f"`key` must be one key, got an array of keys of shape {key.shape}.")
    _check_scale(np.asarray(flat.rows(x)), high)
    steps = max(128, min(16 * nfe, 320), 2 * nfe) if reference_nfe is None else reference_nfe
    steps = count(steps, "`reference_nfe`", least=max(2 * nfe, 8))

    grid = exponential(steps + 1, low, high, final_zero=False)
    # Here and not by `trajectory`: what wraps a function hides what it declares.
    fine = make_plan(unipc(3), grid)
    fine.check_range(denoise)

    split, batches = random.split(key)
    order = np.asarray(random.permutation(split, total))
    x, cond = jax.tree.map(lambda leaf: jnp.asarray(leaf)[order], (x, cond))
    held = max(total // 4, 1)
    denoise = as_pytree(denoise, "denoise")
    whole = _flow(denoise, flat, fine, x, cond, zero)
    rows = np.arange(total)
    end = np.asarray(whole.end, np.float64)
    width = float(np.sqrt(np.mean((end - end.mean(axis=0)) ** 2)))
    return Task(
        denoise=denoise,
        flat=flat,
        nfe=nfe,
        low=low,
        high=high,
        final_zero=zero,
        # A denoiser of one point has no width; the grids need a positive one.
        width=positive("sigma_data", max(width, low)),
        train=whole.take(rows[held:]),
        validation=whole.take(rows[:held]),
        x=x,
        cond=cond,
        key=batches,
    )


def _check_scale(rows: np.ndarray, high: float) -> None:
    if not np.isfinite(rows).all():
        raise ValueError("`x` must be finite: it holds NaN or infinity.")
    # About the mean of the samples, as the data may lie far from 0.
    size = float(np.sqrt(np.mean((rows - rows.mean(axis=0)) ** 2)))
    if not 0.5 * high <= size <= 10 * high:
        raise ValueError(
            f"`x` must be noise at sigma_max = {high:g}, and its standard deviation is {size:.3g}: "
            "pass sigma_max times standard normal noise, or another sigma_max."
        )


def _flow(denoise: Any, flat: Flat, plan: Plan, x: Any, cond: Any, zero: bool) -> Part:
    """The way of every noise by many small steps, with an evaluation at the end of it."""
    sigmas = plan.grid
    low = float(sigmas[-1])

    @jax.jit
    def follow(denoise, x, cond):
        end, (points, outputs) = trajectory(
            denoise, plan, x, cond=cond, save=lambda x, d, _: (flat.rows(x), flat.rows(d))
        )
        end = flat.rows(end)
        last = flat.denoise(denoise, end, jnp.asarray(low, flat.dtype), cond)
        points = jnp.concatenate([points, end[None]])
        outputs = jnp.concatenate([outputs, last[None]])
        finite = jnp.isfinite(outputs).all(axis=(1, 2))
        return Part(points, outputs, last if zero else end, cond), finite

    way, finite = follow(denoise, x, cond)
    wrong = np.flatnonzero(~np.asarray(finite))
    if wrong.size:
        raise ValueError(
            f"The denoiser returned NaN or infinity at sigma = {sigmas[wrong[0]]:.4g}: a plan is "
            "fitted to a denoiser that is finite from sigma_max to sigma_min; choose these within "
            "the levels that it was trained on."
        )
    return way
