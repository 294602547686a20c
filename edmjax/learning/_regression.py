"""The weights of a plan by least squares, row by row, on the points that the plan itself reaches.

A row makes the next point of the last one and of the outputs in its window,

    x_next = r x + (1 - r) D_0 + sum_j c_j (D_j - D_0),    r = sigma_next / sigma

with `D_0` the newest output. Whatever the `c_j`, the weights of a point and of the outputs sum to
1, so data moved by a constant move the samples by it, and the noise that is left is sigma_next to
the last digit. The `c_j` are those that bring `x_next` nearest to the flow, summed over noises and
components: a linear problem of a few unknowns. Since the rows before are run with what they have,
a row also mends what they did wrong.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from edmjax.learning._task import Part, Task, interpolate
from edmjax.planning.table import Plan

_einsum = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)


class Rows(NamedTuple):
    """Rows fitted to noises, and how they may be changed."""

    c: Any  # (nfe, window - 1), the weights of the older outputs, newest first
    # (nfe, window - 1, window - 1): a change by `directions[k] @ z` moves the point of row k by as
    # many of its errors as z is long, in the root mean square.
    directions: Any


class Way(NamedTuple):
    """Where rows lead."""

    x: Any  # (batch, size), the end
    outputs: Any  # (nfe, batch, size), what the denoiser returned
    fitted: Any  # what the rows were fitted with, each of leading axis nfe


def fit_rows(task: Task, denoise: Any, sigmas: Any, part: Part, window: int) -> tuple[Rows, Way]:
    """The best rows on these noises for the grid `sigmas`, which ends at sigma_min."""
    # Outputs that are nearly alike leave a direction open, where large weights would gain nothing.
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

    way = _run(task, denoise, sigmas, part, window, targets, fit)
    return Rows(*way.fitted), way


def run_rows(task: Task, denoise: Any, sigmas: Any, part: Part, c: Any) -> Way:
    """Where rows of weights `c` lead these noises."""
    return _run(task, denoise, sigmas, part, c.shape[1] + 1, c, lambda *row: (row[-1], ()))


def _run(task, denoise, sigmas, part, window, given, fit) -> Way:
    here, after = sigmas[:-1], sigmas[1:]
    after = after.at[-1].set(0) if task.final_zero else after
    # Row k has k older outputs to look back at.
    older = np.arange(window - 1) < np.arange(task.nfe)[:, None]

    @jax.checkpoint
    def row(carry, slices):
        x, past = carry
        sigma, sigma_next, there, given = slices
        denoised = task.flat.denoise(denoise, x, sigma, part.cond)
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
    return Way(x, outputs, fitted)


def plan_of(sigmas: np.ndarray, c: np.ndarray) -> Plan:
    """The plan of a grid and the weights `c`: rows formed in float64, which are exactly consistent.

    `sigmas` has the level where the plan ends last, 0 or above.
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
