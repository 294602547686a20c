"""A whole training run, as a configuration describes it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
from flax import nnx
from jax import random
from jax.sharding import Mesh

from edmjax._common.arguments import describe
from edmjax.nn.functional import Arrays
from edmjax.training import build
from edmjax.training.config import Config, identity
from edmjax.training.data import Dataset
from edmjax.training.data.own import look_up
from edmjax.training.data.units import Units
from edmjax.training.defaults import Measured, measured, resolved
from edmjax.training.devices import is_first, make_mesh
from edmjax.training.errors import DataError
from edmjax.training.longer import Start, check_data, found_start, load_start, started
from edmjax.training.loop import Callback, Task, run
from edmjax.training.mesh import check_batch
from edmjax.training.networks import Trainable, adapted
from edmjax.training.objectives import build_denoiser, build_loss
from edmjax.training.watch import watchers


def train(
    config: Config,
    dataset: Dataset,
    *,
    mesh: Mesh | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> tuple[Trainable, Arrays]:
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
    from; they are not read where there is a checkpoint.

    With a `mesh` (`make_mesh`) the batch and the state are split over its devices, and the result
    equals the result of one device up to the order of sums. Without a mesh one device does all the
    work; where there are several processes, all their devices split the batch. `callbacks` are
    called with a `Progress` after every compiled call, beside those of `config.callbacks`.
    `progress` shows a bar.

    Raises:
        ValueError: before anything is written, if `config.out` holds a checkpoint of another
            configuration, all its checkpoints are damaged, the run is complete and only its rates
            are others, nothing of `config.init` fits, or the mesh cannot split the batch.
        OSError: a file cannot be written. The last checkpoint is kept.
        FloatingPointError: the loss or the state is not finite. The last checkpoint is kept.
        Stopped: SIGTERM or SIGINT (Ctrl-C) came, and the state was saved.
    """
    mesh = mesh_of_run(mesh, config.optim.batch_size)
    config, dataset, known, start = prepared(config, dataset)
    if start is None:
        check_data(config.out, dataset, config)
    num_classes = dataset.num_classes if config.net.classes else 0
    if num_classes and is_first():
        dataset.tell_absent()
    described = build.with_frequencies(config.net, config.loss)
    conditions = dataset.conditions
    net = build.build_net(
        described,
        dataset.image_shape,
        num_classes,
        cond_shapes=conditions and conditions.shapes,
        rngs=nnx.Rngs(config.seed),
    )
    apply, params = adapted(net)
    task = Task(
        net=apply,
        params=params,
        start=None if start is None else partial(load_start, config, start, apply, params),
        optimizer=build.build_optimizer(config.optim),
        loss=build_loss(config.loss),
        denoiser=partial(build_denoiser, config.loss),
        key=random.key(config.seed),
        seed=config.seed,
        about=identity(config),
        num_classes=num_classes,
    )
    callbacks = [*watchers(config, dataset, known, num_classes, mesh), *callbacks]
    callbacks += [_callback(name) for name in config.callbacks or []]
    state, _ = run(
        config,
        dataset,
        task,
        known=known,
        out=Path(config.out),
        mesh=mesh,
        callbacks=callbacks,
        progress=progress,
    )
    params, buffers = state.kept
    return replace(apply, buffers=buffers), params


def _callback(name: str) -> Callback:
    found = look_up(name)
    if not callable(found):
        raise DataError(
            f"{name} must be a function of one `training.Progress`, got {describe(found)}."
        )
    return found


class Prepared(NamedTuple):
    """A configuration without open entries, its data as the network sees them, and its start."""

    config: Config
    dataset: Dataset
    known: Measured | None
    start: Start | None


def prepared(config: Config, dataset: Dataset) -> Prepared:
    """What `config` leaves to the data and to `config.init` is decided; once more, nothing changes.

    Raises what `found_start` raises, and `DataError` where a sample is several arrays.
    """
    if not isinstance(dataset.units, Units):
        raise DataError(
            f"{dataset.name}: a sample is several arrays, and a configuration names no network for "
            "such: train one of your own with ej.training.fit."
        )
    dataset = dataset.hiding(bool(config.loss.cond_dropout))
    start = None
    if config.init is not None:
        start = found_start(config.init, config.out)
        dataset, config = started(start, dataset, config)
    known = measured(dataset)
    config = resolved(config, dataset, known)
    config = replace(config, net=build.named_net(config.net, dataset.image_shape))
    return Prepared(config, dataset, known, start)


def mesh_of_run(mesh: Mesh | None, batch_size: int) -> Mesh | None:
    """The mesh of a run: all devices where there are several processes, and none was given.

    `ValueError` where the batch does not split evenly along `data`.
    """
    if mesh is None and jax.process_count() > 1:
        mesh = make_mesh()
    if mesh is not None:
        check_batch(batch_size, mesh)
    return mesh
