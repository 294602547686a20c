"""A convolution of stride 1 whose gradients are convolutions of the same layout.

XLA's convolutions on a CPU are as fast as matrix products where their layouts are NHWC and HWIO,
and need no array of patches. Their gradients have other layouts, which XLA turns round only outside
loops: inside `lax.scan` the gradient of a kernel takes a hundred times as long. So the gradients
are written here with explicit transpositions, as the same operation, which makes derivatives of any
order fast in loops too. Both modes of differentiation work, which `jax.custom_vjp` would not allow.
"""

from functools import partial
from typing import Any, TypeAlias

import jax
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

Padding: TypeAlias = tuple[tuple[int, int], ...]  # (before, after) of rows, of columns
_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv_stride_one(
    x: Float[Array, "batch height width in"],
    kernel: Float[Array, "rows columns in out"],
    padding: Padding,
) -> Float[Array, "batch height_out width_out out"]:
    """The correlation of zero-padded images with a kernel; a negative padding crops."""
    return _conv_p.bind(x, kernel, padding=padding)


def applies_to(x: Array) -> bool:
    """Whether `x` is where the primitive knows the way: not in `shard_map`, no Explicit mesh."""
    mesh = jax.typeof(x).sharding.mesh
    return mesh.empty or mesh.are_all_axes_auto


def _xla(x: Any, kernel: Any, *, padding: Padding) -> Any:
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=_LAYOUT)


def _abstract(x: Any, kernel: Any, *, padding: Padding) -> ShapedArray:
    sizes = [
        n + before + after - k + 1
        for n, k, (before, after) in zip(x.shape[1:3], kernel.shape[:2], padding, strict=True)
    ]
    return ShapedArray((x.shape[0], *sizes, kernel.shape[-1]), x.dtype)


def _transpose_x(ct: Any, x: Any, kernel: Any, *, padding: Padding) -> Any:
    del x
    rest = tuple(
        (size - 1 - before, size - 1 - after)
        for size, (before, after) in zip(kernel.shape[:2], padding, strict=True)
    )
    return conv_stride_one(ct, kernel[::-1, ::-1].transpose(0, 1, 3, 2), rest)


def _transpose_kernel(ct: Any, x: Any, kernel: Any, *, padding: Padding) -> Any:
    del kernel
    # The batch is what is summed over: it takes the place of the channels.
    y = conv_stride_one(x.transpose(3, 1, 2, 0), ct.transpose(1, 2, 0, 3), padding)
    return y.transpose(1, 2, 0, 3)


def _batch(args: Any, axes: Any, *, padding: Padding) -> tuple[Any, int]:
    x, kernel = args
    if axes[1] is None:  # more images of the same kernel
        x = jax.numpy.moveaxis(x, axes[0], 0)
        y = conv_stride_one(x.reshape(-1, *x.shape[2:]), kernel, padding)
        return y.reshape(*x.shape[:2], *y.shape[1:]), 0
    return jax.vmap(partial(_xla, padding=padding), axes)(x, kernel), 0


_conv_p = Primitive("conv_stride_one")
_conv_p.def_impl(jax.jit(_xla, static_argnames="padding"))
_conv_p.def_abstract_eval(_abstract)
mlir.register_lowering(_conv_p, mlir.lower_fun(_xla, multiple_results=False))
ad.defbilinear(_conv_p, _transpose_x, _transpose_kernel)
batching.primitive_batchers[_conv_p] = _batch
