"""Transformer blocks of diffusers: attention over pixels, attention to words, a wide layer."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from edmjax.nn.convolutions import Impl
from edmjax.nn.layers import GroupNorm
from edmjax.pretrained.networks.layers import Attention, Conv, Linear, Nothing, Tokens, layer_norm

_GROUP_EPSILON = 1e-6  # of the norm before a transformer, whatever the network's own is


class Wide(nnx.Module):
    """The first half of a feed-forward layer, by the name of its activation."""

    def __init__(self, channels: int, inner: int, activation: str, *, rngs: nnx.Rngs):
        self.activation: str = activation
        gated = activation == "geglu"
        self.proj: Linear = Linear(channels, inner * (2 if gated else 1), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        h = self.proj(x)
        if self.activation == "geglu":
            h, gate = jnp.split(h, 2, axis=-1)
            return h * jax.nn.gelu(gate, approximate=False)
        return jax.nn.gelu(h, approximate=self.activation == "gelu-approximate")


class FeedForward(nnx.Module):
    """`W2 act(W1 x)`, four times as wide inside."""

    def __init__(self, channels: int, activation: str, *, rngs: nnx.Rngs):
        inner = 4 * channels
        last = Linear(inner, channels, rngs=rngs)
        self.net: nnx.List[Any] = nnx.List(
            [Wide(channels, inner, activation, rngs=rngs), Nothing(), last]
        )

    def __call__(self, x: Array) -> Array:
        return self.net[2](self.net[0](x))


class TransformerBlock(nnx.Module):
    """Attention over pixels, attention to words, and a feed-forward layer, each added to `x`."""

    def __init__(self, channels: int, heads: int, context: int, *, rngs: nnx.Rngs):
        norm: dict[str, Any] = dict(epsilon=1e-5, rngs=rngs)
        how: dict[str, Any] = dict(bias=False, rngs=rngs)
        width = channels // heads
        self.norm1: nnx.Module = layer_norm(channels, **norm)
        self.attn1: Attention = Attention(channels, heads, width, **how)
        self.norm2: nnx.Module = layer_norm(channels, **norm)
        self.attn2: Attention = Attention(channels, heads, width, context=context, **how)
        self.norm3: nnx.Module = layer_norm(channels, **norm)
        self.ff: FeedForward = FeedForward(channels, "geglu", rngs=rngs)

    def __call__(self, x: Tokens, context: Array) -> Tokens:
        norm1, norm2, norm3 = _callables(self.norm1, self.norm2, self.norm3)
        x = x + self.attn1(norm1(x))
        x = x + self.attn2(norm2(x), context)
        return x + self.ff(norm3(x))


class Transformer(nnx.Module):
    """`x + out(blocks(in(norm(x))))` over the pixels of an image; `in` and `out` change no pixel.

    They are linear layers, or convolutions of one pixel: the same function, and another shape in a
    file.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        num: int,
        context: int,
        *,
        groups: int,
        linear: bool,
        impl: Impl,
        rngs: nnx.Rngs,
    ):
        inner = channels // heads * heads

        def projection(inputs: int, outputs: int) -> Linear | Conv:
            if linear:
                return Linear(inputs, outputs, rngs=rngs)
            return Conv(inputs, outputs, 1, impl=impl, rngs=rngs)

        self.norm: GroupNorm = GroupNorm(channels, groups, epsilon=_GROUP_EPSILON)
        self.proj_in: Linear | Conv = projection(channels, inner)
        self.transformer_blocks: nnx.List[TransformerBlock] = nnx.List(
            [TransformerBlock(inner, heads, context, rngs=rngs) for _ in range(num)]
        )
        self.proj_out: Linear | Conv = projection(inner, channels)

    def __call__(
        self, x: Float[Array, "batch height width channels"], context: Array
    ) -> Float[Array, "batch height width channels"]:
        h = self.proj_in(self.norm(x))
        tokens = h.reshape(h.shape[0], -1, h.shape[-1])
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + self.proj_out(tokens.reshape(h.shape))


def _callables(*modules: Any) -> tuple[Any, ...]:
    return modules
