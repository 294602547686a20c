"""The state of a training run as a pytree, and the one compiled function that advances it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax, random
from jaxtyping import Array, Float, Int, Key

from edmjax._common.arguments import describe
from edmjax._common.typing import PyTree
from edmjax.losses import PerSample, uncertainty_weighted
from edmjax.nn.functional import Arrays
from edmjax.training.data import Examples, drop_labels
from edmjax.training.data.conditions import Conditions
from edmjax.training.networks import Adapted, Trainable

# `(net, params, key, step, examples) -> PerSample`, the loss of one step's batch.
BatchLoss = Callable[..., PerSample]


DROPOUT = 0x64726F70


class TrainState(NamedTuple):
    """All that a run needs to resume, beside its configuration and data."""

    step: Int[Array, ""]  # steps taken
    key: Key[Array, ""]  # of the whole run; a step folds its number in
    params: Arrays
    ema: tuple[Arrays, ...]  # averages of params; samples are drawn with the first
    buffers: Arrays  # the network's arrays that are not trained
    uncertainty: Arrays  # parameters of the loss's u(sigma); empty where it has none
    opt_state: tuple[PyTree, PyTree]  # of params, and of uncertainty
    best: tuple[PyTree, ...] = ()  # least held-out loss, its step, average and buffers; or nothing

    @property
    def kept(self) -> tuple[Arrays, Arrays]:
        """The parameters and buffers that samples are drawn with."""
        if self.best and int(self.best[1]):
            return self.best[2], self.best[3]
        return self.ema[0], self.buffers


def init_state(
    net: Trainable,
    params: Arrays,
    optimizer: optax.GradientTransformation,
    key: Key[Array, ""],
    *,
    num_averages: int = 1,
    uncertainty: Arrays | None = None,
    keep_best: bool = False,
) -> TrainState:
    """The state at step 0, with `uncertainty` the parameters of a learned weighting of the loss.

    With `keep_best` it has a place for the average with the least held-out loss.
    """

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
        best=_no_best(copy(params), copy(net.buffers)) if keep_best else (),
    )


def _no_best(params: Arrays, buffers: Arrays) -> tuple[PyTree, ...]:
    return jnp.full((), jnp.inf, jnp.float32), jnp.zeros((), jnp.int32), params, buffers


def make_batch_loss(
    loss: Callable[..., PerSample],
    scale: Callable[[Any], Array],
    *,
    num_classes: int = 0,
    label_dropout: float | int = 0.0,
    conditions: Conditions | None = None,
    cond_dropout: float | int = 0.0,
) -> BatchLoss:
    """The function `(net, params, key, step, examples) -> PerSample` of one step's batch.

    `examples` are the images of the batch, scaled here, their labels and their conditions. `key` is
    the key of the run, so that a step can be computed again from its number alone. With
    `num_classes` the network is given the labels, each hidden with probability `label_dropout`, and
    with `conditions` those, each hidden with probability `cond_dropout`. One number a sample
    decides on both, so that the two are hidden together as often as they can be.
    """

    def batch_loss(net: Any, params: Any, key: Any, step: Any, examples: Examples) -> PerSample:
        key = random.fold_in(key, step)
        cond = labels = hidden = None
        if num_classes or cond_dropout:
            key, key_hidden = random.split(key)
            if num_classes:
                labels = jnp.asarray(examples.labels)
                cond = labels = drop_labels(labels, key_hidden, label_dropout, num_classes)
            if cond_dropout:
                n = len(jax.tree.leaves(examples.images)[0])
                hidden = random.bernoulli(key_hidden, jnp.float32(cond_dropout), (n,))
        if conditions is not None:
            cond = conditions.given(examples.cond or {}, labels, hidden)
        each = loss(net, params, scale(examples.images), key, cond=cond)
        if not isinstance(each, PerSample):
            raise TypeError(
                "`loss` must return the loss of each sample, a `PerSample`, as "
                f"ej.losses.edm_per_sample does and ej.losses.edm does not; got {describe(each)}."
            )
        return each

    return batch_loss


def make_train_steps(
    net: Trainable,
    batch_loss: BatchLoss,
    optimizer: optax.GradientTransformation,
    averages: Sequence[Callable[[Int[Array, ""]], Float[Array, ""]]],
    *,
    accumulate: int = 1,
) -> Callable[..., tuple[TrainState, Float[Array, " k"]]]:
    """The function `(state, examples, indices) -> (state, losses)` of `k` steps in one scan.

    Step `i` minimises the mean of `batch_loss` (see `make_batch_loss`) over the examples at
    `indices[i]`, shape `(k, batch)`, or `uncertainty_weighted` of it where the state holds
    `uncertainty`; the losses are the means, in both cases. Where `examples` is None, as on a mesh,
    `indices` are the examples themselves, with leading axes `(k, batch)`. Each of `averages` gives
    the share of the new parameters in an average from the number of steps taken, the new one
    included.

    With `accumulate` the batch of a step is computed in so many parts, one after the other, whose
    gradients are averaged: part `i` of step `s` draws as step `s * accumulate + i` would.
    """

    # Some transformations, such as `reduce_on_plateau`, ask for the loss.
    update = optax.with_extra_args_support(optimizer).update

    def advance(optimizer_state: Any, gradient: Any, arrays: Any, mean: Any) -> tuple[Any, Any]:
        updates, optimizer_state = update(gradient, optimizer_state, arrays, value=mean)
        return optax.apply_updates(arrays, updates), optimizer_state

    def gradients_of(apply: Trainable, state: TrainState, number: Any, chosen: Any) -> Any:
        """The mean loss, the gradient of what is minimised, and the buffers after it."""

        def objective(trained):
            params, uncertainty = trained
            called, buffers = in_training(apply, state.key, number)
            each = batch_loss(called, params, state.key, number, chosen)
            mean = each.loss.mean()
            goal = uncertainty_weighted(each, uncertainty) if uncertainty else mean
            return goal, (mean, buffers())

        trained = state.params, state.uncertainty
        (_, (mean, buffers)), gradients = jax.value_and_grad(objective, has_aux=True)(trained)
        return mean, gradients, buffers

    def in_parts(apply: Trainable, state: TrainState, chosen: Any) -> Any:
        """As `gradients_of`, a batch in `accumulate` parts."""
        if accumulate == 1:
            return gradients_of(apply, state, state.step, chosen)
        parts = jax.tree.map(lambda v: v.reshape(accumulate, -1, *v.shape[1:]), chosen)

        def part(total: Any, these: Any) -> tuple[Any, Any]:
            number, examples = these
            mean, gradients, buffers = gradients_of(
                replace(apply, buffers=total[2]), state, number, examples
            )
            added = jax.tree.map(jnp.add, total[:2], (mean, gradients))
            return (*added, buffers), None

        zero = jax.tree.map(jnp.zeros_like, (state.params, state.uncertainty))
        start = jnp.zeros((), jnp.float32), zero, apply.buffers
        numbers = state.step * accumulate + jnp.arange(accumulate)
        (mean, gradients, buffers), _ = lax.scan(part, start, (numbers, parts))
        mean, gradients = jax.tree.map(lambda v: v / accumulate, (mean, gradients))
        return mean, gradients, buffers

    @partial(jax.jit, donate_argnums=0)
    def train_steps(state: TrainState, examples: Any, indices: Any):
        def one(state: TrainState, batch: Any) -> tuple[TrainState, Any]:
            chosen = batch if examples is None else jax.tree.map(itemgetter(batch), examples)
            apply = replace(net, buffers=state.buffers)
            mean, gradients, buffers = in_parts(apply, state, chosen)
            trained = state.params, state.uncertainty
            # One after the other: clipping together would let one silence the other.
            (params, first), (uncertainty, second) = map(
                advance, state.opt_state, gradients, trained, (mean, mean)
            )
            params, step = net.normalized(params), state.step + 1
            ema = tuple(
                _lerp(average, params, share(step))
                for average, share in zip(state.ema, averages, strict=True)
            )
            state = state._replace(
                step=step,
                params=params,
                ema=ema,
                buffers=buffers,
                uncertainty=uncertainty,
                opt_state=(first, second),
            )
            return state, mean

        return lax.scan(one, state, indices)

    return train_steps


def in_training(apply: Trainable, key: Key[Array, ""], number: Any) -> tuple[Any, Any]:
    """The function that a loss is given, and one that returns the buffers after its call.

    Networks without state are given as they are.
    """
    if not isinstance(apply, Adapted):
        return apply, lambda: apply.buffers
    # A number that no other fold of this key has: small ones are those of `random.split`.
    key = random.fold_in(random.fold_in(key, number), DROPOUT)
    after = apply.buffers

    def called(params: Arrays, x: PyTree, c_noise: Any, cond: PyTree = None) -> PyTree:
        nonlocal after
        output, after = apply.train(params, key, x, c_noise, cond)
        return output

    return called, lambda: after


def _lerp(old: Arrays, new: Arrays, share: Float[Array, ""]) -> Arrays:
    """`(1 - share) old + share new`: exactly `new` at 1, and no rounding of 1 - share near 0."""

    def one(a, b):
        return jnp.where(share < 0.5, a + share * (b - a), b - (1 - share) * (b - a))

    return jax.tree.map(one, old, new)
