"""Networks `net(x, c_noise) -> F` in Flax NNX; what sigma is, the denoiser knows."""

from edmjax.nn.convolutions import Conv, ConvTranspose, conv, conv_transpose
from edmjax.nn.embeddings import Buffer, FourierFeatures
from edmjax.nn.functional import Functional, functional
from edmjax.nn.group_norm import GroupNorm
from edmjax.nn.patch_unet import PatchUNet
from edmjax.nn.score_net import ScoreNet
from edmjax.nn.unet import UNet

__all__ = [
    "Buffer",
    "Conv",
    "ConvTranspose",
    "FourierFeatures",
    "Functional",
    "GroupNorm",
    "PatchUNet",
    "ScoreNet",
    "UNet",
    "conv",
    "conv_transpose",
    "functional",
]


def __dir__() -> list[str]:
    return __all__
