"""A whole training run, which a second call of the same run resumes."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import random
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key
from tqdm import tqdm

from edmjax._common.typing import PyTree
from edmjax.nn.functional import Arrays, Functional, functional
from edmjax.training import build
from edmjax.training.checkpoints import Checkpoints
from edmjax.training.config import Config, identity
from edmjax.training.data import Dataset
from edmjax.training.defaults import measured, resolved
from edmjax.training.devices import gather_flags, is_first, make_mesh
from edmjax.training.errors import Stopped, stop_requests
from edmjax.training.longer import continued, load_start, steps_of_a_call
from edmjax.training.mesh import Feed, check_batch, shard_state, shard_steps
from edmjax.training.objectives import build_loss
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


def train(
    config: Config, dataset: Dataset, *, mesh: Mesh | None = None, progress: bool = True
) -> tuple[Functional, Arrays]:
    """The pair `(net, params)` of a trained network, `params` being the averaged parameters.

    Writes into `config.out`: `config.yaml`, `checkpoint/`, `loss.csv`, `loss.png`,
    `weights.safetensors`, and `snapshots/` where `optim.ema_sigma_rel` asks for them. Called
    again with the same configuration it resumes from the newest checkpoint with the same batches
    and noise, and ends, on the same machine, with the same bits as a run that was never
    interrupted, also after `kill -9`.

    Called again with more `optim.steps`, or other learning rates, the run is resumed with those
    from its newest checkpoint; a warning names each change. Where the rates of the steps that were
    taken already are equal in both (`optim.decay` "none", `optim.warmup` 0), it ends with the bits
    of a run that was as long from the start. `config.init` names the weights that step 0 starts
    from; it is not read where there is a checkpoint.

    With a `mesh` (`make_mesh`) the batch and the state are split over its devices, and the result
    equals the result of one device up to the order of sums. Without a mesh one device does all the
    work; where there are several processes, all their devices split the batch. `progress` shows a
    bar.

    Raises:
        ValueError: before anything is written, if `config.out` holds a checkpoint of another
            configuration, all its checkpoints are damaged, the run is complete and only its rates
            are others, `config.init` is of another network, or the mesh cannot split the batch.
        OSError: a file cannot be written. The last checkpoint is kept.
        FloatingPointError: the loss or the state is not finite. The last checkpoint is kept.
        Stopped: SIGTERM or SIGINT (Ctrl-C) came, and the state was saved.
    """
    if mesh is None and jax.process_count() > 1:
        mesh = make_mesh()
    if mesh is not None:
        check_batch(config.optim.batch_size, mesh)
    if dataset.cond is not None:
        raise ValueError(
            f"{dataset.name} holds conditions, and a run gives a network classes alone: leave "
            "`cond` out, or train with a loop of your own."
        )
    known = measured(dataset)
    config = resolved(config, dataset, known)

    # The network, its state at step 0, and the function that advances it.
    config = replace(config, net=build.named_net(config.net, dataset.image_shape))
    num_classes = dataset.num_classes if config.net.classes else 0
    described = build.with_frequencies(config.net, config.loss)
    net = build.build_net(described, dataset.image_shape, num_classes, rngs=nnx.Rngs(config.seed))
    apply, params = functional(net)
    optimizer = build.build_optimizer(config.optim)
    averages = build.build_averages(config.optim)

    def start(apply: Functional, params: Arrays) -> TrainState:
        state = init_state(
            apply,
            params,
            optimizer,
            random.key(config.seed),
            num_averages=len(averages),
            uncertainty=build.build_uncertainty(config.loss, dataset.image_shape),
        )
        return state if mesh is None else shard_state(state, mesh)

    state = start(apply, params)
    batch_loss = make_batch_loss(
        build_loss(config.loss),
        dataset.scale,
        num_classes=num_classes,
        label_dropout=config.loss.label_dropout,
    )
    advance = make_train_steps(apply, batch_loss, optimizer, averages)
    if mesh is not None:
        advance = shard_steps(advance, state, mesh)

    out, every = Path(config.out), config.checkpoint_every
    with Checkpoints(out / "checkpoint", identity(config)) as checkpoints, stop_requests() as asked:
        restored, total = checkpoints.restore(state), config.optim.steps
        if restored is not None:
            state, total = restored, max(total, int(restored.step))
            config = continued(config, checkpoints.restored or {}, int(state.step))
        elif config.init is not None:
            state = start(*load_start(config, apply, params))
        step = int(state.step)
        num_steps = steps_of_a_call(step, total, config.scan_steps)
        outputs = Outputs(config, dataset, known, num_classes, step)
        feed = Feed(config, dataset, mesh)
        if step == total:  # the run is complete: its weights may have been deleted since
            outputs.save_weights(state, snapshots=True)
        hidden = not (progress and is_first())
        with tqdm(total=total, initial=step, unit="step", desc="train", disable=hidden) as bar:
            while step < total:
                state, losses = advance(state, *feed.steps(step, step + num_steps))
                losses = np.asarray(losses)
                outputs.append(losses)
                check_losses(losses, step, feed, batch_loss, random.key(config.seed))
                before, step = step, step + num_steps
                _show(bar, losses, config.optim.batch_size)
                # All processes stop together, although a signal may reach each in a different call.
                signal = max(gather_flags(asked()))
                due = step == total or step // every > before // every
                if due or signal:
                    check_state(state)
                    # Weights first: a checkpoint always has its weights beside it. No snapshots at
                    # a stop: a run that was not stopped would not have them.
                    outputs.save_weights(state, snapshots=due)
                    checkpoints.save(state)
                if signal:
                    raise Stopped(signal, step, total)
    outputs.plot()
    return Functional(apply.graphdef, state.buffers), state.ema[0]


def check_losses(
    losses: Float[np.ndarray, " steps"],
    start: int,
    feed: Feed,
    batch_loss: BatchLoss,
    key: Key[Array, ""],
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
    sigma = np.asarray(batch_loss(zero, {}, key, step, feed.batch(step)).sigma)
    levels = ", ".join(f"{level:.4g}" for level in sigma)
    raise FloatingPointError(
        f"The loss is {losses[bad[0]]} at step {step + 1}, so training stops. {_REMEDY} The step's "
        f"noise levels go from {sigma.min():.4g} to {sigma.max():.4g}. Its batch has the indices "
        f"{feed.indices(step).tolist()} with the noise levels [{levels}]."
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
    bar.update(len(losses))
    if not bar.disable:
        seen = bar.format_dict
        rate = seen["rate"] or (seen["n"] - seen["initial"]) / seen["elapsed"]
        bar.set_postfix_str(f"loss {losses.mean():.3g}, {rate * batch_size:,.0f} images/s")
