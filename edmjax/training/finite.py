"""Stopping where a number is not finite: what the step was given; no checkpoint holds any."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edmjax.training.feed import Feed
from edmjax.training.state import TrainState

_REMEDY = (
    "Lower optim.learning_rate or optim.clip_norm, or lengthen optim.warmup, and start in a new "
    "directory. The last checkpoint is of an earlier step, and is kept."
)


def check_losses(
    losses: np.ndarray, start: int, feed: Feed, batch_loss: Callable[..., Any], key: Any
) -> None:
    """Raises `FloatingPointError` for the first loss that is not finite, with its step's inputs.

    `losses` are those of the steps from `start` on, counted from 0 (from 1 in the sentence, as in
    loss.csv). Indices and noise levels are those of the batch, in its order: they are functions of
    the seed and the step, and are computed again here.
    """
    bad = np.flatnonzero(~np.isfinite(losses))
    if not bad.size:
        return
    step = start + int(bad[0])

    def no_network(params, x, c_noise, cond=None):
        return jnp.zeros_like(x)

    sigma = np.asarray(batch_loss(no_network, {}, key, step, feed.batch(step)).sigma)
    levels = ", ".join(f"{level:.4g}" for level in sigma)
    raise FloatingPointError(
        f"The loss is {losses[bad[0]]} at step {step + 1}, so training stops. {_REMEDY} The step's "
        f"noise levels go from {sigma.min():.4g} to {sigma.max():.4g}. Its batch has the indices "
        f"{feed.indices(step).tolist()} with the noise levels [{levels}]."
    )


def check_state(state: TrainState) -> None:
    """Raises `FloatingPointError` where the state is not finite: a finite loss can hide that."""
    names = [name for name, ok in zip(state.params, _finite(state.params), strict=True) if not ok]
    if names or not all(_finite((state.ema, state.uncertainty, state.opt_state))):
        what = f"the parameter {names[0]}" if names else "an average or a moment of the optimizer"
        raise FloatingPointError(
            f"After step {int(state.step)} {what} is not finite, so training stops. {_REMEDY}"
        )


@jax.jit
def _all_finite(leaves: list[Any]) -> list[Any]:
    return [jnp.isfinite(leaf).all() for leaf in leaves]


def _finite(tree: Any) -> list[bool]:
    return [bool(ok) for ok in _all_finite(jax.tree.leaves(tree))]
