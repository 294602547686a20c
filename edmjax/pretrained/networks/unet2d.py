"""`UNet2DModel` of diffusers: the U-Net of DDPM, with self-attention and classes."""

from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from edmjax._common.typing import Arraylike, PyTree
from edmjax.nn.convolutions import Impl
from edmjax.nn.layers import GroupNorm
from edmjax.pretrained.networks.blocks import Middle, Row, down_row, image_middle, up_row
from edmjax.pretrained.networks.conditions import Classes, class_embedding, given, levels_of
from edmjax.pretrained.networks.layers import (
    ACTIVATIONS,
    Conv,
    ImageAttention,
    Sinusoids,
    Style,
    TimestepEmbedding,
)
from edmjax.pretrained.options import (
    Option,
    count,
    either,
    flag,
    ignored,
    offset,
    only,
    optional,
    per_level,
    real,
    several,
)

_DOWN = ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D")
_UP = ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D")

OPTIONS = {
    "sample_size": Option(None, optional(either(count, several(count)))),
    "in_channels": Option(3, count),
    "out_channels": Option(3, count),
    "center_input_sample": Option(False, flag),
    "time_embedding_type": Option("positional", only("positional")),
    "time_embedding_dim": Option(None, optional(count)),
    "freq_shift": Option(0, offset),
    "flip_sin_to_cos": Option(True, flag),
    "down_block_types": Option(("DownBlock2D", *["AttnDownBlock2D"] * 3), several(only(*_DOWN))),
    "mid_block_type": Option("UNetMidBlock2D", only("UNetMidBlock2D", None)),
    "up_block_types": Option((*["AttnUpBlock2D"] * 3, "UpBlock2D"), several(only(*_UP))),
    "block_out_channels": Option((224, 448, 672, 896), several(count)),
    "layers_per_block": Option(2, count),
    "mid_block_scale_factor": Option(1, real),
    "downsample_padding": Option(1, only(0, 1)),
    "downsample_type": Option("conv", only("conv", "resnet")),
    "upsample_type": Option("conv", only("conv", "resnet")),
    "dropout": Option(0.0, ignored),
    "act_fn": Option("silu", only(*ACTIVATIONS)),
    "attention_head_dim": Option(8, optional(count)),
    "norm_num_groups": Option(32, count),
    "attn_norm_num_groups": Option(None, optional(count)),
    "norm_eps": Option(1e-5, real),
    "resnet_time_scale_shift": Option("default", only("default", "scale_shift")),
    "add_attention": Option(True, flag),
    "class_embed_type": Option(None, only(None, "timestep", "identity")),
    "num_class_embeds": Option(None, optional(count)),
    "num_train_timesteps": Option(None, ignored),
}


class UNet2DModel(nnx.Module):
    """The network `net(x, t, cond=None)` of images `(batch, height, width, channels)`.

    `t` is a timestep, one or one a sample. A network with classes takes `cond={"class_labels":
    labels}`.
    """

    def __init__(self, config: SimpleNamespace, *, impl: Impl = "auto", rngs: nnx.Rngs):
        channels, levels = config.block_out_channels, len(config.block_out_channels)
        downs = per_level(config.down_block_types, levels, "down_block_types")
        ups = per_level(config.up_block_types, levels, "up_block_types")
        embed = config.time_embedding_dim or 4 * channels[0]
        scale_shift = config.resnet_time_scale_shift == "scale_shift"
        style = Style(config.norm_num_groups, config.norm_eps, config.act_fn, impl, scale_shift)
        shared: dict[str, Any] = dict(rngs=rngs)

        self.style: Style = style
        self.center: bool = config.center_input_sample
        self.out_channels: int = config.out_channels
        self.conv_in: Conv = style.conv(config.in_channels, channels[0], rngs=rngs)
        self.time_proj: Sinusoids = Sinusoids(
            channels[0], config.flip_sin_to_cos, config.freq_shift
        )
        self.time_embedding: TimestepEmbedding = TimestepEmbedding(channels[0], embed, rngs=rngs)
        self.classes: Classes = Classes(config.class_embed_type, config.num_class_embeds)
        made = class_embedding(self.classes, channels[0], embed, rngs=rngs)
        if made is not None:
            self.class_embedding: nnx.Module = made

        def width(outputs: int) -> int:
            return config.attention_head_dim or outputs

        def change(kind: str, how: str, last: bool) -> str | None:
            if last:
                return None
            return "resnet" if kind.startswith("Resnet") else how if "Attn" in kind else "conv"

        def attention(kind: str, outputs: int) -> Any:
            groups, epsilon = config.norm_num_groups, config.norm_eps
            if "Attn" not in kind:
                return None
            return lambda i: ImageAttention(outputs, width(outputs), groups, epsilon, rngs=rngs)

        rows, before = [], channels[0]
        for i, (kind, outputs) in enumerate(zip(downs, channels, strict=True)):
            how: dict[str, Any] = dict(
                change=change(kind, config.downsample_type, i == levels - 1),
                padding=config.downsample_padding,
                **shared,
            )
            layers = config.layers_per_block
            rows.append(
                down_row(
                    before, outputs, layers, embed, style, attention=attention(kind, outputs), **how
                )
            )
            before = outputs
        self.down_blocks: nnx.List[Row] = nnx.List(rows)

        if config.mid_block_type is not None:
            groups = config.attn_norm_num_groups or (None if scale_shift else style.groups)
            self.mid_block: Middle = image_middle(
                before,
                embed,
                style,
                width=width(before) if config.add_attention else None,
                groups=groups,
                scale=config.mid_block_scale_factor,
                **shared,
            )

        rows, coarse = [], channels[::-1]
        for i, (kind, outputs) in enumerate(zip(ups, coarse, strict=True)):
            finer = coarse[min(i + 1, levels - 1)]
            skipped = [outputs] * config.layers_per_block + [finer]
            how = dict(change=change(kind, config.upsample_type, i == levels - 1), **shared)
            rows.append(
                up_row(
                    before,
                    outputs,
                    skipped,
                    embed,
                    style,
                    attention=attention(kind, outputs),
                    **how,
                )
            )
            before = outputs
        self.up_blocks: nnx.List[Row] = nnx.List(rows)
        self.conv_norm_out: GroupNorm = style.norm(channels[0])
        self.conv_out: Conv = style.conv(channels[0], config.out_channels, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"], t: Arraylike, cond: PyTree = None
    ) -> Float[Array, "batch height width out"]:
        read = given(cond, self.classes.keys, type(self).__name__, x.shape[0])
        dtype, wide = self.conv_in.kernel.dtype, jnp.promote_types(x.dtype, jnp.float32)
        h = (2 * x - 1 if self.center else x).astype(dtype)
        e = self.time_embedding(self.time_proj(levels_of(t, x.shape[0]), dtype))
        if self.classes.keys:
            module = getattr(self, "class_embedding", None)
            e = e + self.classes.embed(read["class_labels"], module, self.time_proj, dtype)

        skips = [self.conv_in(h)]
        for row in self.down_blocks:
            skips += row.down(skips[-1], e)
        h = skips[-1]
        if hasattr(self, "mid_block"):
            h = self.mid_block(h, e)
        for row in self.up_blocks:
            h = row.up(h, e, skips)
        return self.conv_out(jnp.asarray(nnx.silu(self.conv_norm_out(h)))).astype(wide)
