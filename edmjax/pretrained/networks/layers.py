"""Small parts of the networks of diffusers: embeddings of numbers, norms, attention.

Attributes have the names that the files give them, so that the name of an array in a file is its
path in the module. All parts compute in the dtype of their weights; statistics, and the softmax of
an attention, in at least float32. Points are channels last.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from edmjax import nn
from edmjax.nn.layers import GroupNorm, Linear as _Linear

Activation: TypeAlias = Callable[[Array], Array]
Tokens: TypeAlias = Float[Array, "batch length channels"]


def _mish(x: Array) -> Array:
    return x * jnp.tanh(jax.nn.softplus(x))


def _gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


# By the names of a configuration.
ACTIVATIONS: dict[str, Activation] = {
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "mish": _mish,
    "gelu": _gelu,
    "relu": jax.nn.relu,
}


_zeros = nnx.initializers.zeros  # replaced by the arrays of a file; to draw others takes a while


class Conv(nn.Conv):
    """`ej.nn.Conv`, with zeros until a file's arrays are there."""

    def __init__(self, inputs: int, outputs: int, size: int, **how: Any):
        super().__init__(inputs, outputs, size, kernel_init=_zeros, **how)


class Linear(_Linear):
    """A linear layer, with zeros until a file's arrays are there."""

    def __init__(self, inputs: int, outputs: int, *, use_bias: bool = True, rngs: nnx.Rngs):
        super().__init__(inputs, outputs, use_bias=use_bias, kernel_init=_zeros, rngs=rngs)


class Style(NamedTuple):
    """What all blocks of one network share."""

    groups: int
    epsilon: float
    activation: str
    impl: str
    scale_shift: bool = False

    def norm(self, channels: int) -> GroupNorm:
        return GroupNorm(channels, self.groups, epsilon=self.epsilon)

    def conv(self, inputs: int, outputs: int, size: int = 3, *, rngs: nnx.Rngs, **how: Any) -> Conv:
        """A convolution that keeps the size of its images, unless it has a stride."""
        padding = how.pop("padding", size // 2)
        return Conv(inputs, outputs, size, padding=padding, impl=self.impl, rngs=rngs, **how)

    def act(self, x: Array) -> Array:
        return ACTIVATIONS[self.activation](x)


def layer_norm(channels: int, *, affine: bool = True, epsilon: float, rngs: nnx.Rngs) -> Any:
    """A LayerNorm whose variance is computed from the differences from the mean."""
    how: dict[str, Any] = dict(use_bias=affine, use_scale=affine, use_fast_variance=False)
    return nnx.LayerNorm(channels, epsilon=epsilon, **how, rngs=rngs)


class Sinusoids(NamedTuple):
    """`[sin(w t), cos(w t)]` with `w_j = 10000^(-j / (dim / 2 - shift))`, `flip` for cos first.

    Frequencies and angles are rounded as diffusers rounds them, in float32 for a network in float32
    or less: near t = 1000 an angle has an error of 3e-5, which the network was trained with.
    """

    dim: int
    flip: bool
    shift: float

    def __call__(self, t: Array, dtype: Any) -> Array:
        """Shape `(..., dim)` in `dtype`, for `t` of any shape."""
        wide = np.promote_types(dtype, np.float32)
        half = self.dim // 2
        exponents = np.asarray(-math.log(10000), wide) * np.arange(half, dtype=wide)
        frequencies = np.exp(exponents / np.asarray(half - self.shift, wide))
        angles = jnp.asarray(t).astype(wide)[..., None] * frequencies
        waves = [jnp.sin(angles), jnp.cos(angles)]
        made = jnp.concatenate(waves[::-1] if self.flip else waves, axis=-1)
        odd = [(0, 0)] * (made.ndim - 1) + [(0, self.dim % 2)]
        return jnp.pad(made, odd).astype(dtype)


class TimestepEmbedding(nnx.Module):
    """`W2 act(W1 v)`, of a vector of any kind."""

    def __init__(self, inputs: int, outputs: int, activation: str = "silu", *, rngs: nnx.Rngs):
        self.activation: str = activation
        self.linear_1: Linear = Linear(inputs, outputs, rngs=rngs)
        self.linear_2: Linear = Linear(outputs, outputs, rngs=rngs)

    def __call__(self, v: Float[Array, "batch inputs"]) -> Float[Array, "batch outputs"]:
        return self.linear_2(ACTIVATIONS[self.activation](self.linear_1(v)))


class Embedding(nnx.Module):
    """A row of a table for each label, in the dtype of the table; NaN beyond its end."""

    def __init__(self, rows: int, channels: int, *, rngs: nnx.Rngs):
        del rngs
        self.embedding: nnx.Param[Array] = nnx.Param(jnp.zeros((rows, channels), jnp.float32))

    def __call__(self, labels: Int[Array, " batch"]) -> Float[Array, "batch channels"]:
        return jnp.take(self.embedding[...], labels, axis=0)


class Nothing(nnx.Module):
    """The place of a dropout in a list, which the names in a file count."""


class Attention(nnx.Module):
    """`W softmax(q k / sqrt(width)) v` with keys and values of `context`, by default of `x`."""

    def __init__(
        self,
        channels: int,
        heads: int,
        width: int,
        *,
        context: int | None = None,
        bias: bool,
        rngs: nnx.Rngs,
    ):
        inner = heads * width
        self.heads: int = heads
        source = channels if context is None else context
        self.to_q: Linear = Linear(channels, inner, use_bias=bias, rngs=rngs)
        self.to_k: Linear = Linear(source, inner, use_bias=bias, rngs=rngs)
        self.to_v: Linear = Linear(source, inner, use_bias=bias, rngs=rngs)
        self.to_out: nnx.List[Linear] = nnx.List([Linear(inner, channels, rngs=rngs)])

    def __call__(
        self, x: Tokens, context: Float[Array, "batch words source"] | None = None
    ) -> Tokens:
        source = x if context is None else context

        def split(tokens: Array) -> Array:
            return tokens.reshape(*tokens.shape[:2], self.heads, -1)

        q, k, v = split(self.to_q(x)), split(self.to_k(source)), split(self.to_v(source))
        y = attend(q, k, v)
        return self.to_out[0](y.reshape(*x.shape[:2], -1))


def attend(q: Array, k: Array, v: Array) -> Array:
    """Attention over axis 1 of arrays `(batch, length, heads, width)`.

    The softmax is taken in at least float32, and in float64 where the weights are: the one of
    `jax.nn.dot_product_attention` is always in float32.
    """
    wide = jnp.promote_types(q.dtype, jnp.float32)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=wide)
    weights = jax.nn.softmax(scores * q.shape[-1] ** -0.5, axis=-1).astype(v.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, v)


class ImageAttention(Attention):
    """`(x + attention(norm(x))) / scale` over all pixels of an image; `norm` may be missing."""

    def __init__(
        self,
        channels: int,
        width: int,
        groups: int | None,
        epsilon: float,
        *,
        scale: float = 1.0,
        rngs: nnx.Rngs,
    ):
        super().__init__(channels, channels // width, width, bias=True, rngs=rngs)
        self.scale: float = scale
        self.group_norm: GroupNorm | None = (
            None if groups is None else GroupNorm(channels, groups, epsilon=epsilon)
        )

    def __call__(
        self, x: Float[Array, "batch height width channels"], context: None = None
    ) -> Float[Array, "batch height width channels"]:
        h = x if self.group_norm is None else self.group_norm(x)
        y = super().__call__(h.reshape(x.shape[0], -1, x.shape[-1]))
        return (x + y.reshape(x.shape)) / self.scale
