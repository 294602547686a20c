"""The objects that a configuration names: network, optimiser, averages; losses: `objectives`."""

import dataclasses
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from optax import contrib

from edmjax import losses
from edmjax._common.arguments import describe
from edmjax.nn.dit import DiT
from edmjax.nn.edm2_unet import EDM2UNet
from edmjax.nn.functional import Arrays
from edmjax.nn.mlp import MLP
from edmjax.nn.patch_unet import PatchUNet
from edmjax.nn.score_net import ScoreNet
from edmjax.nn.unet import UNet
from edmjax.training import ema
from edmjax.training.config import LossConfig, NetConfig, OptimConfig
from edmjax.training.data.own import look_up
from edmjax.training.networks import FORMS, adapted

_NETS: dict[str, Any] = {
    "mlp": MLP,
    "unet": UNet,
    "patch_unet": PatchUNet,
    "score_net": ScoreNet,
    "edm2_unet": EDM2UNet,
    "dit": DiT,
}
_NUM_BLOCKS: dict[str, Any] = {"patch_unet": list, "score_net": ()}  # of the others an int
# Entries of NetConfig that only some networks have.
_OF_SOME = {
    "channels": ("unet", "patch_unet", "score_net", "edm2_unet"),
    "patch": ("patch_unet", "dit"),
    "width": ("mlp", "dit"),
    "num_heads": ("unet", "edm2_unet", "dit"),
    "attention": ("edm2_unet",),
}
# The network of a sample with this many axes: vectors, sequences, images, volumes.
_BY_AXES = {1: "mlp", 2: "dit", 3: "unet", 4: "dit"}
_IMAGES = "images (height, width, channels)"
# What each network is for; the numbers are those of axes.
_FOR: dict[str, tuple[str, tuple[int, ...]]] = {
    "mlp": ("vectors (d,)", (1,)),
    "unet": (_IMAGES, (3,)),
    "patch_unet": (_IMAGES, (3,)),
    "score_net": (_IMAGES, (3,)),
    "edm2_unet": (_IMAGES, (3,)),
    "dit": (f"sequences (length, features), {_IMAGES} and volumes", (2, 3, 4)),
}
# Which conditions a network takes, by the names of `edmjax.nn.conditions.KINDS`.
TAKES: dict[str, tuple[str, ...]] = {
    "mlp": ("label", "vector"),
    "unet": ("label", "vector", "image"),
    "patch_unet": ("label", "vector", "image"),
    "score_net": ("label", "vector", "image"),
    "edm2_unet": ("label", "vector", "image"),
    "dit": ("label", "vector", "image", "sequence"),
}

# Muon makes matrices orthogonal; with fewer inputs or outputs than this, as in the last layer, that
# gains nothing.
SMALLEST = 16
# Muon's own coefficients, which are a part of its state: float32, whatever x64.
NEWTON_SCHULZ: Any = np.asarray((3.4445, -4.7750, 2.0315), np.float32)


def with_frequencies(net: NetConfig, loss: LossConfig) -> NetConfig:
    """`net` with a `fourier_scale` for timesteps, where the loss counts them and none is chosen.

    A network's own is for numbers such as log(sigma) / 4, which span 2.4 over the levels of `ddpm`.
    Of timesteps, 0 to 999, its features would be as of 1,000 unrelated levels.
    """
    if loss.name != "ddpm" or net.fourier_scale is not None or net.name not in _NETS:
        return net
    own = inspect.signature(_NETS[net.name].__init__).parameters.get("fourier_scale")
    if own is None:
        return net
    return dataclasses.replace(net, fourier_scale=2.4e-3 * own.default)


