"""Adaptive solvers of diffrax as a sampler, with the true number of evaluations."""

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from edmjax._common.arguments import whole
from edmjax._common.arrays import register_fields, working_dtype
from edmjax._common.functions import as_pytree, checked_inputs, is_data
from edmjax._common.typing import X
from edmjax.scalar import flag, host, is_traced, not_negative
from edmjax.terms.ode import is_edm, ode_term
from edmjax.terms.tableaus import explicit_solver

FIRST = 20  # the interval over the first step that is tried


def adaptive_sample(
    denoise: Any,
    x: X,
    *,
    sigma_max: Any,
    sigma_min: Any,
    solver: Any = None,
    rtol: Any = 1e-3,
    atol: Any = 1e-3,
    form: Any = "theta",
    process: Any = None,
    sigma_data: Any = None,
    cond: Any = None,
    per_sample: bool = False,
    max_steps: int = 4096,
) -> tuple[X, jax.Array]:
    """Returns `(x0, nfe)`: the flow from `sigma_max` to `sigma_min` with steps chosen by the error.

    `nfe` is how often the denoiser was evaluated, rejected steps included: an int32 scalar, or with
    `per_sample` one number a sample. The first step tried is a twentieth of the interval.

    By default the batch is one state: one step size, one error norm, the root mean square over all
    of its numbers. So a sample depends on the samples beside it. With `per_sample` each has its own
    steps, and the loop runs until the last of them has arrived: the batch takes as long as the
    maximum of `nfe`, and each evaluation is of the whole batch.

    Under `jit` it is part of the caller's program. Called bare it runs one compiled function, which
    serves all parameters of a denoiser that is a pytree, all levels and all tolerances.

    Args:
        denoise: `denoise(x, sigma)`, or `denoise(x, sigma, cond)` where `cond` is given.
        x: the point at `sigma_max` in the package's frame, any pytree of floating arrays whose axis
            0 counts samples.
        sigma_max: where to start.
        sigma_min: where to end, above 0.
        solver: an explicit Runge-Kutta solver with an error estimate: `diffrax.Heun()`, `Bosh3()`,
            `Tsit5()` (default), `Dopri5()`, `Dopri8()` and others.
        rtol, atol: an estimate `e` of the error of a step is accepted where the norm of
            `e / (atol + rtol |y|)` is at most 1, in units of the form's `y`: in "theta" 1 is the
            size of the data, in "sigma" and "log_sigma" it is 1 in the units of the data.
        form: "theta", "log_sigma", "sigma" or "t", or a `Form`; see `ode_term`.
        process: whose own time form "t" runs in.
        sigma_data: as in `ode_term`.
        cond: passed on to the denoiser: any pytree whose leaves have the samples on axis 0.
        per_sample: whether each sample has steps of its own.
        max_steps: the number of steps, accepted or not, after which a sample is given up.

    Raises:
        TypeError: if an argument is of the wrong kind: an implicit solver, a class for an instance.
        ValueError: if the form is unknown, the solver has no error estimate, a tolerance is
            negative or infinite or both are 0, the levels do not fall or are not positive, or
            shapes disagree.
        RuntimeError: if `max_steps` was reached, with the samples that did not arrive. Under `jit`
            nothing can be raised: those samples are NaN.
    """
    solver = diffrax.Tsit5() if solver is None else solver
    euler = isinstance(solver, diffrax.Euler)
    if not euler:
        explicit_solver(solver)
    if euler or not np.any(solver.tableau.b_error):
        raise ValueError(
            f"{type(solver).__name__} has no error estimate to choose steps by: use "
            "`diffrax.Heun()` or `diffrax.Tsit5()`, or fixed steps with `ej.terms.from_diffrax`."
        )
    x = checked_inputs(denoise, x, cond)
    rtol, atol = _tolerances(rtol, atol)
    sigma_max, sigma_min = host(sigma_max, "sigma_max"), host(sigma_min, "sigma_min")
    max_steps, per_sample = whole(max_steps, "max_steps"), flag(per_sample, "per_sample")
    shown = _shown_in(denoise, x)
    if sigma_data is None and not is_edm(denoise):
        sigma_data = getattr(denoise, "sigma_data", None)
    term = ode_term(shown, process, form, sigma_data)
    made = term.vector_field.form
    times = made.times([sigma_max, sigma_min], x)
    if not isinstance(times, Tracer) and not times[0] > times[1]:
        raise ValueError(
            "`sigma_max` must be above `sigma_min`, in the precision of `x` too, got "
            f"{sigma_max} and {sigma_min}."
        )
    y = made.enter(x, sigma_max)
    options = {"solver": solver, "per_sample": per_sample, "max_steps": max_steps}
    tolerances = jnp.asarray([rtol, atol], times.dtype)
    arrays = (y, times, tolerances, cond)
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((term, *arrays)))
    if traced:
        y, nfe, arrived = _solve(term, *arrays, **options)
    elif is_data(denoise):
        y, nfe, arrived = _solve_compiled(term, *arrays, **options)
    else:
        # A function hides what it closes over, which may have changed since the last call.
        y, nfe, arrived = jax.jit(lambda *arrays: _solve(term, *arrays, **options))(*arrays)
    x0 = made.leave(y, sigma_min)
    x0 = jax.tree.map(lambda v, leaf: v.astype(leaf.dtype), x0, x)
    if isinstance(arrived, Tracer):
        return _without(x0, arrived), nfe
    _must_arrive(np.asarray(arrived), nfe, max_steps)
    return x0, nfe


