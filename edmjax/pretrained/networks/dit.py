"""`DiTTransformer2DModel` of diffusers: DiT, and Transformer2DModel with `ada_norm_zero`."""

from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from edmjax._common.typing import Arraylike, PyTree
from edmjax.nn.convolutions import Impl
from edmjax.pretrained.networks.conditions import given, levels_of
from edmjax.pretrained.networks.layers import (
    Attention,
    Conv,
    Embedding,
    Linear,
    Sinusoids,
    TimestepEmbedding,
    Tokens,
    layer_norm,
)
from edmjax.pretrained.networks.transformers import FeedForward
from edmjax.pretrained.options import Option, count, flag, ignored, only, optional, real

OPTIONS = {
    "num_attention_heads": Option(16, count),
    "attention_head_dim": Option(72, count),
    "in_channels": Option(4, count),
    "out_channels": Option(None, optional(count)),
    "num_layers": Option(28, count),
    "dropout": Option(0.0, ignored),
    "norm_num_groups": Option(32, ignored),
    "attention_bias": Option(True, flag),
    "sample_size": Option(32, count),
    "patch_size": Option(2, count),
    "activation_fn": Option("gelu-approximate", only("gelu-approximate", "gelu", "geglu")),
    "num_embeds_ada_norm": Option(1000, count),
    "upcast_attention": Option(False, optional(flag)),  # every softmax is in float32 or wider
    "norm_type": Option("ada_norm_zero", only("ada_norm_zero")),
    "norm_elementwise_affine": Option(False, flag),
    "norm_eps": Option(1e-5, real),
    # Of Transformer2DModel, which has other networks too.
    "cross_attention_dim": Option(None, only(None)),
    "num_vector_embeds": Option(None, only(None)),
    "use_linear_projection": Option(False, ignored),
    "only_cross_attention": Option(False, only(False)),
    "double_self_attention": Option(False, only(False)),
    "attention_type": Option("default", only("default")),
    "caption_channels": Option(None, only(None)),
    "interpolation_scale": Option(None, only(None, 1)),
    "use_additional_conditions": Option(None, only(None, False)),
}
_TIMES = Sinusoids(256, True, 1)
_EPSILON = 1e-6


class LabelEmbedding(nnx.Module):
    """A vector for each class, and one more for "no class"."""

    def __init__(self, classes: int, channels: int, *, rngs: nnx.Rngs):
        self.embedding_table: Embedding = Embedding(classes + 1, channels, rngs=rngs)


class TimeAndClass(nnx.Module):
    """The vector of a timestep and a class."""

    def __init__(self, classes: int, channels: int, *, rngs: nnx.Rngs):
        self.timestep_embedder: TimestepEmbedding = TimestepEmbedding(256, channels, rngs=rngs)
        self.class_embedder: LabelEmbedding = LabelEmbedding(classes, channels, rngs=rngs)

    def __call__(self, t: Array, labels: Array, dtype: Any) -> Array:
        table = self.class_embedder.embedding_table
        return self.timestep_embedder(_TIMES(t, dtype)) + table(labels).astype(dtype)


class AdaNormZero(nnx.Module):
    """`(1 + scale) norm(x) + shift`, and the four other parts of `W silu(e)`, `(batch, 1, c)`."""

    def __init__(self, classes: int, channels: int, *, rngs: nnx.Rngs):
        self.emb: TimeAndClass = TimeAndClass(classes, channels, rngs=rngs)
        self.linear: Linear = Linear(channels, 6 * channels, rngs=rngs)
        self.norm: Any = layer_norm(channels, affine=False, epsilon=_EPSILON, rngs=rngs)

    def __call__(self, x: Tokens, t: Array, labels: Array) -> tuple[Array, list[Array]]:
        e = self.linear(nnx.silu(self.emb(t, labels, x.dtype)))[:, None]
        shift, scale, *others = jnp.split(e, 6, axis=-1)
        return self.norm(x) * (1 + scale) + shift, others