def named_net(config: NetConfig, shape: Sequence[int]) -> NetConfig:
    """`config` with the name of its network, which follows the shape of a sample where it is null.

    These are mlp for (d,), unet for (height, width, channels), dit for (length, features) and
    (depth, height, width, channels).
    """
    if config.name is not None:
        return config
    if len(shape) not in _BY_AXES:
        raise ValueError(
            f"There is no network for samples of shape {tuple(shape)}: they may have one axis "
            "(vectors) to four (volumes with channels). Reshape them, or name a network of your "
            "own, net.name package.module:Class."
        )
    return dataclasses.replace(config, name=_BY_AXES[len(shape)])


def build_net(
    config: NetConfig,
    image_shape: Sequence[int],
    num_classes: int = 0,
    *,
    cond_shapes: Mapping[str, Sequence[int]] | None = None,
    rngs: nnx.Rngs,
) -> Any:
    """The network that a configuration names, for samples of this shape.

    `num_classes` is the number of classes of the dataset; it is used with `config.classes` alone.
    `cond_shapes` are the shapes of the other conditions of a sample, as the network is given them:
    `vector` (d,), `image` with as many axes as a sample, `sequence` (length, features). The user's
    own class is called as `Class(image_shape, rngs=rngs, **config.options)`, where there are
    conditions with `num_classes`, `cond_vector`, `cond_image` and `cond_sequence`, which are the
    last numbers of these shapes; a function in place of the class may return any network that
    `networks.adapted` takes.

    Raises:
        ValueError: the network has no such option, does not take one of the conditions, or is not
            for samples of this shape; or what the user's class makes is no network.
    """
    config = named_net(config, image_shape)
    # Not by `asdict`, which would copy what the user's own options hold.
    entries = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    entries = {k: v for k, v in entries.items() if v is not None}
    name, own = entries.pop("name"), entries.pop("options", {})
    classes = entries.pop("classes", False)
    if classes and not num_classes:
        raise ValueError(
            "net.classes gives the network the class of an image, and these data have no classes: "
            "leave it null, or pass `num_classes`."
        )
    conditions = {
        f"cond_{kind}": shape[-1] for kind, shape in (cond_shapes or {}).items() if kind != "mask"
    }
    if classes:
        conditions["num_classes"] = num_classes
    if name not in _NETS:
        return _own_net(name, image_shape, entries, {**conditions, **own}, rngs)
    if own:
        raise ValueError(
            "net.options are those of a network of your own, net.name package.module:Class; those "
            f"of {name} are entries of net."
        )
    what, axes = _FOR[name]
    if len(image_shape) not in axes:
        raise ValueError(
            f"net.name {name} is for {what}, and a sample of these data has the shape "
            f"{tuple(image_shape)}: leave it null, and the network follows the shape."
        )
    _check_entries(name, entries, cond_shapes or {})
    return _NETS[name](tuple(image_shape), rngs=rngs, **entries, **conditions)


def _check_entries(name: str, entries: Mapping[str, Any], cond_shapes: Mapping[str, Any]) -> None:
    """Raises where a network of ours has no such option, or takes no such condition."""
    for entry, names in _OF_SOME.items():
        if entry in entries and name not in names:
            raise ValueError(
                f"net.{entry} is an option of {' and '.join(names)}; {name} has none: leave it "
                "null."
            )
    blocks, wants = entries.get("num_blocks"), _NUM_BLOCKS.get(name, int)
    if blocks is not None and not isinstance(blocks, wants):
        says = {int: "is one number", list: "has a number for each level", (): "does not exist"}
        raise ValueError(f"net.num_blocks {says[wants]} for {name}; got {blocks!r}.")
    for kind in cond_shapes:
        if kind not in TAKES[name] and not (kind == "mask" and "sequence" in TAKES[name]):
            takers = [net for net, kinds in TAKES.items() if kind in kinds]
            remedy = f"take {' or '.join(takers)}" if takers else "pass label, vector or the like"
            raise ValueError(
                f"{name} takes as a condition {', '.join(TAKES[name])}, and these data have the "
                f"condition {kind}: {remedy}."
            )


