"""The networks that are read, by the names of their classes: a module and its options."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from edmjax.pretrained.networks import dit, edm2, kl, preconds, unet2d, unet2d_condition
from edmjax.pretrained.options import Option


class Kind(NamedTuple):
    """A class: what it is, its module here, and its options or how a configuration has them.

    It is a part of diffusers' pipelines (unet, transformer, vae), or "precond": a network of NVlabs
    with its preconditioning.
    """

    part: str
    module: type[Any]
    options: Mapping[str, Option] | Callable[[Mapping[str, Any]], Mapping[str, Option]]


CLASSES: Mapping[str, Kind] = {
    "UNet2DModel": Kind("unet", unet2d.UNet2DModel, unet2d.OPTIONS),
    "UNet2DConditionModel": Kind(
        "unet", unet2d_condition.UNet2DConditionModel, unet2d_condition.OPTIONS
    ),
    "DiTTransformer2DModel": Kind("transformer", dit.DiTTransformer2DModel, dit.OPTIONS),
    "AutoencoderKL": Kind("vae", kl.AutoencoderKL, kl.OPTIONS),
    "Precond": Kind("precond", edm2.Precond, edm2.OPTIONS),
    "EDMPrecond": Kind("precond", preconds.EDMPrecond, preconds.EDMPrecond.OPTIONS),
    "VPPrecond": Kind("precond", preconds.VPPrecond, preconds.VPPrecond.OPTIONS),
    "VEPrecond": Kind("precond", preconds.VEPrecond, preconds.VEPrecond.OPTIONS),
    "iDDPMPrecond": Kind("precond", preconds.IDDPMPrecond, preconds.IDDPMPrecond.OPTIONS),
}
