"""What both fits share: the denoiser on flat samples, the noises with their reference, the report.

Inside a fit a sample is one row of a matrix, in at least float32, whatever tree `x` is.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from edmjax._common.arguments import ordered, positive, whole
from edmjax._common.arrays import has_tracers
from edmjax._common.functions import as_pytree, checked_inputs
from edmjax._common.held import denoised_rows
from edmjax._common.trees import Flat, conditions_at
from edmjax._common.typing import Denoiser, Int, Keys, Number, PyTree
from edmjax.noise.keys import check_key, check_single_key
from edmjax.planning.make import make_plan
from edmjax.planning.table import Plan
from edmjax.running.one_plan import trajectory
from edmjax.samplers import unipc
from edmjax.scalar import flag
from edmjax.schedules import exponential

LEAST_NOISES = 16  # a quarter of them is held out, and chooses

Errors = np.ndarray | jax.Array  # of samples, shape (samples,)


class Part(NamedTuple):
    """Some of the noises, with the reference solution of the flow from each; a pytree of arrays."""

    points: jax.Array  # (levels, batch, size), the flow at levels that are even in log sigma
    outputs: jax.Array  # (levels, batch, size), the denoised outputs there
    end: jax.Array  # (batch, size), where a plan should end
    cond: PyTree

    def take(self, rows: jax.Array | np.ndarray) -> "Part":
        """The noises of these numbers."""
        cond = conditions_at(self.cond, rows)
        return Part(self.points[:, rows], self.outputs[:, rows], self.end[rows], cond)


def interpolate(table: jax.Array, sigmas: jax.Array, low: float, high: float) -> jax.Array:
    """`table`, given at levels even in log sigma, at `sigmas`: shape (sigmas, batch, size).

    It is the cubic polynomial through the four nearest levels.
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
    """The arguments of a fit, checked, with the noises split in two parts."""

    denoise: Denoiser  # a pytree
    flat: Flat
    nfe: int
    low: float  # sigma_min
    high: float  # sigma_max
    final_zero: bool
    width: float  # the standard deviation of the samples that the flow ends in
    train: Part
    validation: Part
    x: PyTree  # all noises, as they were given, those that choose first
    cond: PyTree
    key: Keys  # for batches

    def batches(self, updates: int, size: int) -> jax.Array:
        """The rows of each update: shape (updates, size), int32; no update has a row twice."""
        total = self.train.end.shape[0]
        keys = random.split(self.key, updates)
        return jax.vmap(lambda key: random.permutation(key, total)[:size])(keys)


