"""A whole training run, which a second call of the same run continues."""

import dataclasses
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import yaml
from flax import nnx
from jax import random
from tqdm import tqdm

from edmjax.nn.functional import Arrays, Functional, functional
from edmjax.training.checkpoints import WEIGHTS, Checkpoints, save_weights
from edmjax.training.config import (
    Config,
    build_averages,
    build_loss,
    build_net,
    build_optimizer,
    build_uncertainty,
    identity,
)
from edmjax.training.data import Dataset, batch_indices
from edmjax.training.loss_log import LossLog, plot_losses
from edmjax.training.state import init_state, make_batch_loss, make_train_steps


def train(config: Config, dataset: Dataset, *, progress: bool = True) -> tuple[Functional, Arrays]:
    """The pair `(net, params)` of a trained network, `params` being the averaged parameters.

    Writes into `config.out`: `config.yaml`, `checkpoint/`, `loss.csv`, `loss.png` and
    `weights.safetensors`. Called again with the same configuration it goes on from the newest
    checkpoint with the same batches and noise, and ends, on the same machine, with the same bits as
    a run that was never interrupted. `ValueError`, before anything is written, where `config.out`
    holds a checkpoint of another configuration; `FloatingPointError` when the loss is not finite.
    """
    out = Path(config.out)
    num_classes = dataset.num_classes if config.net.classes else 0
    net = build_net(config.net, dataset.image_shape, num_classes, rngs=nnx.Rngs(config.seed))
    apply, params = functional(net)
    optimizer = build_optimizer(config.optim)
    averages = build_averages(config.optim)
    state = init_state(
        apply,
        params,
        optimizer,
        random.key(config.seed),
        num_averages=len(averages),
        uncertainty=build_uncertainty(config.loss, dataset.image_shape),
    )
    batch_loss = make_batch_loss(
        build_loss(config.loss),
        dataset.scale,
        num_classes=num_classes,
        label_dropout=config.loss.label_dropout,
    )
    advance = make_train_steps(apply, batch_loss, optimizer, averages)
    description = {
        **dataclasses.asdict(config),
        "image_shape": list(dataset.image_shape),
        "num_classes": num_classes,
    }

    with Checkpoints(out / "checkpoint", identity(config)) as checkpoints:
        state = checkpoints.restore(state) or state
        out.mkdir(parents=True, exist_ok=True)
        _write_config(out / "config.yaml", config)
        log = LossLog(out / "loss.csv", int(state.step))
        examples = jax.device_put(dataset.examples(labels=bool(config.net.classes)))
        total, batch_size = config.optim.steps, config.optim.batch_size
        # Steps a call. A divisor: a shorter last call would be compiled anew, for half a minute.
        num_steps = max(k for k in range(1, max(1, config.scan_steps) + 1) if total % k == 0)
        with tqdm(
            total=total, initial=log.step, unit="step", desc="train", disable=not progress
        ) as bar:
            while log.step < total:
                start, stop = log.step, log.step + num_steps
                indices = jnp.stack(
                    [
                        batch_indices(config.seed, step, batch_size, len(dataset.images))
                        for step in range(start, stop)
                    ]
                )
                state, losses = advance(state, examples, indices)
                losses = np.asarray(losses)
                _check_finite(losses, start)
                log.append(losses.tolist())
                _show(bar, losses, batch_size)
                if (
                    stop == total
                    or stop // config.checkpoint_every > start // config.checkpoint_every
                ):
                    checkpoints.save(state)
                    save_weights(out / WEIGHTS, state.ema[0] | state.buffers, description)
    plot_losses(out / "loss.csv", out / "loss.png")
    return Functional(apply.graphdef, state.buffers), state.ema[0]


def _write_config(path: Path, config: Config) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(yaml.safe_dump(dataclasses.asdict(config), sort_keys=False))
    os.replace(temporary, path)


def _check_finite(losses: np.ndarray, start: int) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        raise FloatingPointError(
            f"The loss is {losses[bad[0]]} at step {start + bad[0] + 1}, so training stops; the "
            "last checkpoint is of an earlier step. Lower optim.learning_rate or "
            "optim.clip_norm, or lengthen optim.warmup, and start in a new directory."
        )


def _show(bar: tqdm, losses: np.ndarray, batch_size: int) -> None:
    bar.update(len(losses))
    if not bar.disable:
        seen = bar.format_dict
        rate = seen["rate"] or (seen["n"] - seen["initial"]) / seen["elapsed"]
        bar.set_postfix_str(f"loss {losses.mean():.3g}, {rate * batch_size:,.0f} images/s")
