"""Steps chosen by diffrax, each sample its own: so a sample does not depend on those beside it.

Imported when it is first used: the fixed grids do not need diffrax.
"""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp

from edmjax.terms.adaptive import FIRST, _evaluations
from edmjax.terms.tableaus import explicit_solver as explicit_solver

DEFAULT = diffrax.Tsit5()


def run(
    slope: Any, start: Any, ends: Any, context: Any, tolerances: Any, solver: Any, max_steps: int
) -> tuple[Any, Any, Any]:
    """(state, evaluations, whether the end was reached), the last two one a sample."""
    controller = diffrax.PIDController(tolerances[0], tolerances[1], norm=_norm)

    def one(state, context):
        state, context = jax.tree.map(lambda leaf: leaf[None], (state, context))
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),  # pyright: ignore[reportArgumentType]
            solver,
            ends[0],
            ends[1],
            (ends[1] - ends[0]) / FIRST,
            state,
            context,
            stepsize_controller=controller,
            max_steps=max_steps,
            throw=False,
        )
        end = jax.tree.map(lambda leaf: leaf[0, 0], solution.ys)
        arrived = solution.result == diffrax.RESULTS.successful
        return end, _evaluations(solver, solution.stats["num_steps"]), arrived

    return jax.vmap(one)(start, context)


def _norm(error: Any) -> Any:
    """The larger of the root mean squares of the point and of the log-density.

    Over both at once, one log-density would not be seen among the numbers of an image.
    """
    parts = [_rms(leaf) for leaf in jax.tree.leaves(error) if leaf.size]
    return jnp.max(jnp.stack(parts))


def _rms(leaf: Any) -> Any:
    square = jnp.mean(leaf**2)
    # The root has an infinite slope at 0, where a Gaussian's log-density has its error. NaN stays
    # NaN: as an error of 0 it would be accepted.
    return jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))