class Block(nnx.Module):
    """Attention and a feed-forward layer, each modulated, gated and added to `x`."""

    def __init__(self, config: SimpleNamespace, channels: int, *, rngs: nnx.Rngs):
        heads, width = config.num_attention_heads, config.attention_head_dim
        self.norm1: AdaNormZero = AdaNormZero(config.num_embeds_ada_norm, channels, rngs=rngs)
        self.attn1: Attention = Attention(
            channels, heads, width, bias=config.attention_bias, rngs=rngs
        )
        affine = config.norm_elementwise_affine
        self.norm3: Any = layer_norm(channels, affine=affine, epsilon=config.norm_eps, rngs=rngs)
        self.ff: FeedForward = FeedForward(channels, config.activation_fn, rngs=rngs)

    def __call__(self, x: Tokens, t: Array, labels: Array) -> Tokens:
        h, (gate, shift, scale, gate_ff) = self.norm1(x, t, labels)
        x = x + gate * self.attn1(h)
        return x + gate_ff * self.ff(self.norm3(x) * (1 + scale) + shift)


class Patches(nnx.Module):
    """One token a patch: a linear map of its pixels, and the sines and cosines of its place."""

    def __init__(self, config: SimpleNamespace, channels: int, *, impl: Impl, rngs: nnx.Rngs):
        size = config.patch_size
        self.base: int = config.sample_size // size
        how: dict[str, Any] = dict(stride=size, impl=impl, rngs=rngs)
        self.proj: Conv = Conv(config.in_channels, channels, size, **how)

    def __call__(self, x: Float[Array, "batch height width channels"]) -> Array:
        h = self.proj(x)
        return h + jnp.asarray(_places(h.shape[1:3], self.base, h.shape[-1]), h.dtype)


def _places(sides: tuple[int, ...], base: int, channels: int) -> np.ndarray:
    """Sines and cosines of the column, then of the row, of each patch: `(rows, columns, c)`.

    An image of another size than the trained one has places between the trained ones.
    """
    rows, columns = sides
    frequencies = 10000.0 ** (-np.arange(channels // 4) / (channels / 4))

    def waves(number: int) -> np.ndarray:
        angles = (np.arange(number) / (number / base))[:, None] * frequencies
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)

    across = np.broadcast_to(waves(columns)[None], (rows, columns, channels // 2))
    down = np.broadcast_to(waves(rows)[:, None], (rows, columns, channels // 2))
    return np.concatenate([across, down], axis=-1)


class DiTTransformer2DModel(nnx.Module):
    """The network `net(x, t, cond)` of latents; `cond={"class_labels": labels}`.

    The label after the last class is "no class". The output has twice the channels where the
    variance was learned.
    """

    def __init__(self, config: SimpleNamespace, *, impl: Impl = "auto", rngs: nnx.Rngs):
        channels = config.num_attention_heads * config.attention_head_dim
        outputs = config.out_channels or config.in_channels
        self.patch: int = config.patch_size
        self.pos_embed: Patches = Patches(config, channels, impl=impl, rngs=rngs)
        self.transformer_blocks: nnx.List[Block] = nnx.List(
            [Block(config, channels, rngs=rngs) for _ in range(config.num_layers)]
        )
        self.norm_out: Any = layer_norm(channels, affine=False, epsilon=_EPSILON, rngs=rngs)
        self.proj_out_1: Linear = Linear(channels, 2 * channels, rngs=rngs)
        self.proj_out_2: Linear = Linear(channels, self.patch**2 * outputs, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch height width channels"], t: Arraylike, cond: PyTree = None
    ) -> Float[Array, "batch height width out"]:
        batch, height, width, _ = x.shape
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"The sides of an image must be multiples of {self.patch}, got {height} x {width}."
            )
        labels = given(cond, ("class_labels",), type(self).__name__, batch)["class_labels"]
        if labels.ndim != 1 or not jnp.issubdtype(labels.dtype, jnp.integer):
            raise ValueError(
                "`cond['class_labels']` must hold one integer a sample, got "
                f"{labels.dtype} of shape {labels.shape}."
            )
        t = levels_of(t, batch)
        h = self.pos_embed(x.astype(self.pos_embed.proj.kernel.dtype))
        sides, h = h.shape[1:3], h.reshape(batch, -1, h.shape[-1])
        for block in self.transformer_blocks:
            h = block(h, t, labels)
        e = self.transformer_blocks[0].norm1.emb(t, labels, h.dtype)
        shift, scale = jnp.split(self.proj_out_1(nnx.silu(e))[:, None], 2, axis=-1)
        h = self.proj_out_2(self.norm_out(h) * (1 + scale) + shift)
        h = h.reshape(batch, *sides, self.patch, self.patch, -1).swapaxes(2, 3)
        return h.reshape(batch, height, width, -1).astype(jnp.promote_types(x.dtype, jnp.float32))
