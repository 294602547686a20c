"""diffrax's explicit Runge-Kutta solvers as samplers: plan weights, read from the tableau."""

from typing import Any

import diffrax
import numpy as np

from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.processes.process import Process
from edmjax.scalar import is_traced
from edmjax.terms.forms import Form, make_form


def from_diffrax(
    solver: diffrax.AbstractSolver[Any],
    form: str | Form = "theta",
    *,
    process: Process | None = None,
    sigma_data: Scalar | None = None,
) -> Sampler:
    """Returns an explicit Runge-Kutta solver of diffrax as a sampler, stepping in a form.

    With the flow `dy/ds = a y + b D` of the form, a step of `h = s_next - s` is

        Y_i = y + h sum_j a_ij k_j,    k_i = a y_i + b D(Y_i),    y_next = y + h sum_i b_i k_i,

    All of it is linear, so it becomes plan weights and runs like any plan: on the grid given to
    `make_plan`, with `churn`, encoding, learned levels and the rest. The order in `s` is the
    solver's. The step to zero is the denoiser, as in `heun`. From an infinite first level, in the
    scale of a process, only form "theta" has weights.

    Evaluations: the stages that the result depends on, for each step above zero. The last stage of
    Bosh3, Dopri5, Tsit5 and Dopri8, which is the first of the next step, is needed for the error
    estimate alone, so a plan omits it: they take 3, 6, 6 and 13 evaluations a step.

    Args:
        solver: `diffrax.Euler()`, `Heun()`, `Midpoint()`, `Ralston()`, `Bosh3()`, `Tsit5()`,
            `Dopri5()`, `Dopri8()`, or another `diffrax.AbstractERK`.
        form: "theta", "log_sigma", "sigma" or "t", or a `Form`; see `make_form`.
        process: whose own time form "t" runs in.
        sigma_data: the standard deviation of the data in "theta" (default 0.5).

    Raises:
        TypeError: if `solver` is not an explicit Runge-Kutta solver of diffrax.
        ValueError: if the form is unknown, or `sigma_data` not positive; from `make_plan`, if the
            form has no slope at a level.
    """
    a, b, c = _tableau(solver)
    stages = _reaching(a, b)
    made: Any = make_form(form, process, sigma_data)  # its levels are scalars here

    def step(x: Combination, at: Step) -> Combination:
        if at.last:
            return at.denoise(x, at.sigma)
        s, s_next = made.time(at.sigma), made.time(at.sigma_next)
        h, y, slopes = s_next - s, x, {}
        ends = {0.0: (s, at.sigma), 1.0: (s_next, at.sigma_next)}
        for i in stages:
            # At the ends the grid's own levels, to the bit.
            inside = s + c[i] * h
            s_i, sigma = ends[c[i]] if c[i] in ends else (inside, made.level(inside))
            factor, (rate, weight) = made.factor(sigma), made.rates(s_i, sigma)
            numbers = s_i, factor, rate, weight
            if not is_traced(*numbers) and not np.isfinite(numbers).all():
                raise ValueError(
                    f"This form has no slope at the end of the process, at a level of {sigma:g} or "
                    "above: use form 'theta', which has one at infinity too, or start lower."
                )
            x_i = x if i == 0 else (y + h * _sum(a[i], slopes)) / factor
            denoised = at.denoise(x_i, sigma)
            if i == 0:  # not before: `x` is then the evaluated point, and its history is dropped
                y = factor * x
            slopes[i] = rate * factor * x_i + weight * denoised
        return (y + h * _sum(b, slopes)) / made.factor(at.sigma_next)

    return step


def _sum(weights: np.ndarray, slopes: dict[int, Combination]) -> Combination:
    return sum((float(weights[i]) * k for i, k in slopes.items() if weights[i]), Combination({}))


def _tableau(solver: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(a, b, c) of an explicit solver, a square and strictly lower triangular."""
    if isinstance(solver, diffrax.Euler):
        return np.zeros((1, 1)), np.ones(1), np.zeros(1)
    explicit_solver(solver)
    tableau = solver.tableau
    a = np.zeros((tableau.num_stages, tableau.num_stages))
    for i, row in enumerate(tableau.a_lower, start=1):
        a[i, :i] = row
    return a, np.asarray(tableau.b_sol, float), np.array([0.0, *tableau.c])


def _reaching(a: np.ndarray, b: np.ndarray) -> list[int]:
    """The stages that the result depends on."""
    wanted = b != 0
    for i in reversed(range(len(b))):
        if wanted[i]:
            wanted |= a[i] != 0
    return [int(i) for i in np.flatnonzero(wanted)]


def explicit_solver(solver: Any) -> None:
    """Raises where `solver` is not an explicit Runge-Kutta solver, and says what it is instead."""
    if isinstance(solver, type) and issubclass(solver, diffrax.AbstractSolver):
        raise TypeError(f"`solver` must be an instance: pass `diffrax.{solver.__name__}()`.")
    # A wrapper such as `HalfSolver` is an instance of what it wraps, but has no tableau.
    if isinstance(solver, diffrax.AbstractERK) and hasattr(solver, "tableau"):
        return
    if isinstance(solver, diffrax.AbstractImplicitSolver):
        raise TypeError(
            f"{type(solver).__name__} is implicit: each of its stages solves as many equations as "
            "`x` has numbers, with a dense Jacobian and a varying number of evaluations. Use an "
            "explicit solver, such as `diffrax.Tsit5()`; on a few numbers `diffrax.diffeqsolve` "
            "runs it with `ej.terms.ode_term`."
        )
    if isinstance(solver, diffrax.AbstractSRK):
        raise TypeError(
            f"{type(solver).__name__} is a solver of SDEs, and this is the flow, an ODE: use an "
            "explicit Runge-Kutta solver, such as `diffrax.Tsit5()`, or `ej.terms.sde_terms`."
        )
    name = (
        type(solver).__name__ if isinstance(solver, diffrax.AbstractSolver) else f"{solver!r:.80}"
    )
    raise TypeError(
        "`solver` must be an explicit Runge-Kutta solver of diffrax, such as `diffrax.Tsit5()`, "
        f"got {name}."
    )