def task_of(
    denoise: Denoiser,
    nfe: Int,
    x: PyTree,
    key: Keys,
    cond: PyTree,
    sigma_min: Number,
    sigma_max: Number,
    final_zero: bool,
    reference_nfe: Int | None,
) -> Task:
    """Checks the arguments, solves the flow from every noise, and splits the noises."""
    x, cond = checked_inputs(denoise, x, cond)
    if has_tracers((denoise, x, key, cond)):
        raise TypeError(
            "A fit returns numbers and runs programs of its own, so it cannot run under `jit`: "
            "call it outside, and use what it returns inside."
        )
    nfe = whole(nfe, "nfe")
    low, high = ordered(sigma_min, sigma_max)
    zero = flag(final_zero, "final_zero")
    total = jax.tree.leaves(x)[0].shape[0]
    if total < LEAST_NOISES:
        raise ValueError(
            f"`x` holds {total} noises: a fit needs at least {LEAST_NOISES}, and a few hundred to "
            "hold for other noises."
        )
    flat = Flat(x)
    if not flat.dim:
        raise ValueError("`x` holds samples without components: there is nothing to fit.")
    check_key(key)
    check_single_key(key)
    _check_scale(np.asarray(flat.rows(x)), high)
    steps = max(128, min(16 * nfe, 320), 2 * nfe) if reference_nfe is None else reference_nfe
    steps = whole(steps, "reference_nfe", least=max(2 * nfe, 8))

    grid = exponential(steps + 1, low, high, final_zero=False)
    # Not left to `trajectory`: the wrapper that `as_pytree` adds hides the declared range.
    fine = make_plan(unipc(3), grid)
    fine.check_range(denoise)

    split, batches = random.split(key)
    order = np.asarray(random.permutation(split, total))
    x, cond = jax.tree.map(jnp.asarray, (x, cond))
    x, cond = jax.tree.map(lambda leaf: leaf[order], x), conditions_at(cond, order)
    held = max(total // 4, 1)
    denoise = as_pytree(denoise, "denoise")
    flow = _flow(denoise, flat, fine, x, cond, zero)
    rows = np.arange(total)
    end = np.asarray(flow.end, np.float64)
    width = float(np.sqrt(np.mean((end - end.mean(axis=0)) ** 2)))
    return Task(
        denoise=denoise,
        flat=flat,
        nfe=nfe,
        low=low,
        high=high,
        final_zero=zero,
        # A denoiser of one point has no width; the grids need a positive one.
        width=positive(max(width, low), "sigma_data"),
        train=flow.take(rows[held:]),
        validation=flow.take(rows[:held]),
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


def _flow(denoise: Denoiser, flat: Flat, plan: Plan, x: PyTree, cond: PyTree, zero: bool) -> Part:
    """The flow from every noise by many small steps, with one more evaluation where it ends."""
    sigmas = plan.grid
    low = float(sigmas[-1])

    @jax.jit
    def follow(denoise, x, cond):
        end, (points, outputs) = trajectory(
            denoise, plan, x, cond=cond, save=lambda x, d, _: (flat.rows(x), flat.rows(d))
        )
        end = flat.rows(end)
        last = denoised_rows(denoise, flat, end, jnp.asarray(low, flat.dtype), cond)
        points = jnp.concatenate([points, end[None]])
        outputs = jnp.concatenate([outputs, last[None]])
        finite = jnp.isfinite(outputs).all(axis=(1, 2))
        return Part(points, outputs, last if zero else end, cond), finite

    part, finite = follow(denoise, x, cond)
    wrong = np.flatnonzero(~np.asarray(finite))
    if wrong.size:
        raise ValueError(
            f"The denoiser returned NaN or infinity at sigma = {sigmas[wrong[0]]:.4g}: a plan is "
            "fitted to a denoiser that is finite from sigma_max to sigma_min; choose these within "
            "the levels that it was trained on."
        )
    return part


class FitReport(NamedTuple):
    """The errors of a fit on the noises that it was fitted to, and on the noises held out.

    The error of a sample is the root mean square of its components' errors.

    Attributes:
        train_error: the root mean square of the errors of the noises that were fitted to.
        validation_error: the same of the noises held out, which chose among the iterates.
        validation_median: the median of their errors.
        start_error: the `validation_error` of the best start.
        start: the name of that start.
        num_train: how many noises were fitted to.
        num_validation: how many were held out.
    """

    train_error: float
    validation_error: float
    validation_median: float
    start_error: float
    start: str
    num_train: int
    num_validation: int

    def __str__(self) -> str:
        return (
            f"{self.num_train} noises, RMS error {self.train_error:.3g}; {self.num_validation} "
            f"more that chose, {self.validation_error:.3g} (median {self.validation_median:.3g}; "
            f"{self.start_error:.3g} at the start, {self.start})"
        )


def report_of(train: Errors, validation: Errors, start: Errors, name: str) -> FitReport:
    """The report of a fit, from the errors of samples, and the errors of the start `name`."""
    train_error, validation_error, start_error = (
        float(np.sqrt(np.mean(np.asarray(errors, np.float64) ** 2)))
        for errors in (train, validation, start)
    )
    median = float(np.median(np.asarray(validation)))
    counts = len(train), len(validation)
    return FitReport(train_error, validation_error, median, start_error, name, *counts)
