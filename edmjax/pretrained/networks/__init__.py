"""The networks of diffusers, by the names of their classes: a module and its options."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from edmjax.pretrained.networks import dit, kl, unet2d, unet2d_condition
from edmjax.pretrained.options import Option


class Kind(NamedTuple):
    """A class of diffusers: the part of a pipeline that it is, its module here, its options."""

    part: str
    module: type[Any]
    options: Mapping[str, Option]


CLASSES: Mapping[str, Kind] = {
    "UNet2DModel": Kind("unet", unet2d.UNet2DModel, unet2d.OPTIONS),
    "UNet2DConditionModel": Kind(
        "unet", unet2d_condition.UNet2DConditionModel, unet2d_condition.OPTIONS
    ),
    "DiTTransformer2DModel": Kind("transformer", dit.DiTTransformer2DModel, dit.OPTIONS),
    "AutoencoderKL": Kind("vae", kl.AutoencoderKL, kl.OPTIONS),
}
