"""`AutoencoderKL` of diffusers: images to latents and back."""

from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from edmjax.nn.convolutions import Impl
from edmjax.nn.layers import GroupNorm
from edmjax.pretrained.networks.blocks import Middle, Row, down_row, image_middle, up_row
from edmjax.pretrained.networks.layers import ACTIVATIONS, Conv, Style
from edmjax.pretrained.options import (
    Option,
    count,
    either,
    flag,
    ignored,
    only,
    optional,
    per_level,
    real,
    several,
)

OPTIONS = {
    "in_channels": Option(3, count),
    "out_channels": Option(3, count),
    "down_block_types": Option(("DownEncoderBlock2D",), several(only("DownEncoderBlock2D"))),
    "up_block_types": Option(("UpDecoderBlock2D",), several(only("UpDecoderBlock2D"))),
    "block_out_channels": Option((64,), several(count)),
    "layers_per_block": Option(1, count),
    "act_fn": Option("silu", only(*ACTIVATIONS)),
    "latent_channels": Option(4, count),
    "norm_num_groups": Option(32, count),
    "sample_size": Option(32, either(count, several(count))),
    "scaling_factor": Option(0.18215, real),
    "shift_factor": Option(None, optional(real)),
    "latents_mean": Option(None, only(None)),
    "latents_std": Option(None, only(None)),
    "force_upcast": Option(True, flag),
    "use_quant_conv": Option(True, flag),
    "use_post_quant_conv": Option(True, flag),
    "mid_block_add_attention": Option(True, flag),
    "double_z": Option(True, only(True)),  # in files of before it was an option of the encoder
    "dropout": Option(0.0, ignored),
}
_EPSILON = 1e-6


class _Half(nnx.Module):
    """What the encoder and the decoder share: the middle, and the ends."""

    def __init__(
        self, config: SimpleNamespace, inputs: int, outputs: int, ends: Any, impl: Impl, rngs: Any
    ):
        coarse = config.block_out_channels[-1]
        style = Style(config.norm_num_groups, _EPSILON, config.act_fn, impl)
        self.style: Style = style
        self.conv_in: Conv = style.conv(inputs, ends[0], rngs=rngs)
        # One head, as wide as the image has channels.
        width = coarse if config.mid_block_add_attention else None
        self.mid_block: Middle = image_middle(
            coarse, 0, style, width=width, groups=style.groups, rngs=rngs
        )
        self.conv_norm_out: GroupNorm = style.norm(ends[1])
        self.conv_out: Conv = style.conv(ends[1], outputs, rngs=rngs)

    def _last(self, h: Array) -> Array:
        return self.conv_out(nnx.silu(self.conv_norm_out(h)))


class Encoder(_Half):
    """Images to the mean and the log-variance of their latents, as many pixels apart as levels."""

    def __init__(self, config: SimpleNamespace, *, impl: Impl, rngs: nnx.Rngs):
        channels, layers = config.block_out_channels, config.layers_per_block
        ends, outputs = (channels[0], channels[-1]), 2 * config.latent_channels
        super().__init__(config, config.in_channels, outputs, ends, impl, rngs)
        per_level(config.down_block_types, len(channels), "down_block_types")
        rows, before = [], channels[0]
        for level, width in enumerate(channels):
            change = "conv" if level < len(channels) - 1 else None
            how: dict[str, Any] = dict(change=change, padding=0, rngs=rngs)
            rows.append(down_row(before, width, layers, 0, self.style, **how))
            before = width
        self.down_blocks: nnx.List[Row] = nnx.List(rows)

    def __call__(self, x: Float[Array, "batch height width channels"]) -> Array:
        h = self.conv_in(x)
        for row in self.down_blocks:
            h = row.down(h, None)[-1]
        return self._last(self.mid_block(h, None))


class Decoder(_Half):
    """Latents to images."""

    def __init__(self, config: SimpleNamespace, *, impl: Impl, rngs: nnx.Rngs):
        channels, layers = config.block_out_channels, config.layers_per_block
        ends = (channels[-1], channels[0])
        super().__init__(config, config.latent_channels, config.out_channels, ends, impl, rngs)
        per_level(config.up_block_types, len(channels), "up_block_types")
        rows, before = [], channels[-1]
        for level, width in enumerate(channels[::-1]):
            change = "conv" if level < len(channels) - 1 else None
            skipped = [0] * (layers + 1)
            rows.append(up_row(before, width, skipped, 0, self.style, change=change, rngs=rngs))
            before = width
        self.up_blocks: nnx.List[Row] = nnx.List(rows)

    def __call__(self, z: Float[Array, "batch height width channels"]) -> Array:
        h = self.mid_block(self.conv_in(z), None)
        for row in self.up_blocks:
            h = row.up(h, None, None)
        return self._last(h)


class AutoencoderKL(nnx.Module):
    """The mean and the log-variance of latents (`moments`), and images of latents (`decode`)."""

    def __init__(self, config: SimpleNamespace, *, impl: Impl = "auto", rngs: nnx.Rngs):
        how: dict[str, Any] = dict(impl=impl, rngs=rngs)
        latent = config.latent_channels
        self.encoder: Encoder = Encoder(config, **how)
        self.decoder: Decoder = Decoder(config, **how)
        if config.use_quant_conv:
            self.quant_conv: Conv = Conv(2 * latent, 2 * latent, 1, **how)
        if config.use_post_quant_conv:
            self.post_quant_conv: Conv = Conv(latent, latent, 1, **how)

    def moments(self, x: Float[Array, "batch height width channels"]) -> tuple[Array, Array]:
        h = self.encoder(x.astype(self.encoder.conv_in.kernel.dtype))
        h = self.quant_conv(h) if hasattr(self, "quant_conv") else h
        mean, log_var = jnp.split(_wide(h, x), 2, axis=-1)
        return mean, jnp.clip(log_var, -30, 20)

    def decode(self, z: Float[Array, "batch height width channels"]) -> Array:
        h = z.astype(self.decoder.conv_in.kernel.dtype)
        h = self.post_quant_conv(h) if hasattr(self, "post_quant_conv") else h
        return _wide(self.decoder(h), z)


def _wide(h: Array, x: Array) -> Array:
    return h.astype(jnp.promote_types(x.dtype, jnp.float32))
