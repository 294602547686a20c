"""What the networks of images share: how they are called, and which images they are for."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from edmjax._common.typing import Shape
from edmjax.nn import _options
from edmjax.nn.embeddings import CNoise, Conditioning, Labels


class ImageNetwork(nnx.Module):
    """A network `net(x, c_noise, cond=None)`, whose output has the shape of `x`.

    A subclass says in `_check` which shapes of images it is for, and in `_output` what it computes.
    """

    def __init__(self, image_shape: Sequence[int], num_levels: int, conditioning: Conditioning):
        shape = _options.image(image_shape)
        self.image_channels: int = shape[-1]
        self.num_levels: int = num_levels
        self._check(shape)
        self.conditioning: Conditioning = conditioning

    def __call__(
        self,
        x: Float[Array, "batch height width channels"],
        c_noise: CNoise,
        cond: Labels | None = None,
    ) -> Float[Array, "batch height width channels"]:
        self._check(x.shape[1:])
        embedding = self.conditioning(x.shape[0], c_noise, cond)
        return self._output(x, embedding).astype(jnp.promote_types(x.dtype, jnp.float32))

    def _check(self, shape: Shape) -> None:
        raise NotImplementedError  # abstract: every subclass has its own

    def _output(self, x: Array, embedding: Array) -> Array:
        raise NotImplementedError  # abstract: every subclass has its own

    def _check_sides(self, shape: Shape, factor: int, why: str) -> None:
        """Raises where an image has other channels, or sides that `factor` does not divide."""
        fits = len(shape) == 3 and shape[-1] == self.image_channels
        if not fits or any(n < 1 or n % factor for n in shape[:2]):
            raise ValueError(
                f"This {type(self).__name__} is for images (height, width, {self.image_channels}) "
                f"with sides that {factor} divides ({why}, each half the size of the one before); "
                f"got {shape}. Pad or crop the images, or use fewer levels."
            )
