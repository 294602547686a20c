"""Networks `net(x, c_noise) -> F` in Flax NNX; they know nothing of sigma, the denoiser does."""

from edmjax._common.extras import missing

try:
    from edmjax.nn.convolutions import Conv, ConvTranspose, conv, conv_transpose
    from edmjax.nn.dit import DiT
    from edmjax.nn.edm2_unet import EDM2UNet
    from edmjax.nn.embeddings import Buffer, FourierFeatures
    from edmjax.nn.functional import Functional, functional
    from edmjax.nn.layers import GroupNorm
    from edmjax.nn.magnitude import Normalized, normalized
    from edmjax.nn.mlp import MLP
    from edmjax.nn.patch_unet import PatchUNet
    from edmjax.nn.score_net import ScoreNet
    from edmjax.nn.unet import UNet
except ModuleNotFoundError as _err:
    raise missing(_err, "edmjax.nn", "train") from _err

__all__ = [
    "MLP",
    "Buffer",
    "Conv",
    "ConvTranspose",
    "DiT",
    "EDM2UNet",
    "FourierFeatures",
    "Functional",
    "GroupNorm",
    "Normalized",
    "PatchUNet",
    "ScoreNet",
    "UNet",
    "conv",
    "conv_transpose",
    "functional",
    "normalized",
]


def __dir__() -> list[str]:
    return __all__
