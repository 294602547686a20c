"""Plans that hold their points in the scale of a process, from a level that may be infinite.

If a process ends in pure noise (zero terminal signal-to-noise), its first level is infinite in the
package's frame, and the weights of a plan are limits. To find them, the sampler is read with
several first levels, and its weights are extrapolated. Those of methods that step in log sigma are
rational in the logarithm of the first level, but for terms that fall as a power of it: they are
read at levels up to 10^140, where those terms are below rounding. Those of methods that step in
sigma or in an angle are series in powers of 1 / level: they are read at moderate levels, where no
sum loses its small part.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from edmjax.planning.table import Plan
from edmjax.processes.process import ProcessLike
from edmjax.scalar import Scalar, is_traced

# The level at which the denoiser is evaluated in place of infinity: its square fits float32, and no
# network can tell the two apart.
STAND_IN = 2.0**40
_LARGE = 10.0 ** np.linspace(40, 140, 8)
_MODERATE = 10.0 ** np.linspace(2, 5, 7)
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
    read = functools.cache(read)  # two of the three ways read the same levels
    for levels_like_infinity, limit in (
        (_LARGE, _in_logarithms),
        ((1 + float(levels[1])) * _MODERATE, _in_powers),
        (_LARGE, _in_ratios),
    ):
        found = _plan_of_limits(read, levels, process, levels_like_infinity, limit)
        if found is not None:
            return found
    raise ValueError(
        "From an infinite first level (zero terminal signal-to-noise) the weights of this sampler "
        "have no limit: use one of `euler`, `ddim`, `ddpm`, `dpmpp_2m` and the like, or start at a "
        "finite level. In a flow `ej.samplers.in_flow_time(sampler)` starts at t = 1, for any "
        "sampler without noise, and `flow_ancestral` in the place of `ancestral`."
    )


def _plan_of_limits(
    read: Callable[[tuple[Scalar, ...]], Plan],
    levels: tuple[Scalar, ...],
    process: ProcessLike,
    first_levels: np.ndarray,
    limit: Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray | None],
) -> Plan | None:
    """The plan whose weights are the `limit` of those from `first_levels`; None without one."""
    check = 1e5 * (1 + float(levels[1]))
    try:
        with np.errstate(all="ignore"):  # numbers that are not finite are found below
            at_check, *plans = (
                _at(read, (value, *levels[1:]), process)
                for value in (check, *first_levels.tolist())
            )
    except ArithmeticError:
        return None
    last, limits = plans[-1], {}
    for name in (*_TABLES, "v"):
        tables = [getattr(plan, name) for plan in (at_check, *plans)]
        if tables[0] is None:
            continue
        # The same weights are 0 from all first levels, unless some fall below rounding.
        if len({table.shape for table in tables}) > 1:
            return None
        with np.errstate(all="ignore"):
            found = limit(np.stack(tables[1:]), first_levels, tables[0], check)
        if found is None or not np.isfinite(found).all():
            return None
        limits[name] = found
    # No other level may depend on the first one, as a level in the middle of the first step does.
    moved = any(not np.array_equal(plan.sigmas[1:], last.sigmas[1:]) for plan in plans)
    if moved or last.sigmas[0] != first_levels[-1]:
        return None
    intervals = np.where(last.intervals == first_levels[-1], math.inf, last.intervals)
    sigmas, scale = np.array(last.sigmas), np.array(last.scale)
    sigmas[0], scale[0] = STAND_IN, _deviation(process) / STAND_IN
    grid = np.array(levels)
    return dataclasses.replace(
        last, grid=grid, sigmas=sigmas, scale=scale, intervals=intervals, **limits
    )


def nearer(plan: Plan, dtype: DTypeLike, most: float) -> Plan:
    """`plan` with a level that `dtype` resolves in place of `STAND_IN`.

    A user's denoiser may form `sigma^2` times a Jacobian, or `x - sigma eps`. At 2^40 those are
    rounding errors. At a level `s` rounding moves them by about `s eps`, and the output differs
    from its limit by about `1 / s`, so `s = eps^(-1/2)` is best: 4,096 in float32. The level also
    has to be far above the next one of the grid, and at most `most`.
    """
    sigmas, scale, after = (jnp.asarray(v) for v in (plan.sigmas, plan.scale, plan.grid[1]))
    level = jnp.maximum(2.0 ** round(-math.log2(jnp.finfo(dtype).eps) / 2), 16 * after)
    level = jnp.minimum(level, most)
    stands = sigmas == STAND_IN
    moved = jnp.where(stands, scale[:-1] * (STAND_IN / level), scale[:-1])
    return dataclasses.replace(
        plan,
        sigmas=jnp.where(stands, level, sigmas),
        scale=jnp.concatenate([moved, scale[-1:]]),
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


def _in_logarithms(
    values: np.ndarray, first_levels: np.ndarray, at_check: np.ndarray, check: float
) -> np.ndarray | None:
    """The limits of tables that are smooth in 1 / log(level)."""
    limit = _agreed(_extrapolated, 1 / np.log(first_levels), values, 1e-8)
    # At large levels a sum such as 1 + (sigma_next - sigma) / sigma loses its small part, and seems
    # to have a limit. The weights from a moderate first level show that it is wrong.
    if limit is None or (np.abs(limit - at_check) > 0.5 * (1 + np.abs(limit))).any():
        return None
    return _with_constants(values, limit)


def _in_ratios(
    values: np.ndarray, first_levels: np.ndarray, at_check: np.ndarray, check: float
) -> np.ndarray | None:
    """The limits of tables that are rational in 1 / log(level), with a pole that is not far."""
    nodes = 1 / np.log(first_levels)
    limit = _agreed(_rational, nodes, values, 1e-8)
    there = _rational(nodes, values, 1 / math.log(check))
    return limit if (np.abs(there - at_check) <= 1e-4 * (1 + np.abs(at_check))).all() else None


def _in_powers(
    values: np.ndarray, first_levels: np.ndarray, at_check: np.ndarray, check: float
) -> np.ndarray | None:
    """The limits of tables that are a series in powers of 1 / level."""
    limit = _agreed(_extrapolated, 1 / first_levels, values, 1e-9)
    if limit is None or not (np.abs(limit - at_check) <= 1e-3 * _size(values)).all():
        return None
    return _with_constants(values, limit)


def _agreed(
    extrapolate: Callable[..., np.ndarray], nodes: np.ndarray, values: np.ndarray, most: float
) -> np.ndarray | None:
    """The tables at node 0; None where two orders of extrapolation differ by more than `most`."""
    # They agree where there is a limit, and drift apart where there is none.
    limit, coarser = extrapolate(nodes, values, 0.0), extrapolate(nodes[1:], values[1:], 0.0)
    return limit if (np.abs(limit - coarser) <= most * _size(values)).all() else None


def _with_constants(values: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """`limit`, but for weights that do not depend on the level: they are free of its rounding."""
    constant = np.ptp(values, axis=0) <= 1e-13 * _size(values)
    return np.where(constant, values[-1], limit)


def _size(values: np.ndarray) -> np.ndarray:
    return np.maximum(1.0, np.abs(values[-1]))


def _extrapolated(nodes: np.ndarray, values: np.ndarray, at: float) -> np.ndarray:
    """The polynomial through `values`, one table for each of `nodes`, at another node."""
    others = (at - nodes[None, :]) / (nodes[:, None] - nodes[None, :] + np.eye(len(nodes)))
    np.fill_diagonal(others, 1.0)
    return np.tensordot(others.prod(axis=1), values, axes=1)


def _rational(nodes: np.ndarray, values: np.ndarray, at: float) -> np.ndarray:
    """The rational function through `values`, by the recursion of Bulirsch and Stoer (1966)."""
    older, old = np.zeros_like(values), values.astype(float)
    for k in range(1, len(nodes)):
        step = old[1:] - old[:-1]
        share = (at - nodes[:-k]) / (at - nodes[k:])
        share = share.reshape(-1, *[1] * (values.ndim - 1))
        below = old[1:] - older[1:-1] if k > 1 else old[1:]
        with np.errstate(all="ignore"):
            change = step / (share * (1 - step / below) - 1)
        # Where nothing changed, there is nothing to add.
        settled = np.abs(step) <= 1e-15 * np.maximum(1.0, np.abs(old[1:]))
        older, old = old, old[1:] + np.where(settled, 0.0, change)
    return old[0]
