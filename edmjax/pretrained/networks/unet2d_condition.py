"""`UNet2DConditionModel` of diffusers: the U-Net of Stable Diffusion 1.x, 2.x and SDXL."""

from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from edmjax._common.typing import Arraylike, PyTree
from edmjax.nn.convolutions import Impl
from edmjax.nn.layers import GroupNorm
from edmjax.pretrained.networks.blocks import Middle, ResnetBlock, Row, down_row, up_row
from edmjax.pretrained.networks.conditions import Classes, class_embedding, given, levels_of
from edmjax.pretrained.networks.layers import (
    ACTIVATIONS,
    Conv,
    Sinusoids,
    Style,
    TimestepEmbedding,
)
from edmjax.pretrained.networks.transformers import Transformer
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

_DOWN, _UP = ("DownBlock2D", "CrossAttnDownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
_MIDDLE = "UNetMidBlock2DCrossAttn"
_CLASSES = (None, "timestep", "identity", "projection", "simple_projection")
_counts = either(count, several(count))

OPTIONS = {
    "sample_size": Option(None, optional(_counts)),
    "in_channels": Option(4, count),
    "out_channels": Option(4, count),
    "center_input_sample": Option(False, flag),
    "flip_sin_to_cos": Option(True, flag),
    "freq_shift": Option(0, offset),
    "down_block_types": Option((*[_DOWN[1]] * 3, _DOWN[0]), several(only(*_DOWN))),
    "mid_block_type": Option(_MIDDLE, only(_MIDDLE, None)),
    "up_block_types": Option((_UP[0], *[_UP[1]] * 3), several(only(*_UP))),
    "only_cross_attention": Option(False, only(False)),
    "block_out_channels": Option((320, 640, 1280, 1280), several(count)),
    "layers_per_block": Option(2, _counts),
    "downsample_padding": Option(1, only(0, 1)),
    "mid_block_scale_factor": Option(1, real),
    "dropout": Option(0.0, ignored),
    "act_fn": Option("silu", only(*ACTIVATIONS)),
    "norm_num_groups": Option(32, count),
    "norm_eps": Option(1e-5, real),
    "cross_attention_dim": Option(1280, _counts),
    "transformer_layers_per_block": Option(1, _counts),
    "reverse_transformer_layers_per_block": Option(None, optional(several(count))),
    "encoder_hid_dim": Option(None, only(None)),
    "encoder_hid_dim_type": Option(None, only(None)),
    # The number of heads, by the name of the width of one: diffusers kept the mistake.
    "attention_head_dim": Option(8, _counts),
    "num_attention_heads": Option(None, only(None)),
    "dual_cross_attention": Option(False, only(False)),
    "use_linear_projection": Option(False, flag),
    "class_embed_type": Option(None, only(*_CLASSES)),
    "addition_embed_type": Option(None, only(None, "text_time")),
    "addition_time_embed_dim": Option(None, optional(count)),
    "num_class_embeds": Option(None, optional(count)),
    "upcast_attention": Option(False, optional(flag)),  # every softmax is in float32 or wider
    "resnet_time_scale_shift": Option("default", only("default", "scale_shift")),
    "resnet_skip_time_act": Option(False, only(False)),
    "resnet_out_scale_factor": Option(1.0, only(1)),
    "time_embedding_type": Option("positional", only("positional")),
    "time_embedding_dim": Option(None, optional(count)),
    "time_embedding_act_fn": Option(None, only(None, *ACTIVATIONS)),
    "timestep_post_act": Option(None, only(None, *ACTIVATIONS)),
    "time_cond_proj_dim": Option(None, only(None)),
    "conv_in_kernel": Option(3, count),
    "conv_out_kernel": Option(3, count),
    "projection_class_embeddings_input_dim": Option(None, optional(count)),
    "attention_type": Option("default", only("default")),
    "class_embeddings_concat": Option(False, only(False)),
    "mid_block_only_cross_attention": Option(None, only(None, False)),
    "cross_attention_norm": Option(None, only(None)),
    "addition_embed_type_num_heads": Option(64, ignored),
}


class UNet2DConditionModel(nnx.Module):
    """The network `net(x, t, cond)` of images or latents `(batch, height, width, channels)`.

    `t` is a timestep, one or one a sample. `cond` is a dict: `encoder_hidden_states`, `(batch,
    words, features)`; with `addition_embed_type="text_time"` (SDXL) `text_embeds`, `(batch,
    features)`, and `time_ids`, `(batch, 6)` or 5; with classes `class_labels`.
    """

    def __init__(self, config: SimpleNamespace, *, impl: Impl = "auto", rngs: nnx.Rngs):
        channels, num = config.block_out_channels, len(config.block_out_channels)

        def each(name: str) -> tuple[Any, ...]:
            return per_level(getattr(config, name), num, name)

        heads, words = each("attention_head_dim"), each("cross_attention_dim")
        blocks, layers = each("transformer_layers_per_block"), each("layers_per_block")
        downs, ups = each("down_block_types"), each("up_block_types")
        blocks_up = config.reverse_transformer_layers_per_block or blocks[::-1]
        blocks_up = per_level(blocks_up, num, "reverse_transformer_layers_per_block")
        embed = config.time_embedding_dim or 4 * channels[0]
        scale_shift = config.resnet_time_scale_shift == "scale_shift"
        style = Style(config.norm_num_groups, config.norm_eps, config.act_fn, impl, scale_shift)

        self.style: Style = style
        self.center: bool = config.center_input_sample
        self.words: tuple[int, ...] = words
        self.conv_in: Conv = style.conv(
            config.in_channels, channels[0], config.conv_in_kernel, rngs=rngs
        )
        self._embeddings(config, embed, rngs)

        def transformer(level: int, number: int) -> Any:
            how: dict[str, Any] = dict(
                groups=style.groups, linear=config.use_linear_projection, impl=impl, rngs=rngs
            )
            return lambda i: Transformer(channels[level], heads[level], number, words[level], **how)

        rows, before = [], channels[0]
        for level, kind in enumerate(downs):
            how: dict[str, Any] = dict(padding=config.downsample_padding, rngs=rngs)
            how["change"] = "conv" if level < num - 1 else None
            if kind.startswith("CrossAttn"):
                how["attention"] = transformer(level, blocks[level])
            rows.append(down_row(before, channels[level], layers[level], embed, style, **how))
            before = channels[level]
        self.down_blocks: nnx.List[Row] = nnx.List(rows)

        if config.mid_block_type is not None:
            scale = config.mid_block_scale_factor
            resnets = [
                ResnetBlock(before, before, embed, style, scale=scale, rngs=rngs) for _ in range(2)
            ]
            self.mid_block: Middle = Middle(resnets, transformer(num - 1, blocks[-1])(0))

        rows = []
        for i, kind in enumerate(ups):
            level = num - 1 - i
            finer = channels[max(level - 1, 0)]
            skipped = [channels[level]] * layers[level] + [finer]
            how = dict(change="conv" if level else None, rngs=rngs)
            if kind.startswith("CrossAttn"):
                how["attention"] = transformer(level, blocks_up[i])
            rows.append(up_row(before, channels[level], skipped, embed, style, **how))
            before = channels[level]
        self.up_blocks: nnx.List[Row] = nnx.List(rows)
        self.conv_norm_out: GroupNorm = style.norm(channels[0])
        self.conv_out: Conv = style.conv(
            channels[0], config.out_channels, config.conv_out_kernel, rngs=rngs
        )

    def _embeddings(self, config: SimpleNamespace, embed: int, rngs: nnx.Rngs) -> None:
        """What makes one vector a sample of the timestep, the classes and the sizes."""
        first, vector = config.block_out_channels[0], config.projection_class_embeddings_input_dim
        how = (config.flip_sin_to_cos, config.freq_shift)
        self.post_act: str | None = config.timestep_post_act
        self.embed_act: str | None = config.time_embedding_act_fn
        self.time_proj: Sinusoids = Sinusoids(first, *how)
        self.time_embedding: TimestepEmbedding = TimestepEmbedding(
            first, embed, config.act_fn, rngs=rngs
        )
        self.classes: Classes = Classes(config.class_embed_type, config.num_class_embeds)
        made = class_embedding(
            self.classes, first, embed, vector, activation=config.act_fn, rngs=rngs
        )
        if made is not None:
            self.class_embedding: nnx.Module = made
        self.sizes: Sinusoids | None = None
        if config.addition_embed_type is not None:
            if vector is None or config.addition_time_embed_dim is None:
                raise ValueError(
                    "`addition_embed_type` is 'text_time', which needs `addition_time_embed_dim` "
                    "and `projection_class_embeddings_input_dim`."
                )
            self.sizes = Sinusoids(config.addition_time_embed_dim, *how)
            self.add_embedding: TimestepEmbedding = TimestepEmbedding(vector, embed, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"], t: Arraylike, cond: PyTree = None
    ) -> Float[Array, "batch height width out"]:
        keys = ("encoder_hidden_states", *self.classes.keys)
        keys += ("text_embeds", "time_ids") if self.sizes is not None else ()
        read = given(cond, keys, type(self).__name__, x.shape[0])
        dtype, wide = self.conv_in.kernel.dtype, jnp.promote_types(x.dtype, jnp.float32)
        words = read["encoder_hidden_states"]
        if words.ndim != 3 or words.shape[-1] not in self.words:
            raise ValueError(
                "`cond['encoder_hidden_states']` must have shape (batch, words, "
                f"{self.words[0]}), got {words.shape}."
            )
        words = words.astype(dtype)
        h = (2 * x - 1 if self.center else x).astype(dtype)
        e = self._embedded(t, read, x.shape[0], dtype)

        skips = [self.conv_in(h)]
        for row in self.down_blocks:
            skips += row.down(skips[-1], e, words)
        h = skips[-1]
        if hasattr(self, "mid_block"):
            h = self.mid_block(h, e, words)
        for row in self.up_blocks:
            h = row.up(h, e, skips, words)
        return self.conv_out(self.style.act(self.conv_norm_out(h))).astype(wide)

    def _embedded(self, t: Any, read: dict[str, Array], batch: int, dtype: Any) -> Array:
        e = self.time_embedding(self.time_proj(levels_of(t, batch), dtype))
        e = e if self.post_act is None else ACTIVATIONS[self.post_act](e)
        if self.classes.keys:
            module = getattr(self, "class_embedding", None)
            e = e + self.classes.embed(read["class_labels"], module, self.time_proj, dtype)
        if self.sizes is not None:
            sizes = self.sizes(read["time_ids"], dtype).reshape(batch, -1)
            vector = jnp.concatenate([read["text_embeds"].astype(dtype), sizes], axis=-1)
            wanted = self.add_embedding.linear_1.kernel.shape[0]
            if vector.shape[-1] != wanted:
                raise ValueError(
                    f"`cond['text_embeds']` and `cond['time_ids']` make {vector.shape[-1]} numbers "
                    f"a sample, and the network takes {wanted}: the numbers in `text_embeds`, and "
                    f"{self.sizes.dim} for each entry of `time_ids`."
                )
            e = e + self.add_embedding(vector)
        return e if self.embed_act is None else ACTIVATIONS[self.embed_act](e)
