"""How all networks are called, and how those of images take sides of any length."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from edmjax._common.typing import Int as Count, Shape
from edmjax.nn import _options
from edmjax.nn.conditions import Condition, Conditions, Kinds, resized
from edmjax.nn.embeddings import CNoise, Conditioning
from edmjax.nn.magnitude import MPConditioning


class Network(nnx.Module):
    """A network `net(x, c_noise, cond=None)`, whose output has the shape of `x`.

    A subclass says in `_check` which shapes of data it is for, and in `_output` what it computes.
    """

    def __init__(
        self,
        kinds: Kinds,
        embed_dim: int,
        fourier_scale: float,
        *,
        embedding: type[Conditioning] | type[MPConditioning] = Conditioning,
        rngs: nnx.Rngs,
    ):
        self.kinds: Kinds = kinds
        self.conditioning: Conditioning | MPConditioning = embedding(
            embed_dim, fourier_scale, kinds.label, cond_vector=kinds.vector, rngs=rngs
        )

    def __call__(
        self, x: Float[Array, "batch ..."], c_noise: CNoise, cond: Condition = None
    ) -> Float[Array, "batch ..."]:
        self._check(x.shape[1:])
        given = self.kinds.read(cond, x.shape[0], x.ndim, type(self).__name__)
        embedding = self.conditioning(x.shape[0], c_noise, given.label, given.vector)
        y = self._output(x, embedding, given)
        return y.astype(jnp.promote_types(x.dtype, jnp.float32))

    def _check(self, shape: Shape) -> None:
        raise NotImplementedError  # abstract: every subclass has its own

    def _output(self, x: Array, embedding: Array, given: Conditions) -> Array:
        raise NotImplementedError  # abstract: every subclass has its own


class ImageNetwork(Network):
    """A network of images, padded with zeros to sides that `factor` divides, and cut again.

    A condition that is an image is resized to `x` and becomes channels beside those of `x`. A
    subclass says in `_layers` what it computes.
    """

    def __init__(
        self,
        image_shape: Sequence[Count],
        kinds: Kinds,
        embed_dim: int,
        fourier_scale: float,
        *,
        num_levels: int,
        factor: int = 1,
        embedding: type[Conditioning] | type[MPConditioning] = Conditioning,
        rngs: nnx.Rngs,
    ):
        shape = _options.image(image_shape)
        self.image_channels: int = shape[-1]
        self.num_levels: int = num_levels
        self.factor: int = factor
        self._check(shape)
        super().__init__(kinds, embed_dim, fourier_scale, embedding=embedding, rngs=rngs)

    def _check(self, shape: Shape) -> None:
        if len(shape) != 3 or shape[-1] != self.image_channels or min(shape) < 1:
            raise ValueError(
                f"This {type(self).__name__} is for images (height, width, {self.image_channels}), "
                f"got {shape}."
            )

    def _output(self, x: Array, embedding: Array, given: Conditions) -> Array:
        sides = x.shape[1:-1]
        if given.image is not None:
            x = jnp.concatenate([x, resized(given.image, x)], axis=-1)
        return cut(self._layers(padded(x, [self.factor] * 2), embedding), sides)

    def _layers(self, x: Array, embedding: Array) -> Array:
        raise NotImplementedError  # abstract: every subclass has its own


def padded(x: Array, factors: Sequence[int]) -> Array:
    """`x` with zeros on both ends of each side, so that each of `factors` divides its side."""
    return _enlarged(x, [-n % f for n, f in zip(x.shape[1:-1], factors, strict=True)])


def at_least(x: Array, smallest: int) -> Array:
    """`x` with zeros on both ends of each side that is shorter than `smallest`."""
    return _enlarged(x, [max(smallest - n, 0) for n in x.shape[1:-1]])


def _enlarged(x: Array, extra: Sequence[int]) -> Array:
    if not any(extra):
        return x
    return jnp.pad(x, [(0, 0), *[(e // 2, e - e // 2) for e in extra], (0, 0)])


def cut(x: Array, sides: Shape) -> Array:
    """The middle of `x`, with these sides, where `padded` and `at_least` have put them."""
    if x.shape[1:-1] == sides:
        return x
    starts = [(n - side) // 2 for n, side in zip(x.shape[1:-1], sides, strict=True)]
    inside = [slice(a, a + side) for a, side in zip(starts, sides, strict=True)]
    return x[(slice(None), *inside)]
