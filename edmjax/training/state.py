"""The state of a training run as a pytree, and the one compiled function that advances it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax, random
from jaxtyping import Array, Float, Int, Key, PyTree

from edmjax.nn.functional import Arrays, Functional


class TrainState(NamedTuple):
    """All that a run needs to go on from where it is, beside its configuration and data."""

    step: Int[Array, ""]  # steps taken
    key: Key[Array, ""]  # of the whole run; a step folds its number in
    params: Arrays
    ema: Arrays  # exponential moving average of params: what samples are drawn with
    buffers: Arrays  # the network's arrays that are not trained
    opt_state: PyTree


def init_state(
    net: Functional,
    params: Arrays,
    optimizer: optax.GradientTransformation,
    key: Key[Array, ""],
) -> TrainState:
    """The state at step 0."""
    # Copies: the state is donated to every step, and donating one buffer twice is an error.
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=random.clone(key),
        params=jax.tree.map(jnp.copy, params),
        ema=jax.tree.map(jnp.copy, params),
        buffers=jax.tree.map(jnp.copy, net.buffers),
        opt_state=optimizer.init(params),
    )


def make_train_steps(
    net: Functional,
    loss: Callable[..., Float[Array, ""]],
    optimizer: optax.GradientTransformation,
    *,
    ema_decay: float,
    scale: Callable[[Array], Array],
) -> Callable[[TrainState, Array, Int[Array, "k batch"]], tuple[TrainState, Float[Array, " k"]]]:
    """The function `(state, images, indices) -> (state, losses)` that takes `k` steps in one scan.

    `loss(net, params, x0, key)` is minimised over `x0 = scale(images[indices[i]])` with the key
    `fold_in(state.key, step)`. The average starts fast, `min(ema_decay, (1 + step) / (10 + step))`,
    so that the first, random parameters are soon forgotten.
    """

    # Named arguments cannot be donated by name and static at once; positions are enough here.
    @partial(jax.jit, donate_argnums=0)
    def train_steps(state: TrainState, images: Any, indices: Any):
        apply = Functional(net.graphdef, state.buffers)

        def one(state: TrainState, batch):
            x0 = scale(images[batch])
            key = random.fold_in(state.key, state.step)
            value, grads = jax.value_and_grad(lambda p: loss(apply, p, x0, key))(state.params)
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params: Any = optax.apply_updates(state.params, updates)
            decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
            ema = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, state.ema, params)
            state = state._replace(step=state.step + 1, params=params, ema=ema, opt_state=opt_state)
            return state, value

        return lax.scan(one, state, indices)

    return train_steps
