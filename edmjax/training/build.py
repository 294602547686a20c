"""The objects that a configuration names: network, optimiser, averages; losses: `objectives`."""

import dataclasses
import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optax
from flax import nnx
from optax import contrib

from edmjax import losses
from edmjax.nn.functional import Arrays
from edmjax.nn.patch_unet import PatchUNet
from edmjax.nn.score_net import ScoreNet
from edmjax.nn.unet import UNet
from edmjax.training import ema
from edmjax.training.config import LossConfig, NetConfig, OptimConfig

_NETS: dict[str, Any] = {"unet": UNet, "patch_unet": PatchUNet, "score_net": ScoreNet}
_NUM_BLOCKS: dict[str, Any] = {"unet": int, "patch_unet": list, "score_net": ()}

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


def build_net(
    config: NetConfig, image_shape: tuple[int, ...], num_classes: int = 0, *, rngs: nnx.Rngs
) -> nnx.Module:
    """The network that a configuration names, for images of this shape.

    `num_classes` is the number of classes of the dataset; it is used with `config.classes` alone.
    """
    options = {k: v for k, v in dataclasses.asdict(config).items() if v is not None}
    name = options.pop("name")
    classes = options.pop("classes", False)
    if classes and not num_classes:
        raise ValueError(
            "net.classes gives the network the class of an image, and these data have no classes: "
            "leave it null, or pass `num_classes`."
        )
    options["num_classes"] = num_classes if classes else 0
    blocks, wants = options.get("num_blocks"), _NUM_BLOCKS[name]
    if blocks is not None and not isinstance(blocks, wants):
        says = {int: "is one number", list: "has a number for each level", (): "does not exist"}
        raise ValueError(f"net.num_blocks {says[wants]} for {name}; got {blocks!r}.")
    if name != "patch_unet" and "patch" in options:
        raise ValueError(f"net.patch is an option of patch_unet; {name} has none: leave it null.")
    return _NETS[name](image_shape, rngs=rngs, **options)


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
    rate = _schedule(config, config.learning_rate)
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
            adam_learning_rate=rate if other is None else _schedule(config, other),
            muon_weight_dimension_numbers=_matrices,
            consistent_rms=0.2,  # the size of Adam's updates, so that rates are of Adam's size
        )
    if config.clip_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)


def _schedule(config: OptimConfig, peak: float) -> optax.Schedule:
    warmup_steps = int(config.warmup * config.steps)
    if config.decay == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, config.steps)
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
