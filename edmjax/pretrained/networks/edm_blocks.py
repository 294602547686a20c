"""The block of EDM's two U-Nets, and convolutions that halve or double an image with a filter.

A filter is an array of the file, `(1, 1, k, k)`. Sums of a filter are in float32 or wider, and so
are embeddings of the noise level and what a block makes of them.
"""

from itertools import product
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from edmjax.nn.convolutions import conv
from edmjax.nn.layers import GroupNorm, alike
from edmjax.pretrained.networks.blocks import Changed, Images
from edmjax.pretrained.networks.layers import Conv, Linear, attend


class Kind(NamedTuple):
    """What all blocks of one network share."""

    epsilon: float
    scale: float  # of a sum with what was skipped
    adaptive: bool  # whether the embedding scales, beside its shift
    project: bool  # whether a skip that changes the size has weights
    width: int | None  # of a head; None for one head of all channels
    taps: int  # of the filter of a change of size
    impl: str

    def norm(self, channels: int) -> GroupNorm:
        return GroupNorm(channels, min(32, channels // 4), epsilon=self.epsilon)

    def conv(
        self, inputs: int, outputs: int, size: int = 3, change: str | None = None, *, rngs: nnx.Rngs
    ) -> Conv:
        """A convolution that keeps the size of its images, after a change of it."""
        if change is None:
            return Conv(inputs, outputs, size, padding=size // 2, impl=self.impl, rngs=rngs)
        return Resampling(inputs, outputs, size, change, self, rngs=rngs)


class Filter(nnx.Module):
    """Halves or doubles the sides of an image ("down", "up") with the filter of the file."""

    def __init__(self, change: str, taps: int):
        self.change: str = change
        self.resample_filter: nnx.Param[Array] = _filter(taps)

    def __call__(self, x: Images) -> Changed:
        return resampled(x, self.resample_filter[...], self.change)


class Resampling(Conv):
    """A convolution of an image that was halved or doubled with the filter of the file."""

    def __init__(
        self, inputs: int, outputs: int, size: int, change: str, kind: Kind, *, rngs: nnx.Rngs
    ):
        super().__init__(inputs, outputs, size, padding=size // 2, impl=kind.impl, rngs=rngs)
        self.change: str = change
        self.resample_filter: nnx.Param[Array] = _filter(kind.taps)

    def __call__(self, x: Images) -> Changed:
        return super().__call__(resampled(x, self.resample_filter[...], self.change))


class FusedDown(Conv):
    """A convolution whose output is halved: the filter reads outputs beyond the image's edges."""

    def __init__(self, inputs: int, outputs: int, kind: Kind, *, rngs: nnx.Rngs):
        padding = 1 + _edge(kind.taps)
        super().__init__(inputs, outputs, 3, padding=padding, impl=kind.impl, rngs=rngs)
        self.resample_filter: nnx.Param[Array] = _filter(kind.taps)

    def __call__(self, x: Images) -> Changed:
        kernel, bias = self.kernel[...], self.bias
        assert bias is not None
        y = conv(x.astype(kernel.dtype), kernel, padding=self.padding, impl=self.impl)
        y = _halved(y, self.resample_filter[...], 0)
        return y + alike(bias[...], y)


def _filter(taps: int) -> "nnx.Param[Array]":
    return nnx.Param(jnp.zeros((1, 1, taps, taps), jnp.float32))


def _edge(taps: int) -> int:
    """The pixels beyond an edge, zeros, that a filter reads."""
    return (taps - 1) // 2


def resampled(x: Images, taps: Float[Array, "1 1 k k"], change: str) -> Changed:
    """`x` with half or twice its sides: the mean of a filter's pixels, or its transpose times 4."""
    edge = _edge(taps.shape[-1])
    return _halved(x, taps, edge) if change == "down" else _doubled(x, taps, edge)


def _halved(x: Array, taps: Array, edge: int) -> Array:
    """`y[i, j] = sum_ab f[a, b] x[2 i + a - edge, 2 j + b - edge]`."""
    f, size = taps[0, 0].astype(jnp.promote_types(x.dtype, jnp.float32)), taps.shape[-1]
    h = jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    rows, columns = (2 * ((n - size) // 2) + 1 for n in h.shape[1:3])
    parts = [
        f[a, b] * h[:, a : a + rows : 2, b : b + columns : 2]
        for a, b in product(range(size), repeat=2)
    ]
    return sum(parts[1:], parts[0]).astype(x.dtype)


def _doubled(x: Array, taps: Array, edge: int) -> Array:
    """`y[p, q] = 4 sum f[a, b] x[i, j]` over `2 i + a - edge = p`, `2 j + b - edge = q`.

    Pixels of one phase `(p mod 2, q mod 2)` meet every second tap of each row and column.
    """
    f, size = 4 * taps[0, 0].astype(jnp.promote_types(x.dtype, jnp.float32)), taps.shape[-1]
    batch, height, width, channels = x.shape
    h = jnp.pad(x, ((0, 0), (size, size), (size, size), (0, 0)))

    def phase(row: int, column: int) -> Array:
        parts = []
        for a, b in product(range(size), repeat=2):
            i, j = row + edge - a, column + edge - b
            if i % 2 == 0 and j % 2 == 0:
                i, j = size + i // 2, size + j // 2
                parts.append(f[a, b] * h[:, i : i + height, j : j + width])
        return sum(parts[1:], parts[0])

    rows = [jnp.stack([phase(r, c) for c in (0, 1)], axis=3) for r in (0, 1)]
    y = jnp.stack(rows, axis=2)  # (batch, height, 2, width, 2, channels)
    return y.reshape(batch, 2 * height, 2 * width, channels).astype(x.dtype)


class UNetBlock(nnx.Module):
    """`scale (skip(x) + conv1(silu(norm1(conv0(silu(norm0(x)))) with the embedding)))`.

    `conv0` and `skip` halve or double the image first where there is a `change`. The embedding `e`
    enters as `norm1(h + A e)`, or with `adaptive` as `(1 + a) norm1(h) + b`, `[a, b] = A e`. With
    `attends` follows `scale (x + W attention(norm2(x)))` over all pixels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embed: int,
        kind: Kind,
        *,
        change: str | None = None,
        attends: bool = False,
        rngs: nnx.Rngs,
    ):
        self.kind: Kind = kind
        self.norm0: GroupNorm = kind.norm(inputs)
        self.conv0: Conv = kind.conv(inputs, outputs, 3, change, rngs=rngs)
        self.affine: Linear = Linear(embed, outputs * (2 if kind.adaptive else 1), rngs=rngs)
        self.norm1: GroupNorm = kind.norm(outputs)
        self.conv1: Conv = kind.conv(outputs, outputs, rngs=rngs)
        skip = None
        if inputs != outputs or (change is not None and kind.project):
            skip = kind.conv(inputs, outputs, 1, change, rngs=rngs)
        elif change is not None:
            skip = Filter(change, kind.taps)
        self.skip: Conv | Filter | None = skip
        heads = 1 if kind.width is None else outputs // kind.width
        self.heads: int = heads if attends else 0
        if self.heads:
            self.norm2: GroupNorm = kind.norm(outputs)
            self.qkv: Conv = kind.conv(outputs, 3 * outputs, 1, rngs=rngs)
            self.proj: Conv = kind.conv(outputs, outputs, 1, rngs=rngs)

    def __call__(self, x: Images, embedding: Float[Array, "batch embed"]) -> Changed:
        h = self.conv0(nnx.silu(self.norm0(x)))
        e = self.affine(embedding)[:, None, None]
        if self.kind.adaptive:
            factor, shift = jnp.split(e, 2, axis=-1)
            h = self.norm1(h) * alike(1 + factor, h) + alike(shift, h)
        else:
            h = self.norm1(h + alike(e, h))
        h = self.conv1(nnx.silu(h))
        x = (h + (x if self.skip is None else self.skip(x))) * self.kind.scale
        return self._attended(x) if self.heads else x

    def _attended(self, x: Array) -> Array:
        batch, height, width, channels = x.shape
        # The channels of `qkv` count heads, then the numbers of a head, then queries to values.
        qkv = self.qkv(self.norm2(x)).reshape(batch, height * width, self.heads, -1, 3)
        y = attend(*jnp.moveaxis(qkv, -1, 0)).reshape(batch, height, width, channels)
        return (self.proj(y) + x) * self.kind.scale
