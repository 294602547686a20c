"""The three ways along the flow, behind one call: a plan, an adaptive solver, `reversible`."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from edmjax import scalar
from edmjax._common.arguments import positive_number, whole
from edmjax._common.functions import checked_inputs, is_data
from edmjax.likelihood import reversing
from edmjax.likelihood._flat import Flat
from edmjax.likelihood._flow import Augmented, field
from edmjax.likelihood._traces import Probes
from edmjax.planning.table import check_plan
from edmjax.running.one_plan import sample


class End(NamedTuple):
    """Where the flow leads: rows (batch, d), and what is known of the way there."""

    x: Any
    companion: Any  # of `reversible`, else None
    ell: Any  # (batch, width): minus the change of the log-density of u
    nfe: Any
    arrived: Any  # (batch,) bool


@dataclasses.dataclass(frozen=True)
class Way:
    """How to follow the flow, checked, between two levels. Made by `way`."""

    start: Any
    stop: Any
    plan: Any
    solver: Any
    tolerances: Any
    max_steps: int


def way(
    *,
    sigma_min: Any,
    sigma_max: Any,
    upward: bool,
    plan: Any,
    solver: Any,
    rtol: Any,
    atol: Any,
    max_steps: Any,
    dtype: Any,
) -> Way:
    """The arguments that choose a way, checked."""
    if plan is not None:
        if solver is not None:
            raise ValueError("Pass `plan` for a fixed grid, or `solver`, not both.")
        low, high = _plan_levels(plan, upward)
        _same("sigma_min", sigma_min, low)
        _same("sigma_max", sigma_max, high)
        return Way(*((low, high) if upward else (high, low)), plan, None, None, 0)
    if sigma_min is None or sigma_max is None:
        raise ValueError("Without a `plan` both `sigma_min` and `sigma_max` are needed.")
    low, high = scalar.host(sigma_min, "sigma_min"), scalar.host(sigma_max, "sigma_max")
    if not scalar.is_traced(low, high) and not 0 < low < high < np.inf:
        raise ValueError(
            "`sigma_min` and `sigma_max` must be levels with 0 < sigma_min < sigma_max, got "
            f"{sigma_min} and {sigma_max}."
        )
    ends = (low, high) if upward else (high, low)
    if isinstance(solver, reversing.Reversible):
        return Way(*ends, None, solver, None, 0)
    adaptive = _diffrax()
    solver = adaptive.DEFAULT if solver is None else solver
    adaptive.explicit_solver(solver)
    max_steps = whole(max_steps, "max_steps")
    # What the rounding of a state of size 1 leaves room for.
    default = 1e-8 if jnp.finfo(dtype).bits > 32 else 1e-5
    tolerances = [
        scalar.not_negative(default if value is None else value, name)
        for name, value in (("rtol", rtol), ("atol", atol))
    ]
    if not scalar.is_traced(*tolerances) and not 0 < max(tolerances) < np.inf:
        raise ValueError(
            "`rtol` and `atol` must be finite, and one of them above 0, or no step is accepted, "
            f"got {rtol} and {atol}."
        )
    return Way(*ends, None, solver, tuple(tolerances), max_steps)


def follow(
    denoise: Any,
    rows: Any,
    way: Way,
    flat: Flat,
    *,
    sigma_data: Any,
    cond: Any,
    probes: Probes,
    companion: Any = None,
) -> End:
    """Takes `rows` from `way.start` to `way.stop`. What it is given has been checked."""
    ell = jnp.zeros((rows.shape[0], probes.width), flat.dtype)
    if way.plan is not None:
        way.plan.check_range(denoise)  # here, as what wraps a denoiser hides what it declares
        state = {"x": rows, "ell": ell}
        augmented = Augmented(denoise, sigma_data, flat)
        end = sample(augmented, way.plan, state, cond={"probes": probes, "cond": cond})
        arrived = jnp.ones(rows.shape[0], bool)
        radius = jnp.hypot(*(jnp.asarray(v, flat.dtype) for v in (way.stop, sigma_data)))
        return End(end["x"], None, end["ell"] / radius, way.plan.nfe, arrived)
    levels = jnp.stack([jnp.asarray(v, flat.dtype) for v in (way.start, way.stop)])
    tolerances = None if way.tolerances is None else jnp.asarray(way.tolerances, flat.dtype)
    arrays = (rows, companion, ell, levels, tolerances, sigma_data, probes, cond)
    options = {"flat": flat, "solver": way.solver, "max_steps": way.max_steps}
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((denoise, *arrays))):
        return _run(denoise, *arrays, **options)
    if is_data(denoise):
        end = _run_compiled(denoise, *arrays, **options)
    else:
        # A function hides what it closes over, which may have changed since the last call.
        end = jax.jit(lambda *arrays: _run(denoise, *arrays, **options))(*arrays)
    _must_arrive(np.asarray(end.arrived), end.nfe, way)
    return end


def _run(
    denoise, rows, companion, ell, levels, tolerances, sigma_data, probes, cond, *, flat, **how
):
    solver, max_steps = how["solver"], how["max_steps"]
    data = jnp.asarray(sigma_data, flat.dtype)
    ends, radius = jnp.arctan(levels / data), jnp.hypot(levels, data)
    slope, context, u = field(denoise, flat, data), (probes, cond), rows / radius[0]
    if isinstance(solver, reversing.Reversible):
        start = (u, ell)
        other = start if companion is None else (companion / radius[0], ell)
        (u, ell), (u_hat, _) = reversing.run(slope, (start, other), ends, context, solver.num_steps)
        arrived = jnp.ones(rows.shape[0], bool)
        return End(u * radius[1], u_hat * radius[1], ell, solver.num_steps + 1, arrived)
    (u, ell), nfe, arrived = _diffrax().run(
        slope, (u, ell), ends, context, tolerances, solver, max_steps
    )
    there = arrived[:, None]
    return End(
        jnp.where(there, u * radius[1], jnp.nan), None, jnp.where(there, ell, jnp.nan), nfe, arrived
    )


_run_compiled = jax.jit(_run, static_argnames=("flat", "solver", "max_steps"))


def data_width(denoise: Any, sigma_data: Any) -> Any:
    """`sigma_data`, else the denoiser's own, else 0.5."""
    own = getattr(denoise, "sigma_data", None) if sigma_data is None else sigma_data
    return positive_number("sigma_data", 0.5 if own is None else own)


