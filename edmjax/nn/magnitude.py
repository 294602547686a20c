"""Layers that keep the magnitude of activations, and weights whose magnitude is kept at 1.

The magnitude of an array is the root of its mean square. Inputs of magnitude 1 give outputs of
magnitude 1 on average over random weights, so nothing grows as a network trains. There are no
biases: the first layer reads a channel of ones.

Source: Karras et al. 2024 (arXiv 2312.02696), appendix B, whose equations are named.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from edmjax._common.arguments import real, whole
from edmjax._common.typing import Int as Count
from edmjax.nn._options import DType
from edmjax.nn.convolutions import Impl, conv
from edmjax.nn.embeddings import Buffer, CNoise, Labels, checked_labels, checked_levels
from edmjax.nn.layers import same_dtype

# The paper adds 1e-4 to the magnitude. This, added to its square, is smooth at zero.
_EPSILON = 1e-8
_SILU = 0.596  # the magnitude of silu of a standard normal number


class Normalized(nnx.Param[Array]):
    """Weights whose columns, over all axes but the last, training keeps at magnitude 1.

    `edmjax train`, `ej.training.fit` and `make_train_steps` scale each column after each step of
    any optimiser (equation 66). A column with `n` entries then has the norm `sqrt(n)`. The layer
    that holds it should compute with `normalized` of it over `sqrt(n)`, so that the step has no
    part along the column.
    """


def normalized(weights: Float[Array, "..."]) -> Float[Array, "..."]:
    """The weights with each column, over all axes but the last, divided by its magnitude."""
    square = jnp.mean(jnp.square(weights), tuple(range(weights.ndim - 1)), keepdims=True)
    return weights * lax.rsqrt(square + _EPSILON)


def pixel_norm(x: Float[Array, "... channels"]) -> Float[Array, "... channels"]:
    """`x` with magnitude 1 over its last axis, computed in at least float32 (equation 30)."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    return (wide * lax.rsqrt(square + _EPSILON)).astype(x.dtype)


def mp_silu(x: Array) -> Array:
    """`silu(x) / 0.596`, of magnitude 1 for standard normal `x` (equation 81)."""
    return nnx.swish(x) * (1 / _SILU)


def mp_sum(a: Array, b: Array, share: float) -> Array:
    """`((1 - t) a + t b) / sqrt((1 - t)^2 + t^2)`, with `t = share` (equation 88)."""
    length = math.hypot(1 - share, share)
    return a * ((1 - share) / length) + b * (share / length)


def mp_cat(a: Array, b: Array) -> Array:
    """The channels of both, scaled so that each array has the same part in a sum over channels.

    Equation 103 with `t = 1/2`: `sqrt((n + m) / 2) [a / sqrt(n), b / sqrt(m)]`.
    """
    n, m = a.shape[-1], b.shape[-1]
    both = math.sqrt((n + m) / 2)
    return jnp.concatenate([a * (both / math.sqrt(n)), b * (both / math.sqrt(m))], axis=-1)


def _weights(rngs: nnx.Rngs, *shape: int) -> Normalized:
    return Normalized(normalized(jax.random.normal(rngs.params(), shape, jnp.float32)))


class MPLinear(nnx.Module):
    """`x W gain` over the last axis, with `normalized(kernel) / sqrt(in)` for `W` (equation 47).

    A convolution of 1x1 pixels is the same. It computes in `dtype`, by default in what input and
    kernel promote to.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, dtype: DType | None = None, rngs: nnx.Rngs
    ):
        self.dtype: DType | None = dtype
        self.kernel: Normalized = _weights(rngs, in_channels, out_channels)

    def __call__(self, x: Array, gain: Array | float = 1.0) -> Array:
        kernel = self.kernel[...]
        kernel = normalized(kernel) * (gain / math.sqrt(len(kernel)))
        x, kernel = same_dtype(x, kernel, dtype=self.dtype)
        return x @ kernel


class MPConv(nnx.Module):
    """As `MPLinear`, a convolution with a 3x3 kernel that keeps the sides of an image."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        impl: Impl = "auto",
        dtype: DType | None = None,
        rngs: nnx.Rngs,
    ):
        self.impl: Impl = impl
        self.dtype: DType | None = dtype
        self.kernel: Normalized = _weights(rngs, 3, 3, in_channels, out_channels)

    def __call__(self, x: Array, gain: Array | float = 1.0) -> Array:
        kernel = self.kernel[...]
        kernel = normalized(kernel) * (gain / math.sqrt(kernel.size // kernel.shape[-1]))
        x, kernel = same_dtype(x, kernel, dtype=self.dtype)
        return conv(x, kernel, padding=1, impl=self.impl)


class MPFourierFeatures(nnx.Module):
    """`sqrt(2) cos(2 pi (w c + b))` with fixed `w ~ scale * normal` and uniform `b` (equation 75).

    Shape `(batch,)` to `(batch, dim)`.
    """

    def __init__(self, dim: int, scale: float, *, rngs: nnx.Rngs):
        dim, scale = whole(dim, "dim"), real(scale, "scale", above=0)
        frequencies = scale * jax.random.normal(rngs.params(), (dim,), jnp.float32)
        self.frequencies: Buffer = Buffer(frequencies)
        self.phases: Buffer = Buffer(jax.random.uniform(rngs.params(), (dim,), jnp.float32))

    def __call__(self, c_noise: Float[Array, " batch"]) -> Float[Array, "batch dim"]:
        turns = c_noise[:, None] * self.frequencies[...] + self.phases[...]
        return math.sqrt(2) * jnp.cos(2 * jnp.pi * turns)


class MPConditioning(nnx.Module):
    """One vector a sample, as `embeddings.Conditioning` makes it, of magnitude-preserving parts.

    Classes have a row each, and "no class" one more. A vector `v` enters as `V silu(U [v, 1])`: its
    entries should have a mean square of about 1. Each is added with weight 1/2.
    """

    def __init__(
        self,
        dim: int,
        scale: float,
        num_classes: int = 0,
        *,
        cond_vector: int = 0,
        rngs: nnx.Rngs,
    ):
        self.num_classes: int = whole(num_classes, "num_classes", least=0)
        self.fourier: MPFourierFeatures = MPFourierFeatures(dim, scale, rngs=rngs)
        self.linear: MPLinear = MPLinear(dim, dim, rngs=rngs)
        self.classes: Normalized | None = (
            _weights(rngs, num_classes + 1, dim) if num_classes else None
        )
        self.vector: nnx.List[MPLinear] | None = (
            nnx.List([MPLinear(cond_vector + 1, dim, rngs=rngs), MPLinear(dim, dim, rngs=rngs)])
            if cond_vector
            else None
        )

    def __call__(
        self,
        batch: Count,
        c_noise: CNoise,
        label: Labels | None = None,
        vector: Float[Array, "batch features"] | None = None,
    ) -> Float[Array, "batch dim"]:
        total = self.linear(self.fourier(checked_levels(c_noise, batch)))
        if self.classes is not None:
            # A row is the product with a one-hot vector of magnitude 1.
            label = checked_labels(label, self.num_classes, batch)
            total = mp_sum(total, jnp.take(normalized(self.classes[...]), label, axis=0), 0.5)
        if self.vector is not None and vector is not None:
            first, second = self.vector
            told = jnp.concatenate([vector, jnp.ones_like(vector[:, :1])], axis=1)
            total = mp_sum(total, second(mp_silu(first(told))), 0.5)
        return mp_silu(total)
