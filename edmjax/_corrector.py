"""Correctors: what the loop and the callers must know of a function that moves a point in place.

A corrector is `(denoise, x, sigma, key) -> x`. It may declare `num_draws`, the draws of one call,
and `on_result`, whether it runs on the point that a step ends in instead of the one that a step
starts from.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax, random

from edmjax.plan import Plan


def on_result(corrector: Any) -> bool:
    """Whether it runs on the point that a step ends in, not on the one that a step starts from."""
    return bool(getattr(corrector, "on_result", False))


def draws_of(corrector: Any) -> int:
    """The draws of one call; a corrector that declares none is handed the key of one."""
    return 0 if corrector is None else getattr(corrector, "num_draws", 1)


def calls_of(plan: Plan, corrector: Any) -> int:
    """How often a concrete plan calls the corrector."""
    if corrector is None:
        return 0
    return plan.nfe - (on_result(corrector) and float(plan.grid[-1]) == 0)


def ordinals(plan: Plan, corrector: Any) -> tuple[Any, Any]:
    """The ordinals of the plan's draws, (nfe + 1, slots), and the first of each corrector call.

    Draws are numbered in order of use, the corrector's among them.
    """
    draws = jnp.maximum(jnp.asarray(plan.draws), 0)
    if corrector is None:
        return draws, None
    each, late = draws_of(corrector), on_result(corrector)
    asked = lax.cummax(jnp.max(jnp.asarray(plan.draws), axis=1, initial=-1)) + 1
    row = jnp.searchsorted(asked, draws.ravel(), side="right").reshape(draws.shape)
    calls = jnp.arange(plan.nfe)
    shifted = draws + each * (jnp.maximum(row - 1, 0) if late else row)
    return shifted, (asked[1:] if late else asked[:-1]) + each * calls


def source(corrector: Any, key: Any, noise: Any, ordinal: Any) -> Any:
    """What a corrector draws from: its draws, or the keys to make them, or None."""
    count = getattr(corrector, "num_draws", None)
    if noise is not None:
        take = lambda leaf: lax.dynamic_slice_in_dim(leaf, ordinal, count or 0)  # noqa: E731
        return jax.tree.map(take, noise)
    if key is None:
        return None

    def of(ordinal):
        fold = functools.partial(random.fold_in, data=ordinal)
        return jax.vmap(fold)(key) if key.ndim else fold(key)

    return of(ordinal) if count is None else jax.vmap(of)(ordinal + jnp.arange(count))
