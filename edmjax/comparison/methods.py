"""What is compared: each method is a series of runs, from few evaluations to many.

A series has one program for all of its tolerances. `PREPARE` makes what a run needs, or, for plans,
which share programs, `plans.plan_runs`; `runs` times it.
"""

import ast
import functools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import diffrax
import jax
import numpy as np
from jaxtyping import Array

import edmjax as ej
from edmjax.comparison.targets import HIGH, LOW, Target, perturbed, solved
from edmjax.evaluation.budgets import with_options

FORMS = ("theta", "log_sigma", "sigma", "t")
PROCESS = ej.processes.vp()  # whose own time form "t" is
SOLVERS = ("Euler", "Heun", "Bosh3", "Tsit5", "Dopri5", "Dopri8")
SDE = ("Euler", "Heun", "ShARK", "SRA1", "SEA", "SlowRK")
GRIDS = ("karras", "logistic")  # the levels of diffrax's fixed steps and of stochastic samplers

# The kinds of methods that are compared.
KINDS = {
    "plan": "samplers of edmjax, fixed steps",
    "adaptive": "adaptive samplers of edmjax, each sample with its own steps",
    "diffrax-fixed": "diffrax, fixed steps on the levels of karras and logistic, run as plans",
    "diffrax-adaptive": "diffrax, adaptive steps, the batch as one state",
    "stochastic": "samplers of edmjax that draw noise, and two that do not",
    "diffrax-sde": "diffrax's solvers of the reverse SDE, equal steps in log sigma",
    "exact": "exact samples against exact samples",
}
STOCHASTIC = ("stochastic", "diffrax-sde", "exact")


class Series(NamedTuple):
    """A method, and its settings from the coarsest on: budgets of evaluations, or tolerances."""

    kind: str
    method: str
    path: str
    settings: tuple[float, ...]
    perturbation: float = 0.0


class Run(NamedTuple):
    """A run that is ready: `call()` returns samples and evaluations (one number, or one a sample).

    `program` is equal for runs that share a compiled program.
    """

    call: Callable[[], tuple[Array, Array | int]]
    program: Hashable


def levels(text: str, n: int, sigma_data: float) -> np.ndarray:
    """`n` levels from 80 to 0.002 of a schedule, for data of this standard deviation."""
    grid = ej.training.parse_schedule(with_options(text, sigma_data=sigma_data), n)[:-1]
    if len(grid) != n or grid[0] != HIGH or (n > 1 and grid[-1] != LOW):
        raise ValueError(
            f"Every solver goes from {HIGH:g} to {LOW:g}, and {text!r} gives levels from "
            f"{grid[0]:g} to {grid[-1]:g}: choose a schedule with these ends."
        )
    return grid


def adaptive_of(text: str, tolerance: float, sigma_data: float) -> ej.adaptive.Method:
    """The method of `ej.adaptive` that a text such as `adaptive(order=3)` describes."""
    try:
        call = ast.parse(text, mode="eval").body
        call = call if isinstance(call, ast.Call) else ast.Call(func=call, args=[], keywords=[])
        if call.args or not isinstance(call.func, ast.Name):
            raise ValueError
        options: dict[str, Any] = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
        if call.func.id == "adaptive":
            options = {"rtol": tolerance, "atol": tolerance, "sigma_data": sigma_data} | options
            return ej.adaptive.multistep(**options)
        if call.func.id == "dpm_adaptive":  # the ratio of its defaults
            options = {"rtol": tolerance, "atol": tolerance * 0.0078 / 0.05} | options
            return ej.adaptive.dpm_adaptive(**options)
        raise ValueError
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(
            f"{text!r} is not an adaptive sampler{f' ({error})' if str(error) else ''}: write "
            "'adaptive(order=3)' or 'dpm_adaptive(order=3)', with options by name."
        ) from error


def _adaptive(series: Series, setting: float, target: Target, x: Array, seed: int) -> Run:
    method = adaptive_of(series.method, setting, target.sigma_data)

    def run():
        x0, report = ej.adaptive.sample(
            target.denoise, method, x, sigma_max=HIGH, sigma_min=LOW, max_steps=1000
        )
        return x0, report.nfe

    return Run(run, (series.kind, series.method))


def _diffrax_adaptive(series: Series, setting: float, target: Target, x: Array, seed: int) -> Run:
    # The network's own output is the slope where its own sigma_data is used.
    width = target.sigma_data if target.law is not None else None
    options = {"form": series.path, "process": PROCESS, "sigma_data": width, "per_sample": False}
    solver = getattr(diffrax, series.method)()
    run = functools.partial(solved, target, solver, setting, **options)
    return Run(run, (series.kind, series.method, series.path))


def drifts_a_step(solver: diffrax.AbstractSolver[Any]) -> int:
    """How often a solver of SDEs evaluates the drift in a step."""
    tableau = getattr(solver, "tableau", None)
    if tableau is None:  # Euler
        return 1
    ignored = getattr(tableau, "ignore_stage_f", None)
    return len(tableau.b_sol) - (0 if ignored is None else int(np.sum(ignored)))


@functools.partial(jax.jit, static_argnames=("name", "most"))
def _solve_sde(denoise: Any, x: Array, key: Array, step: Array, *, name: str, most: int) -> Array:
    solver, process = getattr(diffrax, name)(), ej.processes.ve(LOW, HIGH)
    tau = ej.terms.sde_times(process, [HIGH, LOW], x)
    path = ej.terms.brownian_path(solver, key, x, tau[0], tau[-1], tol=step / 2)
    terms = ej.terms.sde_terms(denoise, process, path, sigma_max=HIGH, sigma_min=LOW)
    form = ej.terms.make_form("t", process)
    solution = diffrax.diffeqsolve(
        terms, solver, tau[0], tau[-1], step, form.enter(x, HIGH), max_steps=most
    )
    return form.leave(jax.tree.map(lambda leaf: leaf[0], solution.ys), LOW)


def _diffrax_sde(series: Series, setting: float, target: Target, x: Array, seed: int) -> Run | None:
    solver = getattr(diffrax, series.method)()
    each = drifts_a_step(solver)
    steps, most = int(setting) // each, int(max(series.settings)) // each
    if steps < 2:
        return None
    start, end = ej.terms.sde_times(ej.processes.ve(LOW, HIGH), [HIGH, LOW], x)
    arrays = perturbed(target, series.perturbation), x, jax.random.key(seed), (end - start) / steps
    # A step may be left over by rounding: then it has no length.
    run = functools.partial(_solve_sde, *arrays, name=series.method, most=most + 1)
    program = (series.kind, series.method, series.perturbation > 0)
    return Run(lambda: (run(), steps * each), program)


def _exact(series: Series, setting: float, target: Target, x: Array, seed: int) -> Run:
    key = jax.random.key(seed)
    return Run(lambda: (target.law.sample(key, len(x), sigma=LOW), 0), (series.kind,))


# Makes the run of a series without plans at a setting; None where the budget buys no run.
PREPARE: dict[str, Callable[[Series, float, Target, Array, int], Run | None]] = {
    "adaptive": _adaptive,
    "diffrax-adaptive": _diffrax_adaptive,
    "diffrax-sde": _diffrax_sde,
    "exact": _exact,
}
