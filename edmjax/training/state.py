"""The state of a training run as a pytree, and the one compiled function that advances it."""

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax, random
from jaxtyping import Array, Float, Int, Key

from edmjax._common.typing import PyTree
from edmjax.losses import PerSample, uncertainty_weighted
from edmjax.nn.functional import Arrays, Functional
from edmjax.training.data import Examples, drop_labels

# `(net, params, key, step, examples) -> PerSample`, the loss of one step's batch.
BatchLoss = Callable[..., PerSample]


class TrainState(NamedTuple):
    """All that a run needs to resume, beside its configuration and data."""

    step: Int[Array, ""]  # steps taken
    key: Key[Array, ""]  # of the whole run; a step folds its number in
    params: Arrays
    ema: tuple[Arrays, ...]  # averages of params; samples are drawn with the first
    buffers: Arrays  # the network's arrays that are not trained
    uncertainty: Arrays  # parameters of the loss's u(sigma); empty where it has none
    opt_state: tuple[PyTree, PyTree]  # of params, and of uncertainty


def init_state(
    net: Functional,
    params: Arrays,
    optimizer: optax.GradientTransformation,
    key: Key[Array, ""],
    *,
    num_averages: int = 1,
    uncertainty: Arrays | None = None,
) -> TrainState:
    """The state at step 0, with `uncertainty` the parameters of a learned weighting of the loss."""

    def copy(arrays: Arrays) -> Arrays:
        # The state is donated to every step, and donating one buffer twice is an error.
        return jax.tree.map(jnp.copy, arrays)

    uncertainty = uncertainty or {}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=random.clone(key),
        params=copy(params),
        ema=tuple(copy(params) for _ in range(num_averages)),
        buffers=copy(net.buffers),
        uncertainty=copy(uncertainty),
        opt_state=(optimizer.init(params), optimizer.init(uncertainty)),
    )


def make_batch_loss(
    loss: Callable[..., PerSample],
    scale: Callable[[Any], Array],
    *,
    num_classes: int = 0,
    label_dropout: float = 0.0,
) -> BatchLoss:
    """The function `(net, params, key, step, examples) -> PerSample` of one step's batch.

    `examples` are the images of the batch, scaled here, and their labels. `key` is the key of the
    run, so that a step can be computed again from its number alone. With `num_classes` the network
    is given the labels, each hidden with probability `label_dropout`.
    """

    def batch_loss(net: Any, params: Any, key: Any, step: Any, examples: Examples) -> PerSample:
        key = random.fold_in(key, step)
        cond = None
        if num_classes:
            key, key_labels = random.split(key)
            cond = drop_labels(jnp.asarray(examples.labels), key_labels, label_dropout, num_classes)
        return loss(net, params, scale(examples.images), key, cond=cond)

    return batch_loss


def make_train_steps(
    net: Functional,
    batch_loss: BatchLoss,
    optimizer: optax.GradientTransformation,
    averages: Sequence[Callable[[Int[Array, ""]], Float[Array, ""]]],
) -> Callable[..., tuple[TrainState, Float[Array, " k"]]]:
    """The function `(state, examples, indices) -> (state, losses)` of `k` steps in one scan.

    Step `i` minimises the mean of `batch_loss` (see `make_batch_loss`) over the examples at
    `indices[i]`, shape `(k, batch)`, or `uncertainty_weighted` of it where the state holds
    `uncertainty`; the losses are the means, in both cases. Where `examples` is None, as on a mesh,
    `indices` are the examples themselves, with leading axes `(k, batch)`. Each of `averages` gives
    the share of the new parameters in an average from the number of steps taken, the new one
    included.
    """

    def advance(optimizer_state: Any, gradient: Any, arrays: Any) -> tuple[Any, Any]:
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, arrays)
        return optax.apply_updates(arrays, updates), optimizer_state

    @partial(jax.jit, donate_argnums=0)
    def train_steps(state: TrainState, examples: Any, indices: Any):
        apply = Functional(net.graphdef, state.buffers)

        def one(state: TrainState, batch: Any) -> tuple[TrainState, Any]:
            chosen = batch if examples is None else jax.tree.map(itemgetter(batch), examples)

            def objective(trained):
                params, uncertainty = trained
                each = batch_loss(apply, params, state.key, state.step, chosen)
                mean = each.loss.mean()
                return (uncertainty_weighted(each, uncertainty) if uncertainty else mean), mean

            trained = state.params, state.uncertainty
            (_, mean), gradients = jax.value_and_grad(objective, has_aux=True)(trained)
            # One after the other: clipping together would let one silence the other.
            (params, first), (uncertainty, second) = map(
                advance, state.opt_state, gradients, trained
            )
            step = state.step + 1
            ema = tuple(
                _lerp(average, params, share(step))
                for average, share in zip(state.ema, averages, strict=True)
            )
            state = state._replace(
                step=step,
                params=params,
                ema=ema,
                uncertainty=uncertainty,
                opt_state=(first, second),
            )
            return state, mean

        return lax.scan(one, state, indices)

    return train_steps


def _lerp(old: Arrays, new: Arrays, share: Float[Array, ""]) -> Arrays:
    """`(1 - share) old + share new`: exactly `new` at 1, and no rounding of 1 - share near 0."""

    def one(a, b):
        return jnp.where(share < 0.5, a + share * (b - a), b - (1 - share) * (b - a))

    return jax.tree.map(one, old, new)
