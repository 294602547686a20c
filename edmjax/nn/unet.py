"""A small residual U-Net for images of any size that halves as often as it has levels."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from edmjax._common.arguments import whole
from edmjax.nn import _options
from edmjax.nn._network import ImageNetwork
from edmjax.nn._options import DType
from edmjax.nn.conditions import Kinds
from edmjax.nn.convolutions import Conv, Impl
from edmjax.nn.layers import GroupNorm, Linear, alike, parts

_Levels: TypeAlias = "nnx.List[nnx.List[ResidualBlock]]"
_zeros = nnx.initializers.zeros


class UNet(ImageNetwork):
    """A residual U-Net: `net(x, c_noise)` gives `F`, shaped like `x`, `(batch, h, w, channels)`.

    A level has `num_blocks` residual blocks. Between levels, 2x2 pixels are averaged on the way
    down and repeated on the way up, where each block also reads the output of its mirror image. At
    the coarsest level come a block, self-attention and another block. The noise level's Fourier
    features, the class and the vector enter each block as a scale and a shift after its second
    norm. The last layers start at zero, so blocks and attention start as the identity and the
    network as zero.

    `channels` are the widths of the levels, finest first. Inside, an image is padded with zeros to
    sides that `2 ** (len(channels) - 1)` divides, and the output is cut to the sides of `x`. The
    parameters do not depend on the size.

    The condition is a class (`num_classes`), a vector of `cond_vector` entries, an image with
    `cond_image` channels (resized to `x`, and read beside it by the first layer) or several of
    these, as a dict with the names `label`, `vector` and `image`.

    `dtype` is the dtype of the activations, float32 by default; bfloat16 is for accelerators.
    Parameters are float32, under x64 too; statistics, the noise level's embedding and the output
    are float32 or wider.

    Source: Ho et al. 2020, appendix B, with the scale-shift norm of Dhariwal and Nichol 2021,
    section 3.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (32, 32, 3),
        *,
        channels: Sequence[int] = (64, 128),
        num_blocks: int = 1,
        embed_dim: int = 256,
        fourier_scale: float = 1.0,
        num_heads: int = 1,
        num_classes: int = 0,
        cond_vector: int = 0,
        cond_image: int = 0,
        impl: Impl = "auto",
        dtype: DType | None = None,
        rngs: nnx.Rngs,
    ):
        channels, num_blocks = _options.widths(channels), whole(num_blocks, "num_blocks", least=0)
        kinds = Kinds.of(num_classes, cond_vector=cond_vector, cond_image=cond_image)
        levels: dict[str, Any] = dict(num_levels=len(channels), factor=2 ** (len(channels) - 1))
        super().__init__(image_shape, kinds, embed_dim, fourier_scale, **levels, rngs=rngs)
        layer: dict[str, Any] = dict(dtype=_options.activations(dtype), rngs=rngs)
        options: dict[str, Any] = dict(embed_dim=embed_dim, impl=impl, **layer)

        convolution: dict[str, Any] = dict(padding=1, impl=impl, **layer)
        before = channels[0]  # the width of the block that was made last

        def block(width: int, skipped: int = 0) -> ResidualBlock:
            nonlocal before
            inputs, before = before + skipped, width
            return ResidualBlock(inputs, width, **options)

        self.first: Conv = Conv(self.image_channels + kinds.image, before, **convolution)
        self.down: _Levels = nnx.List(
            [nnx.List([block(width) for _ in range(num_blocks)]) for width in channels]
        )
        self.middle: nnx.List[ResidualBlock | SelfAttention] = nnx.List(
            [block(before), SelfAttention(before, num_heads, **layer), block(before)]
        )
        # Each block on the way up reads what its mirror image on the way down returned, too.
        self.up: _Levels = nnx.List(
            [
                nnx.List([block(width, skipped=width) for _ in range(num_blocks)])
                for width in reversed(channels)
            ]
        )
        self.norm: GroupNorm = GroupNorm(before)
        self.last: Conv = Conv(before, self.image_channels, kernel_init=_zeros, **convolution)

    def _layers(self, x: Array, embedding: Array) -> Array:
        x = self.first(x)
        skips = []
        for level, blocks in enumerate(self.down):
            x = halve(x) if level else x
            for block in blocks:
                x = block(x, embedding)
                skips.append(x)
        for block in self.middle:
            x = block(x, embedding)
        for level, blocks in enumerate(self.up):
            x = double(x) if level else x
            for block in blocks:
                x = block(jnp.concatenate([x, skips.pop()], axis=-1), embedding)
        return self.last(nnx.swish(self.norm(x)))


class ResidualBlock(nnx.Module):
    """`skip(x) + conv(swish(scale * norm(conv(swish(norm(x)))) + shift))`, from `in` to `out`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        embed_dim: int,
        impl: Impl,
        dtype: DType | None = None,
        rngs: nnx.Rngs,
    ):
        layer: dict[str, Any] = dict(dtype=dtype, rngs=rngs)
        options: dict[str, Any] = dict(padding=1, impl=impl, **layer)
        self.norm1: GroupNorm = GroupNorm(in_channels)
        self.conv1: Conv = Conv(in_channels, out_channels, **options)
        self.modulate: nnx.Linear = nnx.Linear(
            embed_dim, 2 * out_channels, kernel_init=_zeros, **layer
        )
        self.norm2: GroupNorm = GroupNorm(out_channels)
        self.conv2: Conv = Conv(out_channels, out_channels, kernel_init=_zeros, **options)
        self.skip: Linear | None = (
            Linear(in_channels, out_channels, **layer) if in_channels != out_channels else None
        )

    def __call__(self, x: Array, embedding: Array) -> Array:
        scale, shift = (part[:, None, None] for part in parts(self.modulate, embedding, 2))
        h = self.conv1(nnx.swish(self.norm1(x)))
        h = self.norm2(h)
        h = self.conv2(nnx.swish(h * alike(1 + scale, h) + alike(shift, h)))
        return h + (x if self.skip is None else self.skip(x))


class SelfAttention(nnx.Module):
    """`x + W attention(norm(x))` over all pixels of an image."""

    def __init__(
        self, channels: int, num_heads: int, *, dtype: DType | None = None, rngs: nnx.Rngs
    ):
        if channels % whole(num_heads, "num_heads"):
            raise ValueError(f"{num_heads} heads cannot share {channels} channels evenly.")
        self.num_heads: int = num_heads
        self.norm: GroupNorm = GroupNorm(channels)
        self.qkv: Linear = Linear(channels, 3 * channels, dtype=dtype, rngs=rngs)
        self.out: Linear = Linear(channels, channels, kernel_init=_zeros, dtype=dtype, rngs=rngs)

    def __call__(self, x: Array, embedding: Array) -> Array:
        del embedding  # same call as a block's
        batch, height, width, channels = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, height * width, 3, self.num_heads, -1)
        h = jax.nn.dot_product_attention(*jnp.moveaxis(qkv, 2, 0))
        return x + self.out(h.reshape(batch, height, width, channels))


def halve(x: Array) -> Array:
    """The means over 2x2 pixels."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def double(x: Array) -> Array:
    """Each pixel four times."""
    return x.repeat(2, axis=1).repeat(2, axis=2)
