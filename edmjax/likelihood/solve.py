"""The three solvers of the flow behind one call: a plan, an adaptive solver, `reversible`.

The flow is in the angle `theta = arctan(sigma / sigma_data)`, with the log-density beside it.

In `u = x / sqrt(sigma^2 + sigma_data^2)` the network's own output is integrated,

    du/dtheta   = (cos(theta) u - D / sigma_data) / sin(theta) = -F
    dell/dtheta = tr(dF/du) = (tr J - d cos(theta)^2) / (sin(theta) cos(theta))

and `log p(x_min) = log p(x_max) + d log(r_max / r_min) - ell` with `r = sqrt(sigma^2 +
sigma_data^2)`. Both right sides are 0 for a Gaussian of standard deviation `sigma_data`. In sigma
the second is `dell/dsigma = (tr J - d c_skip) / sigma`, with `c_skip = cos(theta)^2`.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import DTypeLike

from edmjax import scalar
from edmjax._common.arguments import positive_leaf, whole
from edmjax._common.arrays import has_tracers
from edmjax._common.extras import missing
from edmjax._common.functions import checked_inputs, compiled, width_of
from edmjax._common.held import denoised_rows
from edmjax._common.manual import vary_like
from edmjax._common.trees import Flat
from edmjax._common.typing import Denoiser, Int, PyTree, Scalar
from edmjax.adaptive.report import Report, nan_unless, warn_of_unfinished
from edmjax.adaptive.task import tolerances
from edmjax.likelihood import reversing
from edmjax.likelihood.traces import Probes, value_and_traces
from edmjax.planning.table import check_levels, check_plan
from edmjax.processes.process import root
from edmjax.running.one_plan import sample

if TYPE_CHECKING:
    import diffrax

    Solver: TypeAlias = diffrax.AbstractSolver[Any] | reversing.Reversible
else:
    Solver = Any  # diffrax may not be installed


class End(NamedTuple):
    """Where the flow leads: rows (batch, d), and what is known of the solve."""

    x: PyTree
    companion: Any  # of `reversible`, else None
    ell: Any  # (batch, width): minus the change of the log-density of u
    nfe: Any
    report: Report | None  # of an adaptive solver


@dataclasses.dataclass(frozen=True)
class Route:
    """How to follow the flow between two levels. Made by `route`, which checks it."""

    start: PyTree
    stop: Any
    plan: Any
    solver: Any
    tolerances: Any
    max_steps: int


def route(
    *,
    sigma_min: Scalar | None,
    sigma_max: Scalar | None,
    upward: bool,
    plan: Any,
    solver: Any,
    rtol: Scalar | None,
    atol: Scalar | None,
    max_steps: Int,
    dtype: DTypeLike,
) -> Route:
    """The arguments that say how to solve, checked."""
    if plan is not None:
        if solver is not None:
            raise ValueError("Pass `plan` for a fixed grid, or `solver`, not both.")
        low, high = _plan_levels(plan, upward)
        _same("sigma_min", sigma_min, low)
        _same("sigma_max", sigma_max, high)
        return Route(*((low, high) if upward else (high, low)), plan, None, None, 0)
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
        return Route(*ends, None, solver, None, 0)
    solver = _diffrax().solver_with_error(solver)
    # What the rounding of a state of size 1 leaves room for.
    default = 1e-8 if jnp.finfo(dtype).bits > 32 else 1e-5
    chosen = tolerances(*(default if value is None else value for value in (rtol, atol)))
    return Route(*ends, None, solver, chosen, whole(max_steps, "max_steps"))


def follow(
    denoise: Denoiser,
    rows: PyTree,
    route: Route,
    flat: Flat,
    *,
    sigma_data: Any,
    cond: PyTree,
    probes: Probes,
    companion: Any = None,
    stacklevel: int = 3,
) -> End:
    """Takes `rows` from `route.start` to `route.stop`. The arguments have been checked.

    A `stacklevel` of 3 has warnings point at the caller of the function that calls this one.
    """
    ell = vary_like(jnp.zeros((rows.shape[0], probes.width), flat.dtype), rows)
    if route.plan is not None:
        route.plan.check_range(denoise)  # here, as what wraps a denoiser hides what it declares
        state = {"x": rows, "ell": ell}
        augmented = Augmented(denoise, sigma_data, flat)
        end = sample(augmented, route.plan, state, cond={"probes": probes, "cond": cond})
        radius = jnp.hypot(*(jnp.asarray(v, flat.dtype) for v in (route.stop, sigma_data)))
        return End(end["x"], None, end["ell"] / radius, route.plan.nfe, None)
    if not has_tracers((route.start, route.stop)):  # traced levels have no order
        check_levels(denoise, *sorted((route.start, route.stop)))
    levels = jnp.stack([jnp.asarray(v, flat.dtype) for v in (route.start, route.stop)])
    allowed = None if route.tolerances is None else jnp.asarray(route.tolerances, flat.dtype)
    arrays = (rows, companion, ell, levels, allowed, sigma_data, probes, cond)
    options = {"flat": flat, "solver": route.solver, "max_steps": route.max_steps}
    end = compiled(_run, (denoise,), arrays, **options)
    if end.report is not None:
        warn_of_unfinished(end.report, stacklevel=stacklevel)
    return end


def _run(
    denoise, rows, companion, ell, levels, allowed, sigma_data, probes, cond, *, flat, **how
) -> End:
    solver, max_steps = how["solver"], how["max_steps"]
    data = jnp.asarray(sigma_data, flat.dtype)
    ends, radius = jnp.arctan(levels / data), jnp.hypot(levels, data)
    slope, context, u = field(denoise, flat, data), (probes, cond), rows / radius[0]
    if isinstance(solver, reversing.Reversible):
        start = (u, ell)
        other = start if companion is None else (companion / radius[0], ell)
        (u, ell), (u_hat, _) = reversing.run(slope, (start, other), ends, context, solver.num_steps)
        return End(u * radius[1], u_hat * radius[1], ell, solver.num_steps + 1, None)
    # Each sample has its own steps, so that it does not depend on the samples beside it.
    end = _diffrax().solve(
        slope,
        (u, ell),
        ends,
        context,
        allowed,
        solver=solver,
        per_sample=True,
        max_steps=max_steps,
        norm=_larger,
    )
    u, ell = nan_unless(end.finished, end.y)
    sigma = jnp.where(end.finished, levels[1], data * jnp.tan(end.t))
    report = Report(end.nfe, end.accepted, end.rejected, sigma, end.finished)
    return End(u * radius[1], None, ell, end.nfe, report)


def _larger(error: Any) -> Any:
    """The larger of the root mean squares of the point and of the log-density.

    In one mean over both, a single log-density would not be seen among the numbers of an image.
    """
    # A plain root has an infinite slope at 0, where a Gaussian's log-density has its error. NaN
    # stays NaN: as an error of 0 it would be accepted.
    parts = [root(jnp.mean(leaf**2)) for leaf in jax.tree.leaves(error) if leaf.size]
    return jnp.max(jnp.stack(parts))


def field(denoise: Denoiser, flat: Flat, sigma_data: Any) -> Any:
    """`(theta, (u, ell), (probes, cond)) -> (du/dtheta, dell/dtheta)` of a batch of rows."""

    def slope(theta: Any, state: tuple[Any, Any], context: tuple[Probes, Any]) -> tuple[Any, Any]:
        u, ell = state
        probes, cond = context
        sin, cos, data = jnp.sin(theta), jnp.cos(theta), jnp.asarray(sigma_data, u.dtype)
        sigma = data * sin / cos

        def denoised(x):
            return denoised_rows(denoise, flat, x, sigma, cond)

        value, traces = value_and_traces(denoised, data / cos * u, cos**2, probes)
        return (cos * u - value / data) / sin, (traces / (sin * cos)).astype(ell.dtype)

    return slope


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Augmented:
    """A denoiser of `{"x": rows, "ell": (batch, width)}`, so that `sample` runs both on any plan.

    A plan solves `dy/dsigma = (y - D(y)) / sigma` for any `D`, so the log-density is one more
    coordinate. It is held as `w = r ell`, with

        D(w) = c_skip w - r (tr J - d c_skip),

    so that a plan that steps in theta integrates `w / r = ell`. (With `ell` itself as the
    coordinate, which is stiff near sigma_max, 25 steps of Dopri5 in theta had an error of 0.15
    nats; this has 3e-7.)
    """

    denoise: Denoiser
    sigma_data: Any
    flat: Flat = dataclasses.field(metadata={"static": True})

    def __call__(self, state: PyTree, sigma: Any, context: PyTree) -> Any:
        rows, w = state["x"], state["ell"]
        sigma, data = sigma.astype(rows.dtype), jnp.asarray(self.sigma_data, rows.dtype)
        r = jnp.hypot(sigma, data)
        c_skip = (data / r) ** 2

        def denoised(x):
            return denoised_rows(self.denoise, self.flat, x, sigma, context["cond"])

        value, traces = value_and_traces(denoised, rows, c_skip, context["probes"])
        return {"x": value, "ell": c_skip * w - r * traces.astype(w.dtype)}


def data_width(denoise: Denoiser, sigma_data: Any) -> Any:
    """`sigma_data`, else the denoiser's own, else 0.5."""
    return positive_leaf(width_of(denoise, sigma_data), "sigma_data")


def checked(denoise: Denoiser, x: PyTree, name: str, cond: PyTree) -> tuple[Any, Any, Flat]:
    """`x` with its leaves as arrays, `cond`, and how to flatten `x`."""
    x, cond = checked_inputs(denoise, x, cond, name=name)
    flat = Flat(x)
    if flat.dim == 0:
        raise ValueError(
            f"A sample of `{name}` holds no numbers: its leaves have the shapes "
            f"{[leaf.shape for leaf in jax.tree.leaves(x)]}."
        )
    return x, cond, flat


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
    # When it is first used: fixed grids and `reversible` do not need diffrax.
    try:
        import diffrax as diffrax
    except ModuleNotFoundError as err:
        instead = ", or pass a `plan` or `solver=reversible()`."
        raise missing(err, "An adaptive solver", "diffrax", instead) from err
    from edmjax.terms import solve

    return solve
