"""Gradient descent that keeps the iterate with the best score on noises that it does not see."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from edmjax._common.progress import require_tqdm

_CALLS = 20  # of one compiled program, each followed by a look at the score


class Descent(NamedTuple):
    """The best iterate, its score, and what the score brought along."""

    params: Any
    score: float
    found: Any


def descend(
    loss: Callable[..., Any],
    score: Callable[..., tuple[Any, Any]],
    params: Any,
    data: Any,
    batches: Any,
    *,
    rates: Any,
    progress: bool,
    label: str,
) -> Descent:
    """Adam, one update a row of `batches`; the rates, like `params`, decay as a cosine.

    `loss(params, data, rows)` and `score(params, data)`, the pair of a number and a tree, are
    compiled once each. An update without a finite gradient is left out.
    """
    updates = len(batches)
    each = math.ceil(updates / _CALLS)
    updates = each * (updates // each)
    optimizer = optax.apply_if_finite(
        optax.adam(optax.cosine_decay_schedule(1.0, updates), b2=0.99), max_consecutive_errors=10**6
    )

    @jax.jit
    def advance(params, state, data, batches):
        def update(carry, rows):
            params, state = carry
            gradient = jax.grad(loss)(params, data, rows)
            change, state = optimizer.update(gradient, state, params)
            change = jax.tree.map(lambda rate, step: rate * step, rates, change)
            return (optax.apply_updates(params, change), state), None

        return lax.scan(update, (params, state), batches)[0]

    look = jax.jit(score)
    params = jax.tree.map(jnp.asarray, params)
    state = optimizer.init(params)
    value, found = look(params, data)
    best = Descent(params, float(value), found)
    bar = require_tqdm().tqdm(total=updates, desc=label, unit="update", disable=not progress)
    with bar:
        for start in range(0, updates, each):
            try:
                params, state = advance(params, state, data, batches[start : start + each])
            except ValueError as err:
                # JAX finds out as it traces, and names no function.
                if "Reverse-mode" not in str(err) and "JVP" not in str(err):
                    raise
                raise ValueError(
                    f"The fit descends along a gradient that this denoiser does not have ({err}): "
                    "write its loops as `lax.scan`, without callbacks, or pass updates=0."
                ) from err
            value, found = look(params, data)
            if float(value) < best.score:  # false for NaN too
                best = Descent(params, float(value), found)
            bar.update(each)
            bar.set_postfix_str(f"validation {math.exp(best.score):.3g}")
    return best
