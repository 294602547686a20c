"""Convolutions for a CPU: three products, of images and kernels, that are one another's gradients.

With the stride `s` and `l` rows or columns of padding, the sums over all `s i + a - l = p` of

    convolve:   y[i] = sum x[p] kernel[a],
    spread:     x[p] = sum y[i] kernel[a]    (a transposed convolution),
    correlate:  kernel[a] = sum x[p] y[i],

are linear in each of their two arguments, and the gradients of each are the other two. So
derivatives of any order and in both modes stay within the three (`jax.custom_vjp` would forbid the
forward mode). Each is computed in a form that is fast on a CPU, also inside loops, where the
gradients of XLA's own convolutions run up to a hundred times slower than they need to.
"""

from collections.abc import Callable
from functools import partial, reduce
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

# The layout in which XLA's convolutions are fast on a CPU.
xla_convolution = partial(lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))


class Geometry(NamedTuple):
    """What the shapes of two of the three arrays do not determine. Only stride 1 has padding."""

    stride: int
    padding: tuple[tuple[int, int], ...]  # zeros (before, after) rows, columns of x
    image: tuple[int, ...]  # height and width of x
    kernel: tuple[int, ...]


def convolve(
    x: Float[Array, "batch height width in"],
    kernel: Float[Array, "rows columns in out"],
    *,
    stride: int = 1,
    padding: tuple[tuple[int, int], ...] = ((0, 0), (0, 0)),
) -> Float[Array, "batch height_out width_out out"]:
    """The images `y[i] = sum_a x[stride i + a - before] kernel[a]`, with `x` zero outside."""
    if stride > 1:
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
        padding = ((0, 0), (0, 0))
    geometry = Geometry(stride, padding, x.shape[1:3], kernel.shape[:2])
    return _convolve.bind(x, kernel, geometry=geometry)


def spread(
    y: Float[Array, "batch height_out width_out out"],
    kernel: Float[Array, "rows columns in out"],
    *,
    stride: int,
    image: tuple[int, int],
) -> Float[Array, "batch height width in"]:
    """The images `x[p] = sum y[i] kernel[a]` over `stride i + a = p`, of size `image`."""
    geometry = Geometry(stride, ((0, 0), (0, 0)), image, kernel.shape[:2])
    return _spread.bind(y, kernel, geometry=geometry)


def applies_to(x: Array) -> bool:
    """Whether the primitives can take `x`: not inside `shard_map`, nor on an Explicit mesh."""
    mesh = jax.typeof(x).sharding.mesh
    return mesh.empty or mesh.are_all_axes_auto


def windows(x: Array, kernel: tuple[int, ...], stride: int, output: tuple[int, ...]) -> list[Array]:
    """For each tap of a kernel, row by row, the pixels of `x` that it meets: one an output."""
    height, width = (stride * (n - 1) + 1 for n in output)
    return [
        x[:, a : a + height : stride, b : b + width : stride]
        for a, b in product(*map(range, kernel))
    ]


def _compute_convolve(x: Any, kernel: Any, *, geometry: Geometry) -> Any:
    return xla_convolution(x, kernel, (geometry.stride,) * 2, geometry.padding)


def _compute_spread(y: Any, kernel: Any, *, geometry: Geometry) -> Any:
    stride, size, kernel = geometry.stride, geometry.kernel, kernel.swapaxes(2, 3)
    if stride == 1:
        edges = [
            (k - 1 - before, k - 1 - after)
            for k, (before, after) in zip(size, geometry.padding, strict=True)
        ]
        return xla_convolution(y, kernel[::-1, ::-1], (1, 1), edges)
    # Pixels of one phase `p mod stride` meet only the taps of that phase: each phase is a sum of
    # shifted products, and a reshape interleaves the phases. No scatter, no products with zeros.
    height, width = geometry.image
    blocks = (-(-height // stride), -(-width // stride))

    def tap(a: int, b: int) -> Any:
        part = y @ kernel[a, b]
        shifts = (a // stride, b // stride)
        ends = [n - shift - m for n, shift, m in zip(blocks, shifts, y.shape[1:3], strict=True)]
        return jnp.pad(part, ((0, 0), *zip(shifts, ends, strict=True), (0, 0)))

    def phase(row: int, column: int) -> Any:
        places = product(range(row, size[0], stride), range(column, size[1], stride))
        taps = [tap(a, b) for a, b in places]
        if not taps:  # the stride is longer than the kernel: nothing reaches this phase
            return jnp.zeros((y.shape[0], *blocks, kernel.shape[3]), y.dtype)
        return reduce(jnp.add, taps)

    rows = [jnp.stack([phase(r, c) for c in range(stride)], axis=3) for r in range(stride)]
    x = jnp.stack(rows, axis=2)
    x = x.reshape(y.shape[0], blocks[0] * stride, blocks[1] * stride, kernel.shape[3])
    return x[:, :height, :width]


def _compute_correlate(x: Any, y: Any, *, geometry: Geometry) -> Any:
    stride, (rows, columns) = geometry.stride, geometry.kernel
    if stride == 1:
        # The sum is over the batch, so the batch takes the place of the channels.
        x, y = x.transpose(3, 1, 2, 0), y.transpose(1, 2, 0, 3)
        return xla_convolution(x, y, (1, 1), geometry.padding).transpose(1, 2, 0, 3)
    flat = y.reshape(-1, y.shape[3])
    seen = windows(x, (rows, columns), stride, y.shape[1:3])
    taps = [window.reshape(-1, x.shape[3]).T @ flat for window in seen]
    return jnp.stack(taps).reshape(rows, columns, x.shape[3], y.shape[3])


def _primitive(name: str, compute: Callable[..., Any]) -> Primitive:
    primitive, jitted = Primitive(f"edmjax_{name}"), jax.jit(compute, static_argnames="geometry")

    def shape(*arrays: Any, geometry: Geometry) -> ShapedArray:
        made = jitted.eval_shape(*arrays, geometry=geometry)
        return ShapedArray(made.shape, made.dtype)

    primitive.def_impl(jitted)
    primitive.def_abstract_eval(shape)
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))

    def batch(args: Any, axes: Any, *, geometry: Geometry) -> tuple[Any, int]:
        images, other = args
        if axes[1] is None and compute is not _compute_correlate:  # more images, the same kernel
            images = jnp.moveaxis(images, axes[0], 0)
            z = primitive.bind(images.reshape(-1, *images.shape[2:]), other, geometry=geometry)
            return z.reshape(*images.shape[:2], *z.shape[1:]), 0
        return jax.vmap(partial(compute, geometry=geometry), axes)(images, other), 0

    batching.primitive_batchers[primitive] = batch
    return primitive


_convolve = _primitive("convolve", _compute_convolve)
_spread = _primitive("spread", _compute_spread)
_correlate = _primitive("correlate", _compute_correlate)

# Each rule is given the cotangent of its product, and the two arguments.
ad.defbilinear(
    _convolve,
    lambda ct, x, kernel, **how: _spread.bind(ct, kernel, **how),
    lambda ct, x, kernel, **how: _correlate.bind(x, ct, **how),
)
ad.defbilinear(
    _spread,
    lambda ct, y, kernel, **how: _convolve.bind(ct, kernel, **how),
    lambda ct, y, kernel, **how: _correlate.bind(ct, y, **how),
)
ad.defbilinear(
    _correlate,
    lambda ct, x, y, **how: _spread.bind(y, ct, **how),
    lambda ct, x, y, **how: _convolve.bind(x, ct, **how),
)
