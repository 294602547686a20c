"""A predictor-corrector whose error estimate costs nothing: one evaluation a step.

It integrates the network's own output (Karras et al. 2022, equation 7). With
`theta = arctan(sigma / sigma_data)` and `y = x / sqrt(sigma^2 + sigma_data^2)`

    dy = -F dtheta,    F = (denoised / sigma_data - cos(theta) y) / sin(theta):

for normalised data `F` and `y` are of size 1 at every level, so one tolerance is right for all.
A step from `theta_0` to `theta_1` with the last outputs `F_0, F_1, ...`, at `theta_0` and the
levels before it,

    predict  y_p = y_0 + sum_j b_j F_j        Adams-Bashforth, `order` outputs
    evaluate F_p = F(y_p, theta_1)
    correct  y_c = y_0 + b*_p F_p + sum_j b*_j F_j        Adams-Moulton, one output more

keeps `y_c` and `F_p` (PEC: the corrected point is never evaluated), and `y_c - y_p` estimates the
error. The weights are integrals over theta of the Lagrange polynomials in `log(theta + BEND)`.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from edmjax._common.arguments import real, whole
from edmjax._common.arrays import weighted
from edmjax._common.typing import Int, PyTree, Scalar
from edmjax.adaptive.task import Method, Task, select, tolerances
from edmjax.scalar import flag

# Steps are measured, and outputs interpolated, in log(theta + BEND): nearly theta at high noise,
# where F is smooth in it, and nearly log theta at low noise, where F changes on the scale of the
# level. (In log sigma the first step's error does not shrink with the tolerance, and paths between
# two modes carry it to the end.) Measured on the problems P1, P2 and P3, 0.1 to 0.5 do as well.
BEND = 0.2
FIRST = 0.02  # the first step: from sigma = 80 to 12 for sigma_data 0.5, as little happens there
SAFETY, SHORTEST, LONGEST = 0.65, 0.25, 4.0  # of what the error asks for; the bounds of a change

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


class State(NamedTuple):
    """Between steps; all but `y` and `past` of shape (batch,), the newest output first."""

    sigma: Any
    y: PyTree
    past: Any  # a tuple of trees: the last outputs F
    levels: Any  # (order, batch): the position of each, log(theta + BEND)
    count: Any  # how many of them there are
    step: Any  # what to try next, a difference of positions
    nfe: Any
    accepted: Any
    rejected: Any
    done: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Multistep(Method):
    """What `multistep` returns."""

    rtol: Any
    atol: Any
    sigma_data: Any
    order: int = dataclasses.field(metadata={"static": True})
    per_sample: bool = dataclasses.field(metadata={"static": True})

    draws = False

    def start(self, task: Task) -> State:
        batch = task.sigma_max.shape
        zero, counts = jnp.zeros_like(task.sigma_max), jnp.zeros(batch, jnp.int32)
        return State(
            sigma=task.sigma_max,
            y=weighted((1 / jnp.hypot(task.sigma_max, task.sigma_data), task.x)),
            past=(jax.tree.map(jnp.zeros_like, task.x),) * self.order,
            levels=jnp.zeros((self.order, *batch), zero.dtype),
            count=counts,
            step=zero,
            nfe=counts,
            accepted=counts,
            rejected=counts,
            done=jnp.zeros(batch, bool),
        )

    def attempt(self, task: Task, at: State) -> State:
        """One evaluation. The first is at the start itself, as a step of length 0 to it."""
        scale, active, began = task.sigma_data, ~at.done, at.count > 0
        # How many outputs are used: 0 before the first, and for samples that are done.
        known = jnp.where(active, at.count, 0)
        sigma, last = _next_level(task, at.sigma, at.step)
        last &= began
        sigma = jnp.where(active & began, sigma, at.sigma)
        before, now = _position(at.sigma, scale), _position(sigma, scale)

        def integrate(nodes, there, outputs):
            weights = _weights(nodes, there, before, now)
            return weighted((1.0, at.y), *zip(weights, outputs, strict=True))

        there = jnp.arange(self.order)[:, None] < known
        predicted = integrate(at.levels, there, at.past)
        denoised = task.denoise(weighted((jnp.hypot(sigma, scale), predicted)), sigma)
        total = jnp.hypot(sigma, scale)
        output = weighted((total / (sigma * scale), denoised), (-scale / sigma, predicted))
        corrected = integrate(
            jnp.concatenate([now[None], at.levels]),
            jnp.concatenate([jnp.ones_like(there[:1]), there]),
            (output, *at.past),
        )

        # In units of the data: y is in units of sigma_data.
        error = scale * task.norm(weighted((1.0, corrected), (-1.0, predicted)))
        allowed = self.atol + self.rtol * scale * task.norm(corrected)
        # Gradients hold the steps fixed: an error of 0, as the first has, has no slope.
        excess = lax.stop_gradient(error / allowed)
        good = excess <= 1  # not where it is NaN
        order = jnp.maximum(known, 1).astype(excess.dtype)
        factor = SAFETY * jnp.maximum(excess, 1e-10) ** (-1 / (order + 1))
        factor = jnp.where(jnp.isfinite(factor), factor, SHORTEST)
        factor = jnp.clip(factor, SHORTEST, jnp.where(good, LONGEST, 0.9))

        moved = good & active
        tried = active & began
        return State(
            sigma=jnp.where(moved, sigma, at.sigma),
            y=select(moved, corrected, at.y),
            past=tuple(
                select(moved, a, b) for a, b in zip((output, *at.past), at.past, strict=False)
            ),
            levels=jnp.where(moved, jnp.concatenate([now[None], at.levels[:-1]]), at.levels),
            count=jnp.where(moved, jnp.minimum(at.count + 1, self.order), at.count),
            step=jnp.where(began, jnp.where(active, factor * at.step, at.step), FIRST),
            nfe=at.nfe + active,
            accepted=at.accepted + (tried & good),
            rejected=at.rejected + (tried & ~good),
            done=at.done | (moved & last),
        )

    def end(self, task: Task, at: State) -> Any:
        return weighted((jnp.hypot(at.sigma, task.sigma_data), at.y))


def _position(sigma: Any, sigma_data: Any) -> Any:
    """`log(theta + BEND)`, in which steps are measured and outputs interpolated."""
    return jnp.log(jnp.arctan2(sigma, sigma_data) + BEND)


def _next_level(task: Task, sigma: Any, step: Any) -> tuple[Any, Any]:
    """The level that `step` leads to, and whether that is the end."""
    here, end = _position(sigma, task.sigma_data), _position(task.sigma_min, task.sigma_data)
    last = here - step <= end
    theta = jnp.exp(jnp.where(last, end, here - step)) - BEND
    level = jnp.clip(task.sigma_data * jnp.tan(theta), task.sigma_min, sigma)
    return jnp.where(last, task.sigma_min, level), last


def _weights(nodes: Any, there: Any, before: Any, now: Any) -> Any:
    """The integrals of the Lagrange polynomials over theta, falling: (number of nodes, batch).

    `nodes` are positions, (k, batch), and count where `there`; `before` and `now` are the ends. By
    8-point Gauss-Legendre in position, where the polynomials are of degree 4 at most, times
    `dtheta / dposition = exp(position)`.
    """
    half = (before - now) / 2
    at = (before + now) / 2 + half * jnp.asarray(_NODES, now.dtype)[:, None]
    measure = half * jnp.asarray(_WEIGHTS, now.dtype)[:, None] * jnp.exp(at)
    own = jnp.eye(len(nodes), dtype=bool)[:, :, None]
    other = there[None] & there[:, None] & ~own  # (polynomial, node, batch)
    gap = jnp.where(other, nodes[:, None] - nodes[None], 1.0)
    factors = jnp.where(other, (at[:, None, None] - nodes) / gap, 1.0)
    return jnp.where(there, jnp.sum(measure[:, None] * jnp.prod(factors, axis=2), axis=0), 0.0)


def multistep(
    order: Int = 4,
    rtol: Scalar = 2e-3,
    atol: Scalar = 2e-3,
    *,
    sigma_data: Scalar | None = None,
    per_sample: bool = True,
) -> Method:
    """A multistep predictor-corrector with error control, for `sample`.

    One evaluation a step; the order rises from 1 as outputs come in. The error of a step, the RMS
    over a sample's entries of `sigma_data (y_corrected - y_predicted)`, is kept below
    `atol + rtol sigma_data rms(y)`, in units of the data.

    Args:
        order: how many past outputs the predictor uses, 1 to 4; the corrector uses one more.
        rtol, atol: the tolerances of a step, numbers or traced scalars; not both 0.
        sigma_data: the standard deviation of the data; by default the denoiser's own attribute
            `sigma_data`, else 0.5.
        per_sample: whether each sample has its own steps. False: one error for the whole batch, so
            that all samples take the same steps and a sample depends on the samples beside it.

    Raises:
        TypeError: an order that is not an integer, a `per_sample` that is not True or False.
        ValueError: an order that is not 1, 2, 3 or 4, a tolerance below 0 or both 0, a `sigma_data`
            that is not positive.

    The predictor-corrector is the method of Adams, Bashforth and Moulton with variable steps
    (Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I, section III.5). The idea
    to integrate polynomials against the exact measure is from DEIS (Zhang and Chen 2023).
    """
    rtol, atol = tolerances(rtol, atol)
    return Multistep(
        rtol,
        atol,
        None if sigma_data is None else real(sigma_data, "sigma_data", above=0),
        whole(order, "order", most=4),
        flag(per_sample, "per_sample"),
    )