def checked(denoise: Any, x: Any, name: str, cond: Any) -> tuple[Any, Flat]:
    """`x` with its leaves as arrays, and how to flatten it."""
    x = checked_inputs(denoise, x, cond, name=name)
    flat = Flat(x)
    if flat.dim == 0:
        raise ValueError(
            f"A sample of `{name}` holds no numbers: its leaves have the shapes "
            f"{[leaf.shape for leaf in jax.tree.leaves(x)]}."
        )
    return x, flat


def _plan_levels(plan: Any, upward: bool) -> tuple[Any, Any]:
    check_plan(plan)
    if plan.z.shape[-1]:
        raise ValueError(
            "This plan draws noise, and the flow is deterministic: make it from a sampler without "
            "noise, such as `heun`."
        )
    if plan.scale is not None or plan.r is not None:
        raise ValueError(
            "This plan holds its points in the scale of a process, or uses raw outputs: make it "
            "from the plain levels, `levels.sigmas`, and a sampler of the flow, such as `heun`."
        )
    first, last = plan.grid[0], plan.grid[-1]
    if not isinstance(plan.grid, Tracer) and (first < last) != upward:
        want = "up, as in `make_plan(sampler, schedules.reverse(sigmas))`" if upward else "down"
        raise ValueError(f"The levels of this `plan` must go {want}, got {first} to {last}.")
    return (first, last) if upward else (last, first)


def _same(name: str, given: Any, found: Any) -> None:
    if given is None or scalar.is_traced(scalar.host(given, name)) or isinstance(found, Tracer):
        return
    # A plan that went through jit without x64 has float32 levels.
    if not np.isclose(float(given), float(found), rtol=1e-6, atol=0):
        raise ValueError(f"`{name}` is {given}, but the grid of `plan` has {float(found)} there.")


def _diffrax() -> Any:
    try:
        from edmjax.likelihood import _adaptive
    except ModuleNotFoundError as err:
        if (err.name or "").startswith("edmjax"):
            raise
        raise ImportError(
            f"An adaptive solver needs {err.name!r}, which is not installed: "
            "pip install 'edmjax[diffrax]', or pass a `plan` or `solver=reversible()`."
        ) from err
    return _adaptive


def _must_arrive(arrived: np.ndarray, nfe: Any, way: Way) -> None:
    if arrived.all():
        return
    lost = np.flatnonzero(~arrived)
    more = f" and {len(lost) - 10} more" if len(lost) > 10 else ""
    raise RuntimeError(
        f"Samples {', '.join(map(str, lost[:10]))}{more} did not reach sigma = {way.stop} within "
        f"max_steps = {way.max_steps} steps ({int(np.max(nfe))} evaluations): loosen `rtol` and "
        "`atol`, which may be below the rounding of the data's dtype, or raise `max_steps`; and "
        "see that the denoiser returns no NaN."
    )
