"""The training loop as a function, for research code."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import numpy as np
import optax
from jax import random
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from edmjax._common.arguments import describe, whole
from edmjax._common.functions import check_function
from edmjax._common.typing import Denoiser, Network, PyTree
from edmjax.losses import PerSample
from edmjax.noise.keys import check_single_key
from edmjax.training import build
from edmjax.training.config import Config, LossConfig, OptimConfig
from edmjax.training.configured import mesh_of_run
from edmjax.training.data import Dataset
from edmjax.training.data.conditions import Given
from edmjax.training.data.streams import source_of, stream_of
from edmjax.training.defaults import measured, resolved
from edmjax.training.files import StrPath
from edmjax.training.longer import Start, check_data, fitting, found_start, started
from edmjax.training.loop import Callback, Task, bound, run
from edmjax.training.networks import adapted
from edmjax.training.objectives import build_denoiser, build_loss
from edmjax.training.outputs import describe_run
from edmjax.training.pretrained import Trained
from edmjax.training.state import TrainState

# `(net, params, x0, key, cond=None) -> PerSample`, as `ej.losses.edm_per_sample` is one.
LossFunction: TypeAlias = Callable[..., PerSample]
if TYPE_CHECKING:
    Data: TypeAlias = Dataset | PyTree | Callable[[int], PyTree] | Iterable[PyTree]
    Net: TypeAlias = object
    Optimizer: TypeAlias = optax.GradientTransformation
    Callbacks: TypeAlias = Sequence[Callback]
else:
    Data = Net = Optimizer = Callbacks = Any  # wrong ones must reach the messages below


class Fit(NamedTuple):
    """A trained network, as `fit` returns it.

    Attributes:
        denoise: the denoiser `(x, sigma, cond=None) -> E[x0 | x]` with the averaged parameters, as
            `ej.sample` takes it. It works on what the network saw: `to_data` turns samples into the
            units of the data, and `condition` conditions into what it is given.
        net: the network with the parameters of the last step, of the kind that was given.
        ema: the network with the averaged parameters, likewise; those of the best held-out loss
            with `keep` "best".
        losses: the mean loss of each step, shape (steps,).
        state: the state of the run after the last step.
        about: what the run was trained for.
        description: the same as the metadata of weights have it.
    """

    denoise: Denoiser
    net: Any
    ema: Any
    losses: Float[np.ndarray, " steps"]
    state: TrainState
    about: Trained
    description: dict[str, Any]

    def to_data(self, samples: PyTree) -> Any:
        """Samples in the units, shape and dtype of the data, as NumPy arrays."""
        if self.about.units is None:
            return samples
        return jax.tree.map(lambda u, v: u.to_data(np.asarray(v)), self.about.units, samples)

    def condition(self, cond: Given) -> PyTree:
        """What `denoise` is given for conditions in the units of the data.

        Axis 0 counts samples, or has length 1 for all of them. Errors as those of
        `Trained.condition`.
        """
        return self.about.condition(cond)


def fit(
    net: Net,
    data: Data,
    *,
    loss: str | LossConfig | LossFunction = "edm",
    optimizer: Optimizer | None = None,
    steps: int = 10_000,
    batch_size: int = 128,
    key: Key[Array, ""],
    denoiser: Callable[[Network], Denoiser] | None = None,
    classes: bool = False,
    ema_decay: float | int = 0.999,
    held_out: float | None = None,
    keep: str | None = None,
    watch_every: int | None = None,
    accumulate: int | None = None,
    out: StrPath | None = None,
    init: "Fit | StrPath | None" = None,
    mesh: Mesh | None = None,
    callbacks: Callbacks = (),
    checkpoint_every: int = 500,
    scan_steps: int = 10,
    progress: bool = False,
) -> Fit:
    """Trains a network on data; the loop of `edmjax train`, for networks and losses of any kind.

    Args:
        net: a module of Flax NNX or Equinox, or a pair (Linen module, variables), (Haiku's
            transformed, params) or (function, params) with `function(params, x, c_noise[, cond])`;
            `edmjax.training.networks` says how each is called, in training and in sampling. It is
            not changed. It takes a batch, and one number a sample for the noise level.
        data: a `Dataset`, or what `Dataset.of` takes, an array or a pytree of arrays with samples
            on axis 0; or a function of the step, or an iterator, that gives batches, arrays or
            dictionaries with `x`, `y` and `cond`. Conditions are given to the network.
        loss: the name of a loss, a `LossConfig`, or a function `(net, params, x0, key, cond=None)`
            that returns a `PerSample`, such as `ej.losses.edm_per_sample` and its like, or a
            `functools.partial` of one.
        optimizer: any transformation of optax; None for AdamW at 1e-3 with a warm-up, a cosine
            decay over `steps`, and gradients clipped at 10.
        steps, batch_size: training steps in all, and samples in each.
        key: one typed key, of the batches, the noise, and Dropout.
        denoiser: with a `loss` that is a function, what makes a denoiser of the network, for
            example `functools.partial(ej.denoisers.edm, sigma_data=0.5)`.
        classes: whether the network is also given the classes of the dataset.
        ema_decay: of the moving average of the parameters; 0 for the parameters themselves.
        held_out: the share of the samples that is not trained on, though the scale of the data is
            measured on all. Its loss is measured every `watch_every` steps, with the same levels
            and noise each time.
        keep: "last", or "best" for the average with the least held-out loss. None is "last".
        watch_every: None for `checkpoint_every`.
        accumulate: parts of a batch that are computed one after the other, in less memory.
        out: a directory for what `edmjax train` writes: checkpoints, weights, losses. Called again,
            with the same arguments, the run is resumed with the same bits, or is longer with more
            `steps`. Without it nothing is written.
        init: a `Fit`, or the directory or weights of a run, from which step 0 starts; arrays that
            do not fit are left as `net` has them, and a warning names them.
        mesh: devices that split the batch and the state (`make_mesh`).
        callbacks: functions of one `Progress`, called after every compiled call.
        checkpoint_every: steps between checkpoints.
        scan_steps: most steps in one compiled call.
        progress: whether a bar is shown.

    Raises:
        TypeError: `net` is no network, the data hold no numbers, or an argument is of another type.
        ValueError: an argument is out of its range; the data have fewer samples than a batch, or
            are not finite; `out` holds another run, or one on other data.
        FloatingPointError: the loss or the state is not finite.
        OSError: a file cannot be written.
        Stopped: SIGTERM or SIGINT (Ctrl-C) came; with `out` the state was saved.
    """
    dataset = _dataset(data)
    check_single_key(key)
    if optimizer is not None and not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(
            "`optimizer` must be a transformation of optax, such as optax.adam(1e-3), got "
            f"{describe(optimizer)}."
        )
    if not isinstance(callbacks, Sequence):
        raise TypeError(f"`callbacks` must be a list of functions, got {describe(callbacks)}.")
    for number, callback in enumerate(callbacks):
        check_function(callback, f"callbacks[{number}]", "progress")
    named, function = _named(loss, denoiser)
    optim = OptimConfig(
        steps=steps, batch_size=batch_size, ema_decay=float(ema_decay), accumulate=accumulate
    )
    config = Config(
        data=dataset.name,
        out=str(out or ""),
        seed=int(random.bits(key)),
        loss=named,
        optim=optim,
        held_out=held_out,
        keep=keep,  # pyright: ignore[reportArgumentType]
        watch_every=watch_every,
        checkpoint_every=checkpoint_every,
        scan_steps=whole(scan_steps, "scan_steps"),
    )
    dataset = dataset.hiding(bool(named.cond_dropout))
    apply, params = adapted(net)
    start = None
    if init is not None:
        start = _arrays_of(init) if isinstance(init, Fit) else found_start(init, out)
        dataset, config = started(start, dataset, config)
    if classes and dataset.num_classes < 2:
        raise ValueError("`classes` is True, and the data have no classes: `Dataset.of(labels=)`.")
    if classes:
        dataset.tell_absent()
    if out is not None:
        check_data(out, dataset, config)
    known = measured(dataset)
    config = resolved(config, dataset, known)
    num_classes = dataset.num_classes if classes else 0
    make = denoiser or partial(build_denoiser, config.loss)
    identity = _identity(config, function, dataset)
    mesh = mesh_of_run(mesh, batch_size)
    state, losses = run(
        config,
        dataset,
        Task(
            net=apply,
            params=params,
            start=None if start is None else partial(fitting, start, apply, params),
            optimizer=build.build_optimizer(optim) if optimizer is None else optimizer,
            loss=build_loss(config.loss) if function is None else function,
            denoiser=make,
            key=key,
            seed=config.seed,
            about=identity,
            num_classes=num_classes,
        ),
        known=known,
        out=None if out is None else Path(out),
        mesh=mesh,
        callbacks=callbacks,
        progress=progress,
    )
    params, buffers = state.kept
    denoise = make(bound(apply, params, buffers))
    about = Trained(
        denoise,
        dataset.image_shape,
        num_classes,
        config.loss.label_dropout,
        dataset.clips(None),
        dataset.sample_units,
        dataset.conditions,
        config.loss.cond_dropout or 0.0,
    )
    last, averaged = (
        replace(apply, buffers=rest).merge(these)
        for these, rest in ((state.params, state.buffers), (params, buffers))
    )
    description = describe_run(config, dataset, known, num_classes, identity)
    return Fit(denoise, last, averaged, losses, state, about, description)


def _dataset(data: Any) -> Dataset:
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str | Path):
        raise TypeError(
            f"`data` must hold numbers, got the name {str(data)!r}: pass "
            f"training.load_dataset({str(data)!r})."
        )
    source = source_of(data, "data")
    return Dataset.of(data) if source is None else stream_of(source)


def _named(loss: Any, denoiser: Any) -> tuple[LossConfig, LossFunction | None]:
    """The configuration of a loss, and the function where it is the user's own."""
    if isinstance(loss, str):
        return LossConfig(name=loss), None  # pyright: ignore[reportArgumentType]
    if isinstance(loss, LossConfig):
        return loss, None
    check_function(loss, "loss", "net", "params", "x0", "key")
    if denoiser is None:
        raise ValueError(
            "With a `loss` that is a function pass `denoiser`, which makes a denoiser of the "
            "network that was trained with it, such as functools.partial(ej.denoisers.edm, "
            "sigma_data=0.5)."
        )
    return LossConfig(), loss


def _identity(config: Config, function: Any, dataset: Dataset) -> dict[str, Any]:
    """What a resumed run must have in common with the run before; the network: by its arrays."""
    optim = {k: getattr(config.optim, k) for k in ("steps", "batch_size", "ema_decay")}
    optim["accumulate"] = config.optim.accumulate or 1
    found: dict[str, Any] = {"net": None, "loss": asdict(config.loss), "optim": optim}
    if function is not None:
        while isinstance(function, partial):
            function = function.func
        found["loss_function"] = getattr(function, "__qualname__", type(function).__name__)
    found |= {"data": config.data, "samples": len(dataset), "seed": config.seed}
    return found | {"held_out": config.held_out, "keep": config.keep}


def _arrays_of(init: Fit) -> Start:
    params, buffers = init.state.kept
    return Start("the `Fit`", params | buffers, init.description)
