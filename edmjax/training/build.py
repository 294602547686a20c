"""The objects that a configuration names: network, loss, denoiser, averages."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from flax import nnx

from edmjax import denoisers, losses
from edmjax.nn.functional import Arrays
from edmjax.nn.patch_unet import PatchUNet
from edmjax.nn.score_net import ScoreNet
from edmjax.nn.unet import UNet
from edmjax.training import ema
from edmjax.training.config import LossConfig, NetConfig, OptimConfig

_NETS: dict[str, Any] = {"unet": UNet, "patch_unet": PatchUNet, "score_net": ScoreNet}
_NUM_BLOCKS: dict[str, Any] = {"unet": int, "patch_unet": list, "score_net": ()}


def build_net(
    config: NetConfig, image_shape: tuple[int, ...], num_classes: int = 0, *, rngs: nnx.Rngs
) -> nnx.Module:
    """The network that a configuration names, for images of this shape.

    `num_classes` is how many classes the dataset has; without `config.classes` it is not used.
    """
    options = {k: v for k, v in dataclasses.asdict(config).items() if v is not None}
    name = options.pop("name")
    classes = options.pop("classes", False)
    if classes and not num_classes:
        raise ValueError(
            "net.classes tells the network the class of an image, and these data have no classes: "
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


def build_loss(config: LossConfig) -> Callable[..., Any]:
    """The loss `(net, params, x0, key, cond=None) -> PerSample` that a configuration names."""
    if config.name == "dsm":
        return partial(
            losses.dsm_per_sample, sigma=config.sigma, eps=config.eps, stratified=config.stratified
        )
    return partial(
        losses.edm_per_sample,
        sigma_data=config.sigma_data,
        p_mean=config.p_mean,
        p_std=config.p_std,
        stratified=config.stratified,
    )


def build_uncertainty(config: LossConfig, image_shape: tuple[int, ...]) -> Arrays | None:
    """The first parameters of the loss's learned weighting; None where it has none."""
    return losses.init_uncertainty(math.prod(image_shape)) if config.uncertainty else None


def build_denoiser(config: LossConfig, net: Any) -> Any:
    """The denoiser `(x, sigma) -> E[x0 | x]` of a network trained with this loss."""
    if config.name == "dsm":
        return denoisers.song(net, config.sigma)
    return denoisers.edm(net, config.sigma_data)


def build_averages(config: OptimConfig) -> Sequence[ema.Share]:
    """How fast each average of the parameters follows them; samples are drawn with the first."""
    if config.ema_sigma_rel is None:
        return [ema.exponential(config.ema_decay)]
    return [ema.power_function(sigma_rel) for sigma_rel in config.ema_sigma_rel]
