"""Gradient descent that keeps the iterate with the best score on noises held out."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from edmjax._common.progress import require_tqdm
from edmjax._common.typing import PyTree
from edmjax.learning import grids
from edmjax.learning.task import Task

_CALLS = 20  # calls of one compiled program, each followed by the score of its iterate


class Descent(NamedTuple):
    """The best iterate, its score, and what `score` returned beside it."""

    params: PyTree
    score: float
    found: PyTree


def best_start(
    task: Task, steps: int, score: Callable[..., tuple[Any, Any]], data: PyTree
) -> tuple[str, np.ndarray, Descent]:
    """The best of the hand-made grids by `score(logits, data)`, compiled once: its name and levels.

    Its score is infinite where no grid has a finite one.
    """
    look = jax.jit(score)
    starts = {}
    for name, grid in grids.starts(steps, task.low, task.high, task.width).items():
        logits = jnp.asarray(grids.logits_of(grid), task.flat.dtype)
        value, found = look(logits, data)
        value = float(value) if math.isfinite(value) else math.inf
        starts[name] = name, grid, Descent(logits, value, found)
    return min(starts.values(), key=lambda start: start[2].score)


def descend(
    loss: Callable[..., Any],
    score: Callable[..., tuple[Any, Any]],
    params: PyTree,
    data: PyTree,
    batches: jax.Array,
    rates: PyTree,
    progress: bool,
    label: str,
) -> Descent:
    """Adam with one update for each row of `batches`, and rates that decay as a cosine.

    Args:
        loss: `loss(params, data, rows)`, what descends; compiled once. An update whose gradient is
            not finite is left out.
        score: `score(params, data)`, a number that chooses among iterates, and a tree of whatever
            else should be kept of the best; compiled once.
        params: where the descent starts.
        data: passed on to both.
        batches: the rows of each update.
        rates: the first learning rate of each leaf of `params`, or one number for all.
        progress: whether to draw a bar.
        label: the name of the bar.
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
                # JAX notices while it traces, and its message names no function of the user's.
                if "Reverse-mode" not in str(err) and "JVP" not in str(err):
                    raise
                raise ValueError(
                    f"The fit descends along a gradient that this denoiser does not have ({err}): "
                    "write its loops as `lax.scan`, without callbacks, or pass updates=0."
                ) from err
            value, found = look(params, data)
            if float(value) < best.score:  # false for NaN
                best = Descent(params, float(value), found)
            bar.update(each)
            bar.set_postfix_str(f"validation {math.exp(best.score):.3g}")
    return best
