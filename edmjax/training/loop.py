"""A whole training run, which a second call of the same run continues."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import yaml
from flax import nnx
from jax import random
from jax.sharding import Mesh
from tqdm import tqdm

from edmjax._common.mesh import to_host
from edmjax.nn.functional import Arrays, Functional, functional
from edmjax.training.build import build_averages, build_loss, build_net, build_uncertainty
from edmjax.training.checkpoints import WEIGHTS, Checkpoints, save_weights
from edmjax.training.config import Config, identity
from edmjax.training.data import Dataset
from edmjax.training.distributed import agree, gather_flags, is_first
from edmjax.training.feed import Feed
from edmjax.training.files import make_directory, write_file
from edmjax.training.finite import check_losses, check_state
from edmjax.training.loss_log import LossLog, plot_losses
from edmjax.training.mesh import check_batch, make_mesh, shard_state, shard_steps
from edmjax.training.optimizers import build_optimizer
from edmjax.training.signals import Stopped, stop_requests
from edmjax.training.snapshots import save_snapshots
from edmjax.training.state import init_state, make_batch_loss, make_train_steps


def train(
    config: Config, dataset: Dataset, *, mesh: Mesh | None = None, progress: bool = True
) -> tuple[Functional, Arrays]:
    """The pair `(net, params)` of a trained network, `params` being the averaged parameters.

    Writes into `config.out`: `config.yaml`, `checkpoint/`, `loss.csv`, `loss.png`,
    `weights.safetensors`, and `snapshots/` where `optim.ema_sigma_rel` asks for them. Called
    again with the same configuration it goes on from the newest checkpoint with the same batches
    and noise, and ends, on the same machine, with the same bits as a run that was never
    interrupted, also by `kill -9`.

    With a `mesh` (`make_mesh`) the batch and the state are split over its devices, and the result
    is that of one device but for the order of sums; without, one device does all, or all devices of
    all processes split the batch where there are several processes. `progress` shows a bar.

    Raises:
        ValueError: before anything is written, where `config.out` holds a checkpoint of another
            configuration, or the batch does not divide by the mesh; or no checkpoint is whole.
        OSError: a file cannot be written. The last checkpoint is kept.
        FloatingPointError: the loss or the state is not finite. The last checkpoint is kept.
        Stopped: SIGTERM or SIGINT (Ctrl-C) came, and the state was saved.
    """
    if mesh is None and jax.process_count() > 1:
        mesh = make_mesh()
    if mesh is not None:
        check_batch(config.optim.batch_size, mesh)
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
    if mesh is not None:
        state = shard_state(state, mesh)
        advance = shard_steps(advance, state, mesh)
    # Not where it lies: the same run in two directories leaves files with the same bytes.
    description = {
        **identity(config),
        "image_shape": list(dataset.image_shape),
        "num_classes": num_classes,
    }

    def save_weights_of(state, *, snapshots: bool) -> None:
        kept, buffers = to_host((state.ema, state.buffers))  # all processes take part
        if is_first():
            if snapshots and config.optim.ema_sigma_rel:
                save_snapshots(out, int(state.step), kept, buffers, description)
            save_weights(out / WEIGHTS, kept[0] | buffers, description)

    with Checkpoints(out / "checkpoint", identity(config)) as checkpoints, stop_requests() as asked:
        state = checkpoints.restore(state) or state
        step, total = int(state.step), config.optim.steps
        log = None
        if is_first():
            make_directory(out)
            write_file(
                out / "config.yaml",
                yaml.safe_dump(dataclasses.asdict(config), sort_keys=False).encode(),
            )
            log = LossLog(out / "loss.csv", step)
        gather_flags(0)  # until process 0 is here
        agree(int(out.is_dir()), f"whether there is a directory {out}")
        feed = Feed(config, dataset, mesh)
        # Steps a call. A divisor: a shorter last call would be compiled anew, for half a minute.
        num_steps = max(k for k in range(1, config.scan_steps + 1) if total % k == 0)
        if step == total:
            save_weights_of(state, snapshots=True)
        with tqdm(
            total=total,
            initial=step,
            unit="step",
            desc="train",
            disable=not (progress and is_first()),
        ) as bar:
            while step < total:
                state, losses = advance(state, *feed.steps(step, step + num_steps))
                losses = np.asarray(losses)
                if log is not None:
                    finite = np.isfinite(losses)
                    log.append(losses[: num_steps if finite.all() else finite.argmin()].tolist())
                check_losses(losses, step, feed, batch_loss, random.key(config.seed))
                before, step = step, step + num_steps
                _show(bar, losses, config.optim.batch_size)
                # Together: each process may have got its signal in another call.
                number = max(gather_flags(asked()))
                every = config.checkpoint_every
                due = step == total or step // every > before // every
                if due or number:
                    check_state(state)
                    # Weights first: where there is a checkpoint, its weights are there too. No
                    # snapshots of a stop: they would be others than those of a run without it.
                    save_weights_of(state, snapshots=due)
                    checkpoints.save(state)
                if number:
                    raise Stopped(number, step, total)
    if log is not None:
        plot_losses(out / "loss.csv", out / "loss.png")
    return Functional(apply.graphdef, state.buffers), state.ema[0]


def _show(bar: tqdm, losses: np.ndarray, batch_size: int) -> None:
    bar.update(len(losses))
    if not bar.disable:
        seen = bar.format_dict
        rate = seen["rate"] or (seen["n"] - seen["initial"]) / seen["elapsed"]
        bar.set_postfix_str(f"loss {losses.mean():.3g}, {rate * batch_size:,.0f} images/s")
