"""A solve of diffrax with steps chosen by the error, for `adaptive_sample` and for likelihoods."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from optimistix import rms_norm

from edmjax._common.manual import untyped
from edmjax._common.trees import is_shared
from edmjax._common.typing import PyTree
from edmjax.terms.tableaus import explicit_solver

# The interval over the first step that is tried. Where time falls diffrax itself would try a step
# of 0.01, whatever the interval.
FIRST = 20


class Solved(NamedTuple):
    """The end of a solve; all but `y` one number, or one a sample where each has its own steps."""

    y: PyTree
    t: jax.Array  # the time that was reached
    nfe: jax.Array  # evaluations, including rejected steps
    accepted: jax.Array
    rejected: jax.Array
    finished: jax.Array  # whether the end was reached within `max_steps`


def solver_with_error(solver: Any) -> diffrax.AbstractERK:
    """`solver`, by default `Tsit5()`; raises where it is not explicit or estimates no error."""
    solver = diffrax.Tsit5() if solver is None else solver
    euler = isinstance(solver, diffrax.Euler)
    if not euler:
        explicit_solver(solver)
    if euler or not np.any(solver.tableau.b_error):
        raise ValueError(
            f"{type(solver).__name__} has no error estimate to choose steps by: use "
            "`diffrax.Heun()` or `diffrax.Tsit5()`, or fixed steps with `ej.terms.from_diffrax`."
        )
    return solver


def solve(
    slope: Callable[[Any, Any, Any], Any],
    y: PyTree,
    ends: jax.Array,
    args: Any,
    tolerances: jax.Array,
    *,
    solver: diffrax.AbstractERK,
    per_sample: bool,
    max_steps: int,
    norm: Callable[[Any], Any] = rms_norm,
) -> Solved:
    """Solves `dy/dt = slope(t, y, args)` from the first of `ends` to the last, from checked input.

    With `per_sample` axis 0 of every leaf of `y` and `args` counts samples, and each has its own
    steps; `slope` still sees a batch, of one sample.
    """
    term = diffrax.ODETerm(slope)  # pyright: ignore[reportArgumentType]
    controller = diffrax.PIDController(rtol=tolerances[0], atol=tolerances[1], norm=norm)

    def whole(y, args):
        solution = diffrax.diffeqsolve(
            term,
            solver,
            ends[0],
            ends[1],
            (ends[1] - ends[0]) / FIRST,
            y,
            args,
            stepsize_controller=controller,
            max_steps=max_steps,
            throw=False,
        )
        assert solution.ts is not None and solution.ys is not None
        stats = solution.stats
        return Solved(
            jax.tree.map(lambda leaf: leaf[0], solution.ys),
            solution.ts[0],
            _evaluations(solver, stats["num_steps"]),
            jnp.asarray(stats["num_accepted_steps"], jnp.int32),
            jnp.asarray(stats["num_rejected_steps"], jnp.int32),
            solution.result == diffrax.RESULTS.successful,
        )

    if not per_sample:
        return untyped(whole, y, args)
    # A condition that all samples share has axis 0 already, and is not mapped over.
    shared = jax.tree.map(is_shared, args)

    def one(y, args):
        y = jax.tree.map(lambda leaf: leaf[None], y)
        args = jax.tree.map(lambda leaf, whole: leaf if whole else leaf[None], args, shared)
        end = whole(y, args)
        return end._replace(y=jax.tree.map(lambda leaf: leaf[0], end.y))

    along = jax.tree.map(lambda whole: None if whole else 0, shared)
    return untyped(jax.vmap(one, in_axes=(0, along)), y, args)


def _evaluations(solver: diffrax.AbstractERK, steps: Any) -> jax.Array:
    """The evaluations that diffrax makes in `steps` steps, accepted or not.

    Where the last stage is the first of the next step, it is evaluated once for both. A rejected
    step does not evaluate it again.
    """
    tableau: Any = solver.tableau
    stages, shared = tableau.num_stages, int(tableau.fsal)
    return jnp.asarray((stages - shared) * steps + shared, jnp.int32)
