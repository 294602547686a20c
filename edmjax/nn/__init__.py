"""Networks `net(x, c_noise) -> F` in Flax NNX; what sigma is, the denoiser knows."""

from edmjax.nn.convolutions import (
    Conv as Conv,
    ConvTranspose as ConvTranspose,
    conv as conv,
    conv_transpose as conv_transpose,
)
from edmjax.nn.embeddings import Buffer as Buffer, FourierFeatures as FourierFeatures
from edmjax.nn.functional import Functional as Functional, functional as functional
from edmjax.nn.group_norm import GroupNorm as GroupNorm
from edmjax.nn.patch_unet import PatchUNet as PatchUNet
from edmjax.nn.score_net import ScoreNet as ScoreNet
from edmjax.nn.unet import UNet as UNet
