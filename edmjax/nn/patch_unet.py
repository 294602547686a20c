"""A small residual U-Net on patches of pixels, which needs little arithmetic for its size."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from flax import nnx
from jaxtyping import Array

from edmjax._common.arguments import whole
from edmjax.nn import _options
from edmjax.nn._network import ImageNetwork
from edmjax.nn._options import DType
from edmjax.nn.conditions import Kinds
from edmjax.nn.convolutions import Conv, Impl
from edmjax.nn.layers import GroupNorm, Linear
from edmjax.nn.unet import ResidualBlock, double, halve

_Levels: TypeAlias = nnx.List[nnx.List[ResidualBlock]]
_zeros = nnx.initializers.zeros


class PatchUNet(ImageNetwork):
    """A residual U-Net on patches of pixels: `net(x, c_noise)` gives `F`, shaped like `x`.

    Patches of `patch` by `patch` pixels are the channels of the finest level, so that no layer
    works on single pixels; `x` is `(batch, height, width, channels)`. Level `l` has `num_blocks[l]`
    residual blocks of width `channels[l]`, half of them (rounded down) on the way down and the
    others on the way up; the coarsest level has all of its blocks in a row. Between levels, 2x2
    pixels are averaged or repeated, and a dense layer changes the width. On the way up each level
    adds the output that the way down had there.

    Inside, an image is padded with zeros to sides that `patch * 2 ** (len(channels) - 1)` divides,
    and the output is cut to the sides of `x`. The parameters do not depend on the size.

    Blocks, conditions and `dtype` are as in `UNet`; patches as in Luhman and Luhman 2022,
    "Improving diffusion model efficiency through patching".
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (28, 28, 1),
        *,
        channels: Sequence[int] = (48, 96),
        num_blocks: Sequence[int] = (1, 3),
        patch: int = 2,
        embed_dim: int = 128,
        fourier_scale: float = 16.0,
        num_classes: int = 0,
        cond_vector: int = 0,
        cond_image: int = 0,
        impl: Impl = "auto",
        dtype: DType | None = None,
        rngs: nnx.Rngs,
    ):
        channels, num_blocks = _options.widths(channels), _options.counts(num_blocks)
        if len(num_blocks) != len(channels):
            raise ValueError(
                "num_blocks counts the blocks of each level, so it is as long as channels: got "
                f"{list(num_blocks)} for {list(channels)}."
            )
        self.patch: int = whole(patch, "patch")
        kinds = Kinds.of(num_classes, cond_vector=cond_vector, cond_image=cond_image)
        factor = self.patch * 2 ** (len(channels) - 1)
        levels: dict[str, Any] = dict(num_levels=len(channels), factor=factor)
        super().__init__(image_shape, kinds, embed_dim, fourier_scale, **levels, rngs=rngs)
        pixels = self.patch**2 * self.image_channels
        layer: dict[str, Any] = dict(dtype=_options.activations(dtype), rngs=rngs)
        options: dict[str, Any] = dict(impl=impl, **layer)

        def blocks(level: int, number: int):
            width = channels[level]
            return nnx.List(
                [ResidualBlock(width, width, embed_dim=embed_dim, **options) for _ in range(number)]
            )

        def dense(a: int, b: int) -> Linear:
            return Linear(channels[a], channels[b], **layer)

        inputs = pixels + self.patch**2 * kinds.image
        self.first: Conv = Conv(inputs, channels[0], padding=1, **options)
        last = len(channels) - 1
        self.down: _Levels = nnx.List([blocks(i, num_blocks[i] // 2) for i in range(last)])
        self.narrower: nnx.List[Linear] = nnx.List([dense(i, i + 1) for i in range(last)])
        self.middle: nnx.List[ResidualBlock] = blocks(last, num_blocks[last])
        self.wider: nnx.List[Linear] = nnx.List([dense(i + 1, i) for i in range(last)])
        self.up: _Levels = nnx.List([blocks(i, -(-num_blocks[i] // 2)) for i in range(last)])
        self.norm: GroupNorm = GroupNorm(channels[0])
        self.last: Conv = Conv(channels[0], pixels, padding=1, kernel_init=_zeros, **options)

    def _layers(self, x: Array, embedding: Array) -> Array:
        h = self.first(_to_patches(x, self.patch))
        skips = []
        for blocks, layer in zip(self.down, self.narrower, strict=True):
            for block in blocks:
                h = block(h, embedding)
            skips.append(h)
            h = layer(halve(h))
        for block in self.middle:
            h = block(h, embedding)
        for blocks, layer in zip(reversed(self.up), reversed(self.wider), strict=True):
            h = skips.pop() + double(layer(h))
            for block in blocks:
                h = block(h, embedding)
        return _to_pixels(self.last(nnx.swish(self.norm(h))), self.patch)


def _to_patches(x: Array, patch: int) -> Array:
    batch, height, width, channels = x.shape
    rows, columns = height // patch, width // patch
    y = x.reshape(batch, rows, patch, columns, patch, channels).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, rows, columns, patch**2 * channels)


def _to_pixels(x: Array, patch: int) -> Array:
    batch, rows, columns, _ = x.shape
    y = x.reshape(batch, rows, columns, patch, patch, -1).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, rows * patch, columns * patch, -1)
