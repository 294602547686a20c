"""The loop of a training run, which a second call of the same run resumes."""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key
from tqdm import tqdm

from edmjax._common.typing import Denoiser, Network, PyTree
from edmjax.nn.functional import Arrays
from edmjax.training import build
from edmjax.training.checkpoints import Checkpoints
from edmjax.training.config import Config
from edmjax.training.data import Dataset
from edmjax.training.defaults import Measured
from edmjax.training.devices import gather_flags, is_first
from edmjax.training.errors import DataError, Stopped, stop_requests
from edmjax.training.feed import Feed
from edmjax.training.held_out import HeldOut, split
from edmjax.training.longer import continued, steps_of_a_call
from edmjax.training.mesh import shard_state, shard_steps
from edmjax.training.networks import Trainable
from edmjax.training.objectives import Loss
from edmjax.training.outputs import Outputs
from edmjax.training.state import (
    BatchLoss,
    TrainState,
    init_state,
    make_batch_loss,
    make_train_steps,
)

_REMEDY = (
    "Lower optim.learning_rate or optim.clip_norm, or lengthen optim.warmup, and start in a new "
    "directory. The last checkpoint is of an earlier step, and is kept."
)


class Progress(NamedTuple):
    """What a callback is told after each compiled call of a run.

    Attributes:
        step: steps taken.
        total: steps of the whole run.
        losses: of the steps of this call.
        held_out: the held-out loss, where this call measured it.
        denoiser: a function that returns the denoiser with the averaged parameters, as
            `ej.sample` takes it. Its arrays are the run's own: use it before the callback returns.
    """

    step: int
    total: int
    losses: Float[np.ndarray, " steps"]
    held_out: float | None
    denoiser: Callable[[], Denoiser]

    def passed(self, every: int) -> bool:
        """Whether this call ended the run, or went past a multiple of `every` steps."""
        before = self.step - len(self.losses)
        return self.step == self.total or self.step // every > before // every


Callback: TypeAlias = Callable[[Progress], object]


class Task(NamedTuple):
    """What a run computes, beside its configuration and its data.

    Attributes:
        net, params: the network and its parameters at step 0.
        start: returns the two that a new run starts from, in place of these; None for these.
        optimizer: of the parameters.
        loss: `(net, params, x0, key, cond=None) -> PerSample`.
        denoiser: the denoiser of a network that was trained with it.
        key: of the noise.
        seed: of the batches.
        about: what a resumed run must have in common with the run before.
        num_classes: 0 for a network that is not given classes.
    """

    net: Trainable
    params: Arrays
    start: Callable[[], tuple[Trainable, Arrays]] | None
    optimizer: optax.GradientTransformation
    loss: Loss
    denoiser: Callable[[Network], Denoiser]
    key: Key[Array, ""]
    seed: int
    about: dict[str, Any]
    num_classes: int


