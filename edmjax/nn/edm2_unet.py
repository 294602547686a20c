"""The magnitude-preserving U-Net of EDM2, at small sizes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from edmjax._common.arguments import whole
from edmjax.nn import _options
from edmjax.nn._network import ImageNetwork
from edmjax.nn._options import DType
from edmjax.nn.conditions import Kinds
from edmjax.nn.convolutions import Impl
from edmjax.nn.layers import alike
from edmjax.nn.magnitude import (
    MPConditioning,
    MPConv,
    MPLinear,
    mp_cat,
    mp_silu,
    mp_sum,
    pixel_norm,
)
from edmjax.nn.unet import double, halve

_SHARE = 0.3  # of a residual branch, and of attention, in a sum


class EDM2UNet(ImageNetwork):
    """The U-Net of EDM2, config G: `net(x, c_noise)` gives `F`, `(batch, h, w, channels)`.

    All layers keep the magnitude of what they read, weights are normalised where they are used, and
    training scales them after each step (`Normalized`). Beside them only gains are trained: one in
    front of the embedding in each block and one at the output, which start at zero. The network
    starts as zero; its learning rate should be about 0.01, with a decay, since weights do not grow
    (`optim.decay: inverse_sqrt`).

    A level has `num_blocks` blocks on the way down and one more on the way up, each of which also
    reads an output of the way down. Blocks between levels average 2x2 pixels or repeat them; two
    more stand at the coarsest level. The blocks of the levels in `attention` (0 is the finest, None
    means the coarsest) and the first of these two attend to all pixels, in `num_heads` heads.

    `channels` are the widths of the levels, finest first. Inside, an image is padded with zeros to
    sides that `2 ** (len(channels) - 1)` divides, and the output is cut to the sides of `x`. The
    parameters do not depend on the size. Conditions and `dtype` are as in `UNet`; magnitudes are
    preserved for those with a mean square of about 1.

    Source: Karras et al. 2024 (arXiv 2312.02696), appendix B and figure 20.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (32, 32, 3),
        *,
        channels: Sequence[int] = (64, 128),
        num_blocks: int = 1,
        attention: Sequence[int] | None = None,
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
        coarsest = len(channels) - 1
        attending = {coarsest} if attention is None else _levels(attention, coarsest)
        levels: dict[str, Any] = dict(num_levels=len(channels), factor=2**coarsest)
        levels |= dict(embedding=MPConditioning, rngs=rngs)
        super().__init__(image_shape, kinds, embed_dim, fourier_scale, **levels)
        layer: dict[str, Any] = dict(impl=impl, dtype=_options.activations(dtype), rngs=rngs)
        before = channels[0]  # the width of the block that was made last

        def block(
            width: int, level: int, *, skipped: int = 0, attends: bool = False, **options: Any
        ) -> Block:
            nonlocal before
            inputs, before = before + skipped, width
            heads = num_heads if attends or level in attending else 0
            options |= dict(embed_dim=embed_dim, num_heads=heads, reads=skipped > 0)
            return Block(inputs, width, **options, **layer)

        self.first: MPConv = MPConv(self.image_channels + kinds.image + 1, before, **layer)
        down, up, skips = [], [], [before]  # widths of the outputs of the way down
        for level, width in enumerate(channels):
            if level:
                down.append(block(before, level, resample=halve))
                skips.append(before)
            for _ in range(num_blocks):
                down.append(block(width, level))
                skips.append(before)
        up.append(block(before, coarsest, decodes=True, attends=True))
        up.append(block(before, coarsest, decodes=True))
        for level, width in reversed([*enumerate(channels)]):
            if level < coarsest:
                up.append(block(before, level, decodes=True, resample=double))
            for _ in range(num_blocks + 1):
                up.append(block(width, level, decodes=True, skipped=skips.pop()))
        self.down: nnx.List[Block] = nnx.List(down)
        self.up: nnx.List[Block] = nnx.List(up)
        self.last: MPConv = MPConv(before, self.image_channels, **layer)
        self.gain: nnx.Param[Array] = nnx.Param(jnp.zeros((), jnp.float32))

    def _layers(self, x: Array, embedding: Array) -> Array:
        x = self.first(jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1))
        skips = [x]
        for block in self.down:
            x = block(x, embedding)
            skips.append(x)
        for block in self.up:
            x = block(mp_cat(x, skips.pop()) if block.reads else x, embedding)
        return self.last(x, self.gain[...])


