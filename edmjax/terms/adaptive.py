"""Adaptive solvers of diffrax as a sampler, with the true number of evaluations."""

import dataclasses
import functools
import operator
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from edmjax._common.arguments import whole
from edmjax._common.arrays import register_fields, working_dtype
from edmjax._common.functions import as_pytree, checked_inputs, compiled
from edmjax._common.held import cast, dtypes_of, evaluate
from edmjax._common.typing import Denoiser, Int, Level, PyTree, Scalar, X
from edmjax.adaptive.report import Report, nan_unless, warn_of_unfinished
from edmjax.adaptive.task import tolerances
from edmjax.planning.table import check_levels
from edmjax.processes.process import Process
from edmjax.scalar import flag, host
from edmjax.terms.forms import Form
from edmjax.terms.ode import Flow, is_edm, ode_term
from edmjax.terms.solve import Solved, solve, solver_with_error

F = TypeVar("F", bound=Callable[..., Any])


def _with_counts(function: F) -> F:
    """Makes the report of `function` answer as the count of evaluations of the last release."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        x0, report = function(*args, **options)
        nfe = report.nfe if options.get("per_sample") else jnp.max(report.nfe, initial=0)
        return x0, Counted(**vars(report), former=nfe)

    return call  # type: ignore[return-value]


@_with_counts
def adaptive_sample(
    denoise: Denoiser,
    x: X,
    *,
    sigma_max: Scalar,
    sigma_min: Scalar,
    solver: diffrax.AbstractSolver[Any] | None = None,
    rtol: Scalar = 1e-3,
    atol: Scalar = 1e-3,
    form: str | Form = "theta",
    process: Process | None = None,
    sigma_data: Scalar | None = None,
    cond: PyTree = None,
    per_sample: bool = True,
    max_steps: Int = 4096,
) -> tuple[X, Report]:
    """Returns `(x0, report)`: the flow from `sigma_max` to `sigma_min`, and what it cost.

    diffrax chooses the steps by the error. The first step tried is a twentieth of the interval.
    Each sample has its own steps, so that it does not depend on the samples beside it. The loop
    runs until the last sample has arrived, and each evaluation is of the whole batch.

    The report is as from `ej.adaptive.sample`, and so is the rule for a sample that needs more than
    `max_steps` steps: it is NaN, `report.finished` is False there, and outside of `jit` a
    RuntimeWarning names it.

    Under `jit` the solve is part of the caller's program. Outside it is one compiled function,
    which is shared by all levels, tolerances and parameters of a denoiser that is a pytree.

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
            size of the data, in "sigma" and "log_sigma" it is 1 in the units of the data. The norm
            is the root mean square.
        form: "theta", "log_sigma", "sigma" or "t", or a `Form`; see `ode_term`.
        process: whose own time form "t" runs in.
        sigma_data: as in `ode_term`.
        cond: passed on to the denoiser: any pytree whose leaves have the samples on axis 0.
        per_sample: whether each sample has its own steps. False: the batch is one state with one
            step size, and a sample depends on the samples beside it.
        max_steps: the number of steps, accepted or not, after which a sample is given up. Far more
            than `ej.adaptive.sample` allows, as tolerances may go down to rounding here.

    Raises:
        TypeError: if an argument is of the wrong kind: an implicit solver, a class instead of an
            instance.
        ValueError: if the form is unknown, the solver has no error estimate, a tolerance is
            negative or infinite or both are 0, the levels do not fall or are not positive, or
            shapes disagree.
    """
    solver = solver_with_error(solver)
    x, cond = checked_inputs(denoise, x, cond)
    rtol, atol = tolerances(rtol, atol)
    sigma_max, sigma_min = host(sigma_max, "sigma_max"), host(sigma_min, "sigma_min")
    max_steps, per_sample = whole(max_steps, "max_steps"), flag(per_sample, "per_sample")
    check_levels(denoise, sigma_min, sigma_max)
    shown = _shown_in(denoise, x)
    if sigma_data is None and not is_edm(denoise):
        sigma_data = getattr(denoise, "sigma_data", None)
    flow: Flow = ode_term(shown, process, form, sigma_data).vector_field  # pyright: ignore
    times = flow.form.times([sigma_max, sigma_min], x)
    if not isinstance(times, Tracer) and not times[0] > times[1]:
        raise ValueError(
            "`sigma_max` must be above `sigma_min`, in the precision of `x` too, got "
            f"{sigma_max} and {sigma_min}."
        )
    y = flow.form.enter(x, sigma_max)
    arrays = (flow.denoise, flow.form, y, times, cond, jnp.asarray([rtol, atol], times.dtype))
    options = {"direct": flow.direct, "solver": solver, "per_sample": per_sample}
    # A form of the user's own that is not a pytree is closed over, as functions are.
    functions = 1 if all(_is_number(leaf) for leaf in jax.tree.leaves(flow.form)) else 2
    end: Solved = compiled(
        _solve, arrays[:functions], arrays[functions:], max_steps=max_steps, **options
    )
    x0 = flow.form.leave(end.y, sigma_min)
    x0 = cast(x0, dtypes_of(x))
    reached = jnp.where(end.finished, sigma_min, flow.form.level(end.t))
    counts = end.nfe, end.accepted, end.rejected, reached.astype(times.dtype), end.finished
    batch = jax.tree.leaves(x)[0].shape[:1]
    report = Report(*(jnp.broadcast_to(count, batch) for count in counts))
    # Two frames up: the caller of the decorated function.
    warn_of_unfinished(report, stacklevel=3)
    return nan_unless(report.finished, x0), report


def _solve(denoise, form, y, times, cond, tolerances, *, direct, **options) -> Solved:
    return solve(Flow(form, denoise, direct), y, times, cond, tolerances, **options)


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | float | int)


@register_fields
@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """A function that is shown points in the dtypes of `like`, as the solver's are wider."""

    function: Any
    like: Any  # empty arrays of those dtypes

    def __call__(self, x: PyTree, level: Level, cond: PyTree = None) -> Any:
        return evaluate(self.function, x, level, cond, dtypes_of(self.like))