def _solve(term, y, times, tolerances, cond, *, solver, per_sample, max_steps):
    """(y, evaluations, whether the end was reached), the last two one a sample if `per_sample`."""
    controller = diffrax.PIDController(rtol=tolerances[0], atol=tolerances[1])

    def solve(y, cond):
        solution = diffrax.diffeqsolve(
            term,
            solver,
            times[0],
            times[1],
            (times[1] - times[0]) / FIRST,  # diffrax's own choice on the way down is 0.01
            y,
            cond,
            stepsize_controller=controller,
            max_steps=max_steps,
            throw=False,
        )
        end = jax.tree.map(lambda leaf: leaf[0], solution.ys)
        arrived = solution.result == diffrax.RESULTS.successful
        return end, _evaluations(solver, solution.stats["num_steps"]), arrived

    def one(y, cond):
        y, cond = jax.tree.map(lambda leaf: leaf[None], (y, cond))
        end, nfe, arrived = solve(y, cond)
        return jax.tree.map(lambda leaf: leaf[0], end), nfe, arrived

    return jax.vmap(one)(y, cond) if per_sample else solve(y, cond)


_solve_compiled = eqx.filter_jit(_solve)


def _evaluations(solver: Any, steps: Any) -> Any:
    """The evaluations that diffrax makes in `steps` steps, accepted or not.

    Where the last stage is the first of the next step, it is made once for both; a rejected step
    keeps that of the step before.
    """
    stages, shared = solver.tableau.num_stages, int(solver.tableau.fsal)
    return jnp.asarray((stages - shared) * steps + shared, jnp.int32)


@register_fields
@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """A function that is shown points in the dtypes of `like`, as the solver's are wider."""

    function: Any
    like: Any  # empty arrays of those dtypes

    def __call__(self, x: Any, level: Any, *cond: Any) -> Any:
        x = jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), x, self.like)
        return self.function(x, level, *cond)


def _shown_in(denoise: Any, x: Any) -> Any:
    """`denoise`, shown its points in the dtypes of `x`; as it is where they are wide."""
    if all(leaf.dtype == working_dtype(leaf.dtype) for leaf in jax.tree.leaves(x)):
        return denoise
    like = jax.tree.map(lambda leaf: jnp.zeros((0,), leaf.dtype), x)
    if is_edm(denoise):  # the network alone, so that what it returns is not rounded once more
        return dataclasses.replace(denoise, net=Shown(denoise.net, like))
    return Shown(as_pytree(denoise, "denoise"), like)


def _without(x0: Any, arrived: Any) -> Any:
    """`x0` with NaN in place of the samples that did not arrive."""

    def mark(leaf):
        shape = arrived.shape + (1,) * (leaf.ndim - arrived.ndim)
        return jnp.where(arrived.reshape(shape), leaf, jnp.nan)

    return jax.tree.map(mark, x0)


def _must_arrive(arrived: np.ndarray, nfe: Any, max_steps: int) -> None:
    if arrived.all():
        return
    lost = np.flatnonzero(~np.atleast_1d(arrived))
    who = "the batch, which is one state," if arrived.ndim == 0 else f"samples {_listed(lost)}"
    raise RuntimeError(
        f"Within max_steps = {max_steps} steps ({int(np.max(nfe))} evaluations) {who} did not "
        "reach sigma_min: loosen `rtol` and `atol`, which may be below the rounding of `x`, or "
        "raise `max_steps`; and see that the denoiser returns no NaN."
    )


def _listed(numbers: np.ndarray) -> str:
    shown = ", ".join(str(i) for i in numbers[:10])
    return shown + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")


def _tolerances(rtol: Any, atol: Any) -> tuple[Any, Any]:
    rtol, atol = not_negative(rtol, "rtol"), not_negative(atol, "atol")
    if not is_traced(rtol, atol):
        if max(rtol, atol) == 0:
            raise ValueError("One of `rtol` and `atol` must be above 0, or no step is accepted.")
        if max(rtol, atol) == np.inf:
            raise ValueError(f"`rtol` and `atol` must be finite, got {rtol} and {atol}.")
    return rtol, atol