class Block(nnx.Module):
    """A residual block of the way down, or, with `decodes`, of the way up.

    With `c = 1 + gain W embedding`, which starts at 1, and `x` halved or doubled first:

        down:  x = pixel_norm(skip(x));  x = mp_sum(x, conv(mp_silu(c conv(mp_silu(x)))), 0.3)
        up:    y = conv(mp_silu(c conv(mp_silu(x))));  x = mp_sum(skip(x), y, 0.3)

    `skip` is a dense layer where the width changes. Attention follows where there are heads.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        embed_dim: int,
        num_heads: int = 0,
        decodes: bool = False,
        reads: bool = False,
        resample: Callable[[Array], Array] | None = None,
        impl: Impl = "auto",
        dtype: DType | None = None,
        rngs: nnx.Rngs,
    ):
        self.decodes: bool = decodes
        self.reads: bool = reads
        self.resample: Callable[[Array], Array] | None = resample
        layer: dict[str, Any] = dict(dtype=dtype, rngs=rngs)
        inner = in_channels if decodes else out_channels
        self.skip: MPLinear | None = (
            MPLinear(in_channels, out_channels, **layer) if in_channels != out_channels else None
        )
        self.conv1: MPConv = MPConv(inner, out_channels, impl=impl, **layer)
        # In float32: it is added to 1.
        self.modulate: MPLinear = MPLinear(embed_dim, out_channels, rngs=rngs)
        self.gain: nnx.Param[Array] = nnx.Param(jnp.zeros((), jnp.float32))
        self.conv2: MPConv = MPConv(out_channels, out_channels, impl=impl, **layer)
        self.attention: CosineAttention | None = (
            CosineAttention(out_channels, num_heads, **layer) if num_heads else None
        )

    def __call__(self, x: Array, embedding: Array) -> Array:
        x = x if self.resample is None else self.resample(x)
        if not self.decodes:
            x = pixel_norm(self._skipped(x))
        h = self.conv1(mp_silu(x))
        c = 1 + self.modulate(embedding, self.gain[...])
        h = self.conv2(mp_silu(h * alike(c[:, None, None], h)))
        x = mp_sum(self._skipped(x) if self.decodes else x, h, _SHARE)
        return x if self.attention is None else self.attention(x)

    def _skipped(self, x: Array) -> Array:
        return x if self.skip is None else self.skip(x)


class CosineAttention(nnx.Module):
    """`mp_sum(x, W attention(x), 0.3)` over all pixels of an image.

    Queries, keys and values have magnitude 1 in each head (equation 34).
    """

    def __init__(
        self, channels: int, num_heads: int, *, dtype: DType | None = None, rngs: nnx.Rngs
    ):
        if channels % whole(num_heads, "num_heads"):
            raise ValueError(f"{num_heads} heads cannot share {channels} channels evenly.")
        self.num_heads: int = num_heads
        self.qkv: MPLinear = MPLinear(channels, 3 * channels, dtype=dtype, rngs=rngs)
        self.out: MPLinear = MPLinear(channels, channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        batch, height, width, _ = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.num_heads, -1)
        h = jax.nn.dot_product_attention(*jnp.moveaxis(pixel_norm(qkv), 2, 0))
        return mp_sum(x, self.out(h.reshape(x.shape)), _SHARE)


def _levels(attention: Sequence[int], coarsest: int) -> set[int]:
    """`attention`, numbers of levels, of which there may be none."""
    if isinstance(attention, str) or not hasattr(attention, "__len__"):
        raise ValueError(
            f"`attention` are numbers of levels, 0 for the finest: [1]; got {attention!r:.80}."
        )
    return {
        whole(level, f"attention[{i}]", least=0, most=coarsest) for i, level in enumerate(attention)
    }
