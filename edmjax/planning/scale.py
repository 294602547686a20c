"""Plans that hold their points in the scale of a process, from a level that may be infinite.

If a process ends in pure noise (zero terminal signal-to-noise), its first level is infinite in the
package's frame, and the weights of a plan are limits. To find them, the sampler is read with
several first levels up to 10^140. There, terms that fall as a power of the level are below
rounding. What remains, in multistep methods, is rational in its logarithm, and is extrapolated.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from edmjax.planning.table import Plan
from edmjax.processes.process import ProcessLike
from edmjax.scalar import Scalar, is_traced

# The level at which the denoiser is evaluated in place of infinity: its square fits float32, and no
# network can tell the two apart.
_STAND_IN = 2.0**40
_LARGE = 10.0 ** np.linspace(40, 140, 8)
_TABLES = ("y", "d", "z", "r")


def in_scale(plan: Plan, process: ProcessLike) -> Plan:
    """`plan` with its points held as `scale(sigma) x`, as the process holds them."""
    # All levels in one call: each call of a process costs some 100 us.
    module = jnp if is_traced(plan.sigmas, plan.grid) else np
    levels = module.concatenate([plan.grid[:1], plan.sigmas, plan.grid[-1:]])
    scale = process.scale(process.time(levels))
    if not is_traced(scale) and not np.all(scale):
        raise ValueError(
            f"At sigma = {levels[np.argmin(scale)]} the process has a scale of 0: give infinity "
            "itself as the first level, or a smaller number."
        )
    return _rescaled(plan, scale)


def _rescaled(plan: Plan, scale: Any) -> Plan:
    """`plan` with its points rescaled: the starting point by `scale[0]`, then each row's point."""
    start, scale = scale[:1], scale[1:]
    # The point in column j of row k is point k - 1 - j, or the starting point.
    age = np.arange(plan.nfe + 1)[:, None] - 1 - np.arange(plan.y.shape[1])
    module = jnp if is_traced(scale) else np
    before = module.where(age >= 0, scale[np.maximum(age, 0)], start)
    there = [name for name in _TABLES if getattr(plan, name) is not None]
    new = {name: getattr(plan, name) * scale[:, None] for name in there}
    return dataclasses.replace(plan, **new | {"y": new["y"] / before}, scale=scale)


def from_infinity(
    read: Callable[[tuple[Scalar, ...]], Plan], levels: tuple[Scalar, ...], process: ProcessLike
) -> Plan:
    """The plan from an infinite first level, in the scale of the process.

    Args:
        read: the plan of a grid in the package's frame.
        levels: the grid, `levels[0]` infinite.
        process: its noise must have a finite standard deviation at its end, in its own scale.

    Raises:
        ValueError: if a level is traced, or the weights have no limit.
    """
    if is_traced(*levels):
        raise ValueError(
            "From an infinite first level the weights are limits, formed on the host: the levels "
            "must be numbers, not traced."
        )
    try:
        with np.errstate(all="ignore"):  # numbers that are not finite are found below
            first, *rest = (
                _at(read, (value, *levels[1:]), process)
                for value in (1e5 * (1 + levels[1]), *_LARGE.tolist())
            )
    except ArithmeticError:
        raise _no_limit() from None
    # The tables from all large levels have one shape, because the same weights are 0 in each.
    last = rest[-1]
    limits = {}
    for name in (*_TABLES, "v"):
        tables = [getattr(plan, name) for plan in rest]
        if tables[0] is None:
            continue
        with np.errstate(all="ignore"):
            limits[name] = _limit(np.stack(tables))
        # At large levels a sum such as 1 + (sigma_next - sigma) / sigma loses its small part, and
        # seems to have a limit. The weights from a moderate first level show that it is wrong.
        far = np.abs(limits[name] - getattr(first, name)) > 0.5 * (1 + np.abs(limits[name]))
        if not np.isfinite(limits[name]).all() or far.any():
            raise _no_limit()
    # No other level may depend on the first one, as a level in the middle of the first step does.
    moved = any(not np.array_equal(plan.sigmas[1:], last.sigmas[1:]) for plan in rest)
    if moved or last.sigmas[0] != _LARGE[-1]:
        raise _no_limit()
    intervals = np.where(last.intervals == _LARGE[-1], math.inf, last.intervals)
    sigmas, scale = np.array(last.sigmas), np.array(last.scale)
    sigmas[0], scale[0] = _STAND_IN, _deviation(process) / _STAND_IN
    grid = np.array(levels)
    return dataclasses.replace(
        last, grid=grid, sigmas=sigmas, scale=scale, intervals=intervals, **limits
    )


def _deviation(process: ProcessLike) -> float:
    """The standard deviation of the noise at the end of the process, in its own scale."""
    return float(process.marginal(process.t_max)[1])


def _at(read: Callable[..., Plan], levels: tuple[Scalar, ...], process: ProcessLike) -> Plan:
    """The plan from a large, finite first level, with the limit of the scale at that level."""
    plan = read(levels)
    large = _deviation(process) / levels[0]

    def scale(sigmas):
        # At 10^140 the time of a process has no digits left, so the scale is set to its limit.
        at_first = sigmas == levels[0]
        return np.where(at_first, large, process.scale(process.time(np.where(at_first, 1, sigmas))))

    return _rescaled(plan, scale(np.concatenate([plan.grid[:1], plan.sigmas, plan.grid[-1:]])))


def _limit(values: np.ndarray) -> np.ndarray:
    """The limits of `values`, one table for each of `_LARGE`, as functions of 1 / log(level)."""
    nodes = 1 / np.log(_LARGE)

    def extrapolated(nodes, values):
        others = nodes[None, :] / (nodes[None, :] - nodes[:, None] + np.eye(len(nodes)))
        np.fill_diagonal(others, 1.0)
        return np.tensordot(others.prod(axis=1), values, axes=1)

    # Two orders of extrapolation agree where there is a limit, and drift apart where there is none.
    limit, coarser = extrapolated(nodes, values), extrapolated(nodes[1:], values[1:])
    size = np.maximum(1.0, np.abs(values[-1]))
    if not (np.abs(limit - coarser) <= 1e-8 * size).all():
        raise _no_limit()
    # Weights that do not depend on the level are kept, without the rounding of extrapolation.
    constant = np.ptp(values, axis=0) <= 1e-13 * size
    return np.where(constant, values[-1], limit)


def _no_limit() -> ValueError:
    return ValueError(
        "From an infinite first level (zero terminal signal-to-noise) the weights of this sampler "
        "have no limit: use one of `euler`, `ddim`, `ddpm`, `dpmpp_2m` and the like, or start at a "
        "finite level. In a flow `ej.samplers.in_flow_time(sampler)` starts at t = 1, for any "
        "sampler without noise, and `flow_ancestral` in the place of `ancestral`."
    )
