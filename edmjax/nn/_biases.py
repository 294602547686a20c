"""Arrays that are added to every pixel, with gradients that are sums in float32."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array


def alike(value: Array, like: Array) -> Array:
    """`value`, broadcast to the shape of `like` and in its dtype.

    The gradient of a broadcast is a sum, here over thousands of pixels. In bfloat16, which has
    eight binary digits, such a sum stands still once it is 256 times as large as what is added: of
    the bias of a last layer it was wrong by 40 %. So it is taken in float32 or wider.
    """
    wide = jnp.promote_types(like.dtype, jnp.float32)
    return jnp.broadcast_to(value.astype(wide), like.shape).astype(like.dtype)


def same_dtype(*arrays: Array, dtype: Any = None) -> list[Array]:
    dtype = jnp.result_type(*arrays) if dtype is None else dtype
    return [array.astype(dtype) for array in arrays]


class Linear(nnx.Linear):
    """nnx.Linear, whose bias has such a gradient."""

    def __call__(self, inputs: Array, out_sharding: Any = None) -> Array:
        inputs, kernel = same_dtype(inputs, self.kernel[...], dtype=self.dtype)
        y = inputs @ kernel
        return y if self.bias is None else y + alike(self.bias[...], y)
