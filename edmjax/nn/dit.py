"""A transformer on patches of images and volumes, or on the entries of sequences."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from edmjax._common.arguments import whole
from edmjax._common.typing import Shape
from edmjax.nn import _options
from edmjax.nn._network import Network, cut, padded
from edmjax.nn._options import DType
from edmjax.nn.conditions import Conditions, Kinds, resized
from edmjax.nn.layers import Linear, alike, parts

_EPSILON = 1e-6
_lecun_normal, _zeros = nnx.initializers.lecun_normal(), nnx.initializers.zeros


class DiT(Network):
    """A diffusion transformer: `net(x, c_noise)` gives `F`, shaped like `x`.

    `data_shape` is that of one sample: (length, features) of a sequence, (height, width, channels)
    of an image or (depth, height, width, channels) of a volume. A token is a patch with `patch`
    entries a side (default: 1 for sequences, 2 for the others); sides that `patch` does not divide
    are padded with zeros inside, and the output is cut. Each of `num_blocks` blocks is
    self-attention and two dense layers, four times as wide between them. The noise level's Fourier
    features, the class and the vector enter by adaLN-Zero: they shift and scale the input of both
    and gate their outputs, with gates that start at zero. The positions of tokens are sines and
    cosines, so the parameters do not depend on the size. `num_heads` and an even `width` share
    evenly: `ValueError` where they do not.

    The condition is a class (`num_classes`), a vector of `cond_vector` entries, an image with as
    many axes as `x` and `cond_image` channels (resized to `x`, and read beside it by the first
    layer), a sequence of `cond_sequence` features an entry, or several of these, as a dict with the
    names `label`, `vector`, `image`, `sequence`. `mask`, beside `sequence`, is True at its entries
    that count. Every block attends to the sequence between self-attention and dense layers. One
    learned token is always among its entries, so that all others may be masked.

    `dtype` is the dtype of the activations, float32 by default; bfloat16 is for accelerators.
    Parameters are float32, under x64 too; statistics, the noise level's embedding and the output
    are float32 or wider.

    Source: Peebles and Xie 2023 (arXiv 2212.09748), section 3.2 and figure 3; cross-attention as in
    Chen et al. 2024 (PixArt-alpha, arXiv 2310.00426), section 2.3.
    """

    def __init__(
        self,
        data_shape: Sequence[int] = (32, 32, 3),
        *,
        patch: int | None = None,
        width: int = 128,
        num_blocks: int = 4,
        num_heads: int = 4,
        embed_dim: int = 128,
        fourier_scale: float = 1.0,
        num_classes: int = 0,
        cond_vector: int = 0,
        cond_image: int = 0,
        cond_sequence: int = 0,
        dtype: DType | None = None,
        rngs: nnx.Rngs,
    ):
        shape = _options.data(data_shape, 2, 4, "(length, features) or (height, width, channels)")
        self.axes: int = len(shape) - 1
        self.channels: int = shape[-1]
        self.patch: int = (1 if self.axes == 1 else 2) if patch is None else whole(patch, "patch")
        kinds = Kinds.of(
            num_classes,
            cond_vector=cond_vector,
            cond_image=cond_image,
            cond_sequence=cond_sequence,
        )
        super().__init__(kinds, embed_dim, fourier_scale, rngs=rngs)
        width, num_blocks = whole(width, "width"), whole(num_blocks, "num_blocks", least=0)
        if width % (2 * whole(num_heads, "num_heads")):
            raise ValueError(
                f"`width` must be even and a multiple of `num_heads`, got {width} for {num_heads}."
            )
        layer: dict[str, Any] = dict(dtype=_options.activations(dtype), rngs=rngs)
        options: dict[str, Any] = dict(
            num_heads=num_heads, embed_dim=embed_dim, cross=kinds.sequence > 0, **layer
        )
        volume = self.patch**self.axes
        self.first: Linear = Linear(volume * (self.channels + kinds.image), width, **layer)
        self.context: Context | None = (
            Context(kinds.sequence, width, **layer) if kinds.sequence else None
        )
        self.blocks: nnx.List[Block] = nnx.List(
            [Block(width, **options) for _ in range(num_blocks)]
        )
        self.modulate: nnx.Linear = nnx.Linear(embed_dim, 2 * width, kernel_init=_zeros, **layer)
        self.last: Linear = Linear(width, volume * self.channels, kernel_init=_zeros, **layer)

    def _check(self, shape: Shape) -> None:
        if len(shape) != self.axes + 1 or shape[-1] != self.channels or min(shape) < 1:
            names = ("(length, {})", "(height, width, {})", "(depth, height, width, {})")
            raise ValueError(
                f"This DiT is for data {names[self.axes - 1].format(self.channels)}, got {shape}."
            )

    def _output(self, x: Array, embedding: Array, given: Conditions) -> Array:
        sides = x.shape[1:-1]
        if given.image is not None:
            x = jnp.concatenate([x, resized(given.image, x)], axis=-1)
        x = padded(x, [self.patch] * self.axes)
        grid = tuple(n // self.patch for n in x.shape[1:-1])
        h = self.first(_to_tokens(x, self.patch))
        h = h + jnp.asarray(positions(grid, h.shape[-1]), h.dtype)
        context = mask = None
        if self.context is not None and given.sequence is not None and given.mask is not None:
            context, mask = self.context(given.sequence, given.mask)
        for block in self.blocks:
            h = block(h, embedding, context, mask)
        shift, scale = parts(self.modulate, embedding, 2)
        return cut(_to_data(self.last(_modulated(h, shift, scale)), grid, self.patch), sides)


class Block(nnx.Module):
    """Self-attention, attention to a condition where there is one, two dense layers; adaLN-Zero."""

    def __init__(
        self,
        width: int,
        *,
        num_heads: int,
        embed_dim: int,
        cross: bool,
        dtype: DType | None = None,
        rngs: nnx.Rngs,
    ):
        layer: dict[str, Any] = dict(dtype=dtype, rngs=rngs)
        self.modulate: nnx.Linear = nnx.Linear(embed_dim, 6 * width, kernel_init=_zeros, **layer)
        self.attention: Attention = Attention(width, num_heads, **layer)
        # It has no gate, so its last layer starts at zero.
        self.cross: Attention | None = (
            Attention(width, num_heads, kernel_init=_zeros, **layer) if cross else None
        )
        self.wide: Linear = Linear(width, 4 * width, **layer)
        self.narrow: Linear = Linear(4 * width, width, **layer)

    def __call__(
        self, h: Array, embedding: Array, context: Array | None, mask: Array | None
    ) -> Array:
        shift1, scale1, gate1, shift2, scale2, gate2 = parts(self.modulate, embedding, 6)
        y = _modulated(h, shift1, scale1)
        h = h + _along(gate1, h) * self.attention(y, y)
        if self.cross is not None and context is not None:
            h = h + self.cross(_normalised(h), context, mask)
        y = self.narrow(jax.nn.gelu(self.wide(_modulated(h, shift2, scale2))))
        return h + _along(gate2, h) * y


class Attention(nnx.Module):
    """`W softmax(q k^T / sqrt(d)) v`, with `q` of the tokens and `k`, `v` of a context."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        kernel_init: Any = _lecun_normal,
        dtype: DType | None = None,
        rngs: nnx.Rngs,
    ):
        layer: dict[str, Any] = dict(dtype=dtype, rngs=rngs)
        self.num_heads: int = num_heads
        self.query: Linear = Linear(width, width, **layer)
        self.key: Linear = Linear(width, width, **layer)
        self.value: Linear = Linear(width, width, **layer)
        self.out: Linear = Linear(width, width, kernel_init=kernel_init, **layer)

    def __call__(self, h: Array, context: Array, mask: Array | None = None) -> Array:
        def heads(y: Array) -> Array:
            return y.reshape(*y.shape[:2], self.num_heads, -1)

        query, key, value = self.query(h), self.key(context), self.value(context)
        mask = None if mask is None else mask[:, None, None, :]
        y = jax.nn.dot_product_attention(heads(query), heads(key), heads(value), mask=mask)
        return self.out(y.reshape(h.shape))