def run(
    config: Config,
    dataset: Dataset,
    task: Task,
    *,
    known: Measured | None,
    out: Path | None,
    mesh: Mesh | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> tuple[TrainState, Float[np.ndarray, " steps"]]:
    """The state after all steps, and the losses; see `train` and `fit`, which raise what this does.

    Without `out` nothing is written, and nothing can be resumed.
    """
    optim, key = config.optim, task.key
    averages = build.build_averages(optim)
    if config.held_out is not None and dataset.stream is not None:
        raise DataError(
            f"{dataset.name} gives batches without end, of which none can be held out: leave "
            "`held_out` out."
        )
    which, held_out = split(len(dataset), config.held_out, task.seed)
    trained_on = len(dataset) if which is None else len(which)
    if trained_on < optim.batch_size and dataset.stream is None:
        raise DataError(
            f"{dataset.name}: there are {trained_on} samples to train on, fewer than a batch of "
            f"{optim.batch_size}: lower optim.batch_size."
        )
    shapes = jax.tree.leaves(dataset.image_shape, is_leaf=lambda shape: isinstance(shape, tuple))
    entries = sum(math.prod(shape) for shape in shapes)
    uncertainty = build.build_uncertainty(config.loss, (entries,))

    def begin(net: Trainable, params: Arrays) -> TrainState:
        state = init_state(
            net,
            params,
            task.optimizer,
            key,
            num_averages=len(averages),
            uncertainty=uncertainty,
            keep_best=config.keep == "best",
        )
        return state if mesh is None else shard_state(state, mesh)

    state = begin(task.net, task.params)
    batch_loss = make_batch_loss(
        task.loss,
        dataset.scale,
        num_classes=task.num_classes,
        label_dropout=config.loss.label_dropout,
        conditions=dataset.conditions,
        cond_dropout=config.loss.cond_dropout or 0.0,
    )
    accumulate = optim.accumulate or 1
    advance = make_train_steps(
        task.net, batch_loss, task.optimizer, averages, accumulate=accumulate
    )
    if mesh is not None:
        advance = shard_steps(advance, state, mesh)

    checkpoints = None if out is None else Checkpoints(out / "checkpoint", task.about)
    with checkpoints or contextlib.nullcontext(), stop_requests() as asked:
        restored, total = checkpoints and checkpoints.restore(state), optim.steps
        if checkpoints is not None and restored is not None:
            state, total = restored, max(total, int(restored.step))
            config = continued(config, checkpoints.restored or {}, int(state.step))
        elif task.start is not None:
            state = begin(*task.start())
        step = int(state.step)
        num_steps = steps_of_a_call(step, total, config.scan_steps)
        labels = bool(task.num_classes)
        feed = Feed(
            dataset,
            task.seed,
            optim.batch_size,
            mesh,
            labels=labels,
            which=which,
            in_memory=config.data_in_memory,
        )
        if step < total:
            feed.restore(step, checkpoints and checkpoints.data)
        judge = None
        if len(held_out):
            examples = feed.at(held_out)
            judge = HeldOut(task.net, batch_loss, examples, key, optim.batch_size)
        outputs = None
        if out is not None:
            outputs = Outputs(config, dataset, known, task.num_classes, step, task.about)
            if step == total:  # the run is complete: its weights may have been deleted since
                outputs.save_weights(state, snapshots=True)
        hidden, seen = not (progress and is_first()), []
        with tqdm(total=total, initial=step, unit="step", desc="compile", disable=hidden) as bar:
            while step < total:
                try:
                    batches = feed.steps(step, step + num_steps)
                except Exception:  # such as a file that cannot be decoded: no step is lost
                    _keep(state, outputs, checkpoints, feed)
                    raise
                state, losses = advance(state, *batches)
                losses = np.asarray(losses)
                seen.append(losses)
                if outputs is not None:
                    outputs.append(losses)
                check_losses(losses, step, feed, batch_loss, key, accumulate)
                step += num_steps
                _show(bar, losses, optim.batch_size)
                now = Progress(step, total, losses, None, partial(_denoiser, task, state))
                # All processes stop together, although a signal may reach each in a different call.
                signal = max(gather_flags(asked()))
                due = now.passed(config.checkpoint_every)
                if judge is not None and (due or now.passed(config.watch_every or total)):
                    state, loss = judge.measure(state)
                    now = now._replace(held_out=loss)
                    if outputs is not None:
                        outputs.append_held_out(step, loss)
                if outputs is not None and checkpoints is not None and (due or signal):
                    check_state(state)
                    # Weights first: a checkpoint always has its weights beside it. No snapshots at
                    # a stop: a run that was not stopped would not have them.
                    outputs.save_weights(state, snapshots=due)
                    checkpoints.save(state, feed.state)
                try:
                    for callback in callbacks:
                        callback(now)
                except Exception:  # of the user's: no step is lost
                    if jax.process_count() == 1:  # others may not have raised, and would wait
                        check_state(state)
                        _keep(state, outputs, checkpoints, feed)
                    raise
                if signal:
                    raise Stopped(signal, step, total, saved=out is not None)
        check_state(state)
    if outputs is None:
        return state, np.concatenate(seen) if seen else np.zeros(0, np.float32)
    outputs.plot()
    return state, outputs.losses


def _keep(
    state: TrainState, outputs: Outputs | None, checkpoints: Checkpoints | None, feed: Feed
) -> None:
    """Writes the weights and a checkpoint, where there is a place for them."""
    if outputs is not None and checkpoints is not None:
        outputs.save_weights(state, snapshots=False)
        checkpoints.save(state, feed.state)


def _denoiser(task: Task, state: TrainState) -> Denoiser:
    return task.denoiser(bound(task.net, state.ema[0], state.buffers))


def bound(net: Trainable, params: Arrays, buffers: Arrays) -> Network:
    """The network with these arrays, as a denoiser takes it."""
    return replace(net, buffers=buffers).bind(params)


def check_losses(
    losses: Float[np.ndarray, " steps"],
    start: int,
    feed: Feed,
    batch_loss: BatchLoss,
    key: Key[Array, ""],
    accumulate: int = 1,
) -> None:
    """Raises `FloatingPointError` for the first loss that is not finite, with its step's inputs.

    `losses` are the losses of the steps from `start` on, counted from 0 (from 1 in the message, as
    in loss.csv). Indices and noise levels are given in the order of the batch: they are functions
    of the seed and the step, and are computed again here.
    """
    bad = np.flatnonzero(~np.isfinite(losses))
    if not bad.size:
        return
    step = start + int(bad[0])

    # The levels do not depend on the network, so one that returns zeros will do.
    zero = lambda params, x, c_noise, cond=None: jnp.zeros_like(x)  # noqa: E731
    batch = jax.tree.map(lambda v: v.reshape(accumulate, -1, *v.shape[1:]), feed.batch(step))
    parts = [
        batch_loss(zero, {}, key, step * accumulate + i, jax.tree.map(itemgetter(i), batch)).sigma
        for i in range(accumulate)
    ]
    sigma = np.concatenate([np.asarray(part) for part in parts])
    levels = ", ".join(f"{level:.4g}" for level in sigma)
    raise FloatingPointError(
        f"The loss is {losses[bad[0]]} at step {step + 1}, so training stops. {_REMEDY} The step's "
        f"noise levels go from {sigma.min():.4g} to {sigma.max():.4g}. Its batch "
        f"{feed.where(step)} with the noise levels [{levels}]."
    )


def check_state(state: TrainState) -> None:
    """Raises `FloatingPointError` where the state is not finite, which a finite loss can hide."""
    names = [name for name, ok in zip(state.params, _finite(state.params), strict=True) if not ok]
    if names or not all(_finite((state.ema, state.uncertainty, state.opt_state))):
        what = f"the parameter {names[0]}" if names else "an average or a moment of the optimizer"
        raise FloatingPointError(
            f"After step {int(state.step)} {what} is not finite, so training stops. {_REMEDY}"
        )


@jax.jit
def _finite(tree: PyTree) -> list[jax.Array]:
    """Whether each leaf is finite throughout."""
    return [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]


def _show(bar: tqdm, losses: np.ndarray, batch_size: int) -> None:
    bar.set_description("train", refresh=False)
    bar.update(len(losses))
    if not bar.disable:
        seen = bar.format_dict
        rate = seen["rate"] or (seen["n"] - seen["initial"]) / seen["elapsed"]
        bar.set_postfix_str(f"loss {losses.mean():.3g}, {rate * batch_size:,.0f} images/s")
