"""Layers that sum over pixels in at least float32, whatever the dtype of the activations.

A statistic is such a sum, and so is the gradient of whatever is added to every pixel.
"""

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from edmjax._common.arguments import whole
from edmjax._common.typing import Int
from edmjax.nn._options import DType


def alike(value: Array, like: Array) -> Array:
    """`value`, broadcast to the shape of `like` and in its dtype.

    The gradient of a broadcast is a sum, here over thousands of pixels. A bfloat16 number has eight
    binary digits, so a bfloat16 sum stops growing once it is 256 times its increment: the gradient
    of the bias of a last layer was wrong by 40 %. So the sum is taken in at least float32.
    """
    wide = jnp.promote_types(like.dtype, jnp.float32)
    return jnp.broadcast_to(value.astype(wide), like.shape).astype(like.dtype)


def same_dtype(*arrays: Array, dtype: DType | None = None) -> list[Array]:
    """The arrays in `dtype`, by default the one that they promote to."""
    dtype = jnp.result_type(*arrays) if dtype is None else dtype
    return [array.astype(dtype) for array in arrays]


def parts(layer: nnx.Linear, x: Array, number: int) -> list[Array]:
    """The output of a linear layer in `number` equal parts.

    As so many products: XLA would slice a single one inside the loop over all pixels, which makes
    that loop four times as slow.
    """
    dtype = layer.dtype or x.dtype
    kernel, bias = layer.kernel[...], layer.bias
    assert bias is not None
    arrays = jnp.split(kernel, number, axis=1), jnp.split(bias[...], number)
    return [
        x.astype(dtype) @ kernel.astype(dtype) + bias.astype(dtype)
        for kernel, bias in zip(*arrays, strict=True)
    ]


class Linear(nnx.Linear):
    """nnx.Linear, with a bias whose gradient is summed in at least float32."""

    def __call__(self, inputs: Array, out_sharding: object = None) -> Array:
        inputs, kernel = same_dtype(inputs, self.kernel[...], dtype=self.dtype)
        y = inputs @ kernel
        return y if self.bias is None else y + alike(self.bias[...], y)


class GroupNorm(nnx.Module):
    """`scale (x - mean) / std + bias`, mean and deviation of a group of channels in each image.

    For `x` of shape `(batch, height, width, channels)`; the result has its dtype. `num_groups` must
    divide the channels; the default is as many as possible, up to 32, with at least four channels a
    group. nnx.GroupNorm reduces over pixels and channels at once; here each channel is summed along
    rows of memory first and then the group, which takes a third of the time on a CPU. The variance
    is computed from the differences from the mean, so no digits are lost where the mean is large.
    `epsilon` is added to it.

    Source: Wu and He 2018 (arXiv 1803.08494), equations 1 to 4.
    """

    def __init__(self, channels: Int, num_groups: Int | None = None, *, epsilon: float = 1e-5):
        channels = whole(channels, "channels")
        if num_groups is None:
            fitting = (g for g in range(1, 33) if channels % g == 0 and channels >= 4 * g)
            num_groups = max(fitting, default=1)
        if channels % whole(num_groups, "num_groups"):
            raise ValueError(f"{num_groups} groups cannot share {channels} channels evenly.")
        self.num_groups: int = int(num_groups)
        self.epsilon: float = epsilon
        self.scale: nnx.Param[Array] = nnx.Param(jnp.ones(channels, jnp.float32))
        self.bias: nnx.Param[Array] = nnx.Param(jnp.zeros(channels, jnp.float32))

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch height width channels"]:
        pixels = x.reshape(x.shape[0], -1, x.shape[-1])
        pixels = pixels.astype(jnp.promote_types(x.dtype, jnp.float32))
        centred = pixels - self._mean(pixels)
        y = centred * lax.rsqrt(self._mean(jnp.square(centred)) + self.epsilon)
        return (y * self.scale[...] + self.bias[...]).reshape(x.shape).astype(x.dtype)

    def _mean(self, pixels: Array) -> Array:
        """The mean of each group, for each of its channels."""
        batch, _, channels = pixels.shape
        width = channels // self.num_groups
        means = pixels.mean(1).reshape(batch, self.num_groups, width).mean(-1)
        return means.repeat(width, axis=-1)[:, None]