class Context(nnx.Module):
    """The tokens of a condition sequence with their mask, a learned token in front of them."""

    def __init__(self, features: int, width: int, *, dtype: DType | None = None, rngs: nnx.Rngs):
        self.embed: Linear = Linear(features, width, dtype=dtype, rngs=rngs)
        token = jax.random.normal(rngs.params(), (width,), jnp.float32)
        self.always: nnx.Param[Array] = nnx.Param(token)

    def __call__(
        self, sequence: Float[Array, "batch length features"], mask: Bool[Array, "batch length"]
    ) -> tuple[Float[Array, "batch length+1 width"], Bool[Array, "batch length+1"]]:
        # What is masked may hold anything, and 0 times NaN is NaN.
        tokens = self.embed(jnp.where(mask[..., None], sequence, 0))
        tokens = tokens + jnp.asarray(positions(tokens.shape[1:2], tokens.shape[2]), tokens.dtype)
        always = alike(self.always[...], tokens[:, :1])
        some = jnp.ones((mask.shape[0], 1), bool)
        return jnp.concatenate([always, tokens], 1), jnp.concatenate([some, mask], 1)


def positions(grid: Shape, width: int) -> Float[np.ndarray, "tokens width"]:
    """Sines and cosines of the index of each token along each axis.

    An axis has `width // (2 axes)` frequencies `10000^(-i/n)`; what is left of the width is zero.
    Vaswani et al. 2017, section 3.5, an axis at a time.
    """
    number = width // (2 * len(grid))
    frequencies = 10000.0 ** (-np.arange(number) / max(number, 1))
    index = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), axis=-1)
    angles = (index[..., None] * frequencies).reshape(-1, len(grid) * number)
    found = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return np.pad(found, ((0, 0), (0, width - found.shape[1]))).astype(np.float32)


def _normalised(h: Array) -> Array:
    """Each token with mean 0 and variance 1 over its features, computed in at least float32."""
    wide = h.astype(jnp.promote_types(h.dtype, jnp.float32))
    centred = wide - wide.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + _EPSILON)).astype(h.dtype)


def _modulated(h: Array, shift: Array, scale: Array) -> Array:
    return _normalised(h) * _along(1 + scale, h) + _along(shift, h)


def _along(value: Array, h: Array) -> Array:
    """A row a sample, for each of its tokens."""
    return alike(value[:, None], h)


def _to_tokens(x: Array, patch: int) -> Array:
    batch, *sides, channels = x.shape
    axes = range(len(sides))
    y = x.reshape(batch, *(m for n in sides for m in (n // patch, patch)), channels)
    y = y.transpose(0, *(1 + 2 * i for i in axes), *(2 + 2 * i for i in axes), y.ndim - 1)
    return y.reshape(batch, -1, patch ** len(sides) * channels)


def _to_data(tokens: Array, grid: Shape, patch: int) -> Array:
    axes = len(grid)
    y = tokens.reshape(tokens.shape[0], *grid, *[patch] * axes, -1)
    y = y.transpose(0, *(i for k in range(axes) for i in (1 + k, 1 + axes + k)), y.ndim - 1)
    return y.reshape(tokens.shape[0], *(n * patch for n in grid), -1)
