"""The weights of a plan by least squares, row by row, on the points that the plan itself reaches.

A row makes the next point of the last one and of the outputs in its window,

    x_next = r x + (1 - r) D_0 + sum_j c_j (D_j - D_0),    r = sigma_next / sigma

with `D_0` the newest output. Whatever the `c_j`, the weights of the point and of the outputs sum to
1, so data moved by a constant move the samples by it, and the noise that is left is sigma_next to
the last digit. The `c_j` bring `x_next` as near to the flow as they can, in the sum of squares over
noises and components: a linear problem of a few unknowns. Each row starts from the points that the
fitted rows before it reach, so it also corrects their errors.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from edmjax._common.held import denoised_rows
from edmjax._common.typing import Denoiser
from edmjax.learning.task import Part, Task, interpolate
from edmjax.planning.table import Plan

_einsum = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)


class RowWeights(NamedTuple):
    """The weights of all rows, fitted to noises, and how they may be changed."""

    c: jax.Array  # (nfe, window - 1), the weights of the older outputs, newest first
    # (nfe, window - 1, window - 1): a change of `c` by `directions[k] @ z` moves the point of row k
    # by |z| times the error of that row, in the root mean square.
    directions: jax.Array


class Ends(NamedTuple):
    """Where the rows lead from some noises."""

    x: jax.Array  # (batch, size), the samples
    outputs: jax.Array  # (nfe, batch, size), the outputs of the denoiser on the way
    fitted: tuple[jax.Array, ...]  # what `fit` returned for each row, stacked on axis 0


def fit_rows(
    task: Task, denoise: Denoiser, sigmas: jax.Array, part: Part, window: int
) -> RowWeights:
    """The best rows on these noises for the grid `sigmas`, which ends at sigma_min."""
    # Where outputs are nearly alike, large weights of opposite sign would gain nothing; the ridge
    # keeps them small.
    ridge = max(1e-9, 20 * float(jnp.finfo(task.flat.dtype).eps))
    inner = interpolate(part.points, sigmas[1:-1], task.low, task.high)
    targets = jnp.concatenate([inner, part.end[None]])

    def fit(differences, euler, there, target):
        gram = _einsum("inc,jnc->ij", differences, differences) / target.size
        right = _einsum("inc,nc->i", differences, target - euler) / target.size
        size = jnp.diag(gram)
        used = there & (size > 0)
        unit = jnp.where(used, 1 / jnp.sqrt(jnp.where(used, size, 1)), 0)
        gram = gram * unit[:, None] * unit + jnp.diag(jnp.where(used, ridge, 1))
        values, vectors = jnp.linalg.eigh(gram)
        whole = unit[:, None] * vectors / jnp.sqrt(jnp.maximum(values, ridge / 2))
        c = whole @ (whole.T @ right)
        left = euler + _einsum("j,jnc->nc", c, differences) - target
        return c, whole * jnp.sqrt(jnp.mean(left**2))

    return RowWeights(*_run(task, denoise, sigmas, part, window, targets, fit).fitted)


def run_rows(task: Task, denoise: Denoiser, sigmas: jax.Array, part: Part, c: jax.Array) -> Ends:
    """Where rows of weights `c` lead from these noises."""
    return _run(task, denoise, sigmas, part, c.shape[1] + 1, c, lambda *row: (row[-1], ()))


def _run(
    task: Task,
    denoise: Denoiser,
    sigmas: jax.Array,
    part: Part,
    window: int,
    given: jax.Array,
    fit: Callable[..., tuple[Any, Any]],
) -> Ends:
    """Runs the rows, each with the weights that `fit` makes of its window and of `given[k]`."""
    here, after = sigmas[:-1], sigmas[1:]
    after = after.at[-1].set(0) if task.final_zero else after
    # Row k has k older outputs; the rest of its window is empty.
    older = np.arange(window - 1) < np.arange(task.nfe)[:, None]

    @jax.checkpoint
    def row(carry, slices):
        x, past = carry
        sigma, sigma_next, there, given = slices
        denoised = denoised_rows(denoise, task.flat, x, sigma, part.cond)
        ratio = (sigma_next / sigma).astype(x.dtype)
        euler = ratio * x + (1 - ratio) * denoised
        differences = jnp.where(there[:, None, None], past - denoised, 0)
        c, more = fit(differences, euler, there, given)
        x = euler + _einsum("j,jnc->nc", c, differences)
        past = jnp.concatenate([denoised[None], past])[: window - 1]
        return (x, past), (denoised, (c, more))

    start = part.points[0]
    past = jnp.zeros((window - 1, *start.shape), start.dtype)
    (x, _), (outputs, fitted) = lax.scan(row, (start, past), (here, after, older, given))
    return Ends(x, outputs, fitted)


def plan_of(sigmas: np.ndarray, c: np.ndarray) -> Plan:
    """The plan of a grid and the weights `c`, with rows that sum to 1 exactly, in float64.

    The last of `sigmas` is the level where the plan ends, 0 or above.
    """
    nfe, width = c.shape[0], min(c.shape[1] + 1, c.shape[0])
    ratios = sigmas[1:] / sigmas[:-1]
    c = np.where(np.arange(c.shape[1]) < np.arange(nfe)[:, None], c, 0.0)[:, : width - 1]
    d = np.zeros((nfe + 1, width))
    d[1:, 1:] = c
    d[1:, 0] = (1 - ratios) - c.sum(axis=1)
    return Plan(
        sigmas=sigmas[:-1],
        grid=sigmas,
        step=np.arange(nfe, dtype=np.int32),
        y=np.append(1.0, ratios)[:, None],
        d=d,
        z=np.zeros((nfe + 1, 0)),
        draws=np.zeros((nfe + 1, 0), np.int32),
        intervals=np.zeros((nfe + 1, 0, 2)),
    )
