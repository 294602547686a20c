"""The part of the data that is not trained on: its loss, and the weights for which it is least."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Int, Key

from edmjax.training.data import Examples
from edmjax.training.networks import Trainable
from edmjax.training.state import BatchLoss, TrainState

HELD_OUT = 0x68656C64  # folded into the key of the run


def split(
    n: int, share: float | int | None, seed: int
) -> tuple[Int[np.ndarray, " k"] | None, Int[np.ndarray, " m"]]:
    """The indices that are trained on, None for all, and those that are held out, in order.

    `ValueError` where one of the two would be empty.
    """
    if share is None:
        return None, np.zeros(0, np.int32)
    number = round(n * share)
    if not 0 < number < n:
        raise ValueError(
            f"`held_out` {share} of {n} samples is {number}: at least one must be held out, and "
            "one trained on."
        )
    # A key of two numbers is that of an epoch of the run, so there is a third.
    order = np.random.default_rng([seed, HELD_OUT, n]).permutation(n).astype(np.int32)
    return np.sort(order[number:]), np.sort(order[:number])


class HeldOut:
    """The loss of held-out examples with the averaged parameters.

    Levels and noise are the same in each call, so that calls differ by the network alone.
    """

    def __init__(
        self,
        net: Trainable,
        batch_loss: BatchLoss,
        examples: Examples,
        key: Key[Array, ""],
        batch_size: int,
    ):
        n = len(jax.tree.leaves(examples.images)[0])
        rows = min(batch_size, n)
        number = math.ceil(n / rows)
        # The last batch is filled up with the first examples, which do not count.
        chosen = np.resize(np.arange(n), number * rows)
        self.examples: Examples = jax.tree.map(
            lambda v: v[chosen].reshape(number, rows, *v.shape[1:]), examples
        )
        counts = (np.arange(number * rows) < n).reshape(number, rows)
        key = random.fold_in(random.clone(key), HELD_OUT)

        def mean(params: Any, apply: Any, examples: Examples) -> Array:
            def one(batch: Any) -> Array:
                step, these, weight = batch
                each = batch_loss(apply, params, key, step, these).loss
                return jnp.sum(jnp.where(weight, each, 0))

            return jnp.sum(jax.lax.map(one, (jnp.arange(number), examples, counts))) / n

        self._mean: Callable[..., Array] = jax.jit(mean)
        self._net = net

    def measure(self, state: TrainState) -> tuple[TrainState, float]:
        """The loss, and the state that remembers the average if the loss is the least so far."""
        apply = replace(self._net, buffers=state.buffers)
        loss = float(self._mean(state.ema[0], apply, self.examples))
        if state.best and loss < float(state.best[0]):
            state = state._replace(best=_remembered(state, loss))
        return state, loss


def _remembered(state: TrainState, loss: float) -> tuple[Any, ...]:
    # Copies, placed as the arrays are: the next step overwrites the state.
    params, buffers, step = jax.tree.map(jnp.copy, (state.ema[0], state.buffers, state.step))
    return jax.device_put(jnp.float32(loss), state.best[0].sharding), step, params, buffers
