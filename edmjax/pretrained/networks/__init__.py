"""The networks of diffusers, by the names of their classes: a module and its options."""

from collections.abc import Mapping
from typing import Any

from edmjax.pretrained.networks import unet2d
from edmjax.pretrained.options import Option

CLASSES: Mapping[str, tuple[type[Any], Mapping[str, Option]]] = {
    "UNet2DModel": (unet2d.UNet2DModel, unet2d.OPTIONS),
}
