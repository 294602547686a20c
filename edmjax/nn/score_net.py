"""The small U-Net of the score-SDE tutorial, for MNIST and other small images."""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from edmjax.nn import _options
from edmjax.nn._network import ImageNetwork, at_least, cut
from edmjax.nn._options import DType
from edmjax.nn.conditions import Kinds
from edmjax.nn.convolutions import Conv, ConvTranspose, Impl
from edmjax.nn.layers import GroupNorm, alike


class ScoreNet(ImageNetwork):
    """A U-Net of 3x3 convolutions without padding: `net(x, c_noise)` gives `F`, shaped like `x`.

    On the way down, convolutions with strides 1, 2, 2, 2; on the way up their transposes, each of
    which also reads the output of the way down at its size. After each come a dense map of the
    noise level's Fourier features, a group norm and a swish; the last is a transposed convolution
    alone. `F` is raw: the denoiser divides by the standard deviation of the noise. 1,115,297
    trained parameters for 28x28x1.

    A side of `n` pixels becomes `n - 2`, then `(n - 1) // 2` at each further level. So with four
    levels it has 17 pixels or more: a shorter one is padded with zeros inside, and the output is
    cut to the sides of `x`. The parameters do not depend on the size. Conditions are those of
    `UNet`.

    `dtype` is the dtype of the activations, float32 by default; bfloat16 is for accelerators.
    Parameters are float32, under x64 too; statistics, the noise level's embedding and the output
    are float32 or wider.

    Source: Song, "Generative Modeling by Estimating Gradients of the Data Distribution" (2021), its
    MNIST tutorial; Song et al. 2021 (arXiv 2011.13456) for the continuous-time training.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (28, 28, 1),
        *,
        channels: Sequence[int] = (32, 64, 128, 256),
        embed_dim: int = 256,
        fourier_scale: float = 30.0,
        num_classes: int = 0,
        cond_vector: int = 0,
        cond_image: int = 0,
        impl: Impl = "auto",
        dtype: DType | None = None,
        rngs: nnx.Rngs,
    ):
        channels, dtype = _options.widths(channels), _options.activations(dtype)
        kinds = Kinds.of(num_classes, cond_vector=cond_vector, cond_image=cond_image)
        levels: dict[str, Any] = dict(num_levels=len(channels), rngs=rngs)
        super().__init__(image_shape, kinds, embed_dim, fourier_scale, **levels)
        self.dtype: DType | None = dtype
        options: dict[str, Any] = dict(impl=impl, dtype=dtype, rngs=rngs)

        down, up, width = [], [], self.image_channels + kinds.image
        for level, features in enumerate(channels):
            stride, groups = (1, 4) if level == 0 else (2, 32)
            layer = Conv(width, features, stride=stride, use_bias=False, **options)
            down.append(_Level(layer, embed_dim, features, groups, dtype=dtype, rngs=rngs))
            width = features
        for features in channels[-2::-1]:
            layer = ConvTranspose(width, features, stride=2, use_bias=False, **options)
            up.append(_Level(layer, embed_dim, features, 32, dtype=dtype, rngs=rngs))
            width = 2 * features  # the next layer reads the way down's output too
        self.down: nnx.List[_Level] = nnx.List(down)
        self.up: nnx.List[_Level] = nnx.List(up)
        self.last: ConvTranspose = ConvTranspose(width, self.image_channels, **options)

    def _layers(self, x: Array, embedding: Array) -> Array:
        sides, skips = x.shape[1:-1], []
        # One pixel at the coarsest level; 2 m + 1 is the least that makes m, m + 2 at the first.
        x = at_least(x, 2**self.num_levels + 1)
        for level in self.down:
            x = level(x, embedding)
            skips.append(x)
        skips.pop()  # the coarsest output is where the way up starts
        for level in self.up:
            skip = skips.pop()
            # A stride of 2 rounds an even side down; the transposed layer puts the pixel back.
            rounded = tuple(
                wide - (2 * (n - 1) + 3)
                for n, wide in zip(x.shape[1:3], skip.shape[1:3], strict=True)
            )
            x = jnp.concatenate([level(x, embedding, rounded), skip], axis=-1)
        return cut(self.last(x), sides)


class _Level(nnx.Module):
    """A convolution, the noise level's share, a group norm and a swish."""

    def __init__(self, layer, embed_dim: int, features: int, groups: int, *, dtype, rngs):
        self.layer = layer
        self.dense = nnx.Linear(embed_dim, features, dtype=dtype, rngs=rngs)
        self.norm = GroupNorm(features, math.gcd(groups, features))  # gcd: uncommon widths

    def __call__(self, x, embedding, *args):
        x = self.layer(x, *args)
        x = x + alike(self.dense(embedding)[:, None, None, :], x)
        return nnx.swish(self.norm(x))