def _shown_in(denoise: Any, x: PyTree) -> Any:
    """`denoise`, shown its points in the dtypes of `x`; as it is where those are wide already."""
    if all(leaf.dtype == working_dtype(leaf.dtype) for leaf in jax.tree.leaves(x)):
        return denoise
    like = jax.tree.map(lambda leaf: jnp.zeros((0,), leaf.dtype), x)
    if is_edm(denoise):  # the network alone, so that its output is not rounded once more
        return dataclasses.replace(denoise, net=Shown(denoise.net, like))
    return Shown(as_pytree(denoise, "denoise"), like)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Counted(Report):
    """A report that also answers as the array of counts that `adaptive_sample` used to return.

    Goes with version 0.3, and `_with_counts` with it.
    """

    former: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "former" not in vars(self):
            raise AttributeError(name)
        return getattr(_counts(self), name)


def _counts(report: Counted) -> Any:
    warnings.warn(
        "adaptive_sample() now returns (x0, report): the evaluations are `report.nfe`, one number "
        "a sample. A report no longer answers as a number with version 0.3.",
        DeprecationWarning,
        stacklevel=3,
    )
    return report.former


def _answer(operation: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *args, **options: operation(_counts(self), *args, **options)


_OPERATORS = "lt", "le", "gt", "ge", "eq", "ne", "add", "sub", "mul", "truediv", "getitem", "index"
_ANSWERS: dict[str, Callable[..., Any]] = {name: getattr(operator, name) for name in _OPERATORS}
_ANSWERS |= {"int": int, "float": float, "len": len, "array": np.asarray, "jax_array": jnp.asarray}
for _name, _operation in _ANSWERS.items():
    setattr(Counted, f"__{_name}__", _answer(_operation))
