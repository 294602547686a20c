"""Three products of images and kernels that are one another's gradients, in the platform's form.

With the stride `s` and `l` rows or columns of padding, the sums over all `s i + a - l = p` of

    convolve:   y[i] = sum x[p] kernel[a],
    spread:     x[p] = sum y[i] kernel[a]    (a transposed convolution),
    correlate:  kernel[a] = sum x[p] y[i],

are linear in each of their two arguments, and the gradients of each are the other two. So
derivatives of any order and in both modes stay within the three (`jax.custom_vjp` would forbid the
forward mode). Each is a primitive with two forms, and which one a program holds is chosen when it
is lowered for a platform. On a CPU it is one that is fast there, also inside loops, where the
gradients of XLA's own convolutions run up to a hundred times slower than they need to. Elsewhere it
is the convolution that JAX's own derivatives would be.
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

from edmjax._common.typing import Shape

# The layout in which XLA's convolutions are fast on a CPU.
xla_convolution = partial(lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))


class Geometry(NamedTuple):
    """What the shapes of two of the three arrays do not determine. Only stride 1 has padding."""

    stride: int
    padding: tuple[tuple[int, int], ...]  # zeros (before, after) rows, columns of x
    image: tuple[int, ...]  # height and width of x
    kernel: tuple[int, ...]
    # Of the products elsewhere: what `jax.default_matmul_precision` says where they are asked for.
    precision: Any = None


def _geometry(stride: int, padding: Any, image: Any, kernel: Array) -> Geometry:
    precision = getattr(jax.config, "jax_default_matmul_precision")  # noqa: B009 (untyped)
    return Geometry(stride, padding, image, kernel.shape[:2], precision)


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
    geometry = _geometry(stride, padding, x.shape[1:3], kernel)
    return _convolve.bind(x, kernel, geometry=geometry)


def spread(
    y: Float[Array, "batch height_out width_out out"],
    kernel: Float[Array, "rows columns in out"],
    *,
    stride: int,
    image: tuple[int, int],
) -> Float[Array, "batch height width in"]:
    """The images `x[p] = sum y[i] kernel[a]` over `stride i + a = p`, of size `image`."""
    geometry = _geometry(stride, ((0, 0), (0, 0)), image, kernel)
    return _spread.bind(y, kernel, geometry=geometry)


def applies_to(x: Array) -> bool:
    """Whether the primitives can take `x`: not inside `shard_map`, nor on an Explicit mesh."""
    mesh = jax.typeof(x).sharding.mesh
    return mesh.empty or mesh.are_all_axes_auto


def windows(x: Array, kernel: Shape, stride: int, output: Shape) -> list[Array]:
    """For each tap of a kernel, row by row, the pixels of `x` that it meets: one an output."""
    height, width = (stride * (n - 1) + 1 for n in output)
    return [
        x[:, a : a + height : stride, b : b + width : stride]
        for a, b in product(*map(range, kernel))
    ]


# ---- on a CPU


def _convolve_on_cpu(x: Any, kernel: Any, *, geometry: Geometry) -> Any:
    return xla_convolution(x, kernel, (geometry.stride,) * 2, geometry.padding)


def _spread_on_cpu(y: Any, kernel: Any, *, geometry: Geometry) -> Any:
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


def _correlate_on_cpu(x: Any, y: Any, *, geometry: Geometry) -> Any:
    stride, (rows, columns) = geometry.stride, geometry.kernel
    if stride == 1:
        # The sum is over the batch, so the batch takes the place of the channels.
        x, y = x.transpose(3, 1, 2, 0), y.transpose(1, 2, 0, 3)
        return xla_convolution(x, y, (1, 1), geometry.padding).transpose(1, 2, 0, 3)
    flat = y.reshape(-1, y.shape[3])
    seen = windows(x, (rows, columns), stride, y.shape[1:3])
    taps = [window.reshape(-1, x.shape[3]).T @ flat for window in seen]
    return jnp.stack(taps).reshape(rows, columns, x.shape[3], y.shape[3])


# ---- elsewhere


def _edges(geometry: Geometry, outputs: Shape) -> list[tuple[int, int]]:
    """The edges with which a convolution of `outputs`, spread by the stride, has the image's size.

    With a stride the last pixels may meet no output, and are zeros.
    """
    sizes = zip(geometry.padding, geometry.image, geometry.kernel, outputs, strict=True)
    return [
        (k - 1 - before, size + before - geometry.stride * (n - 1) - 1)
        for (before, _), size, k, n in sizes
    ]


def _convolve_elsewhere(x: Any, kernel: Any, *, geometry: Geometry) -> Any:
    strides = (geometry.stride,) * 2
    return xla_convolution(x, kernel, strides, geometry.padding, precision=geometry.precision)


def _spread_elsewhere(y: Any, kernel: Any, *, geometry: Geometry) -> Any:
    return lax.conv_general_dilated(
        y,
        kernel[::-1, ::-1],  # XLA correlates; a transposed convolution convolves
        (1, 1),
        _edges(geometry, y.shape[1:3]),
        lhs_dilation=(geometry.stride,) * 2,
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
        precision=geometry.precision,
    )


def _correlate_elsewhere(x: Any, y: Any, *, geometry: Geometry) -> Any:
    sizes = zip(geometry.padding, geometry.image, geometry.kernel, y.shape[1:3], strict=True)
    edges = [
        (before, k + geometry.stride * (n - 1) - size - before) for (before, _), size, k, n in sizes
    ]
    return lax.conv_general_dilated(
        x,
        y,
        (1, 1),
        edges,
        rhs_dilation=(geometry.stride,) * 2,
        dimension_numbers=("CHWN", "IHWO", "HWNC"),  # the sum is over the batch
        precision=geometry.precision,
    )


# ---- the primitives


def _primitive(name: str, on_cpu: Callable[..., Any], elsewhere: Callable[..., Any]) -> Primitive:
    primitive = Primitive(f"edmjax_{name}")
    shape_of = jax.jit(on_cpu, static_argnames="geometry").eval_shape

    def shape(*arrays: Any, geometry: Geometry) -> ShapedArray:
        made = shape_of(*arrays, geometry=geometry)
        return ShapedArray(made.shape, made.dtype)

    primitive.def_impl(jax.jit(primitive.bind, static_argnames="geometry"))
    primitive.def_abstract_eval(shape)
    lowered = partial(mlir.lower_fun, multiple_results=False)
    mlir.register_lowering(primitive, lowered(on_cpu), platform="cpu")
    mlir.register_lowering(primitive, lowered(elsewhere))

    def batch(args: Any, axes: Any, *, geometry: Geometry) -> tuple[Any, int]:
        images, other = args
        # More images and the same kernel: one product.
        if axes[1] is None and on_cpu is not _correlate_on_cpu:
            images = jnp.moveaxis(images, axes[0], 0)
            z = primitive.bind(images.reshape(-1, *images.shape[2:]), other, geometry=geometry)
            return z.reshape(*images.shape[:2], *z.shape[1:]), 0
        forms = [jax.vmap(partial(f, geometry=geometry), axes) for f in (on_cpu, elsewhere)]
        return lax.platform_dependent(images, other, cpu=forms[0], default=forms[1]), 0

    batching.primitive_batchers[primitive] = batch
    return primitive


_convolve = _primitive("convolve", _convolve_on_cpu, _convolve_elsewhere)
_spread = _primitive("spread", _spread_on_cpu, _spread_elsewhere)
_correlate = _primitive("correlate", _correlate_on_cpu, _correlate_elsewhere)

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