def _own_net(
    name: str, shape: Sequence[int], entries: Any, options: dict[str, Any], rngs: nnx.Rngs
) -> Any:
    if entries:
        raise ValueError(
            f"net.{next(iter(entries))} is an entry for the networks of edmjax: what {name} takes "
            "is in net.options."
        )
    make = look_up(name)
    try:
        net = make(tuple(shape), rngs=rngs, **options)
    except TypeError as err:
        given = ", ".join(["a sample's shape", "rngs", *options])
        raise ValueError(f"{name} was called with {given}: {err}") from err
    try:
        adapted(net)
    except TypeError as err:
        raise ValueError(f"{name} must make {FORMS}, and made {describe(net)}.") from err
    return net


def build_uncertainty(config: LossConfig, image_shape: tuple[int, ...]) -> Arrays | None:
    """The initial parameters of the loss's learned weighting; None where it has none."""
    return losses.init_uncertainty(math.prod(image_shape)) if config.uncertainty else None


def build_averages(config: OptimConfig) -> Sequence[ema.Share]:
    """The rate at which each average follows the parameters; samples are drawn with the first."""
    if config.ema_sigma_rel is None:
        return [ema.exponential(config.ema_decay)]
    return [ema.power_function(sigma_rel) for sigma_rel in config.ema_sigma_rel]


def build_optimizer(config: OptimConfig) -> optax.GradientTransformation:
    """The optimiser that a configuration names, clipping and learning rates included."""
    rate = schedule(config, config.learning_rate)
    if config.name == "adamw":
        if config.adam_learning_rate is not None:
            raise ValueError(
                "optim.adam_learning_rate is an option of muon; with adamw set optim.learning_rate."
            )
        optimizer = optax.adamw(rate, b2=config.b2, weight_decay=config.weight_decay)
    else:
        other = config.adam_learning_rate
        optimizer = contrib.muon(
            rate,
            ns_coeffs=NEWTON_SCHULZ,
            ns_steps=config.newton_schulz_steps,
            weight_decay=config.weight_decay,
            adam_b2=config.b2,
            adam_weight_decay=config.weight_decay,
            adam_learning_rate=rate if other is None else schedule(config, other),
            muon_weight_dimension_numbers=_matrices,
            consistent_rms=0.2,  # the size of Adam's updates, so that rates are of Adam's size
        )
    if config.clip_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)


def schedule(config: OptimConfig, peak: float) -> optax.Schedule:
    """The learning rate of each step, which grows to `peak` and decays as `config` says."""
    warmup_steps = int(config.warmup * config.steps)
    if config.decay == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, config.steps)
    if config.decay == "inverse_sqrt":
        start = config.decay_from or max(config.steps // 10, 1)

        def inverse_sqrt(step: Any) -> Any:
            step = jnp.asarray(step, jnp.float32)
            grown = jnp.minimum(step / warmup_steps, 1) if warmup_steps else 1.0
            return peak * grown / jnp.sqrt(jnp.maximum(step / start, 1))

        return inverse_sqrt
    # Joined: optax's own warmup_constant_schedule stays at 0 where there is no warm-up.
    warmup = optax.linear_schedule(0.0, peak, warmup_steps)
    last = 0.0 if config.decay == "linear" else peak
    rest = optax.linear_schedule(peak, last, config.steps - warmup_steps)
    return optax.join_schedules([warmup, rest], [warmup_steps])


def _matrices(params: Any) -> Any:
    """`MuonDimensionNumbers` for each matrix, whose last axis is the output; None for the rest."""

    def numbers(array: Any) -> contrib.MuonDimensionNumbers | None:
        *inputs, outputs = getattr(array, "shape", ()) or (0,)  # optax masks what it leaves out
        if not inputs or min(math.prod(inputs), outputs) < SMALLEST:
            return None
        return contrib.MuonDimensionNumbers(tuple(range(len(inputs))), (len(inputs),))

    return {name: numbers(array) for name, array in params.items()}
