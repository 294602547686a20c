"""Convolutions with square kernels on NHWC images, as matrix products or as XLA's own convolutions.

Both forms are the same function with the same gradients. `impl="auto"` takes `lax` except on a
CPU, where the gradients of XLA's convolutions run up to a hundred times slower than they need to,
above all inside a loop. There it takes the faster form for each product (`_products`). The platform
is the one that the program is lowered for, so a CPU host can make the program of an accelerator.

Kernels are `(height, width, in, out)`. No padding unless asked for: output `i` reads inputs
`stride * i ... stride * i + k - 1`.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeAlias

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from edmjax._common.arguments import one_of
from edmjax.nn._options import DType
from edmjax.nn._products import applies_to, convolve, spread, windows, xla_convolution
from edmjax.nn.layers import alike, same_dtype

Impl: TypeAlias = str  # one of IMPLS
IMPLS = ("auto", "lax", "matmul")
Images: TypeAlias = Float[Array, "batch height width in"]
Output: TypeAlias = Float[Array, "batch height_out width_out out"]
Kernel: TypeAlias = Float[Array, "size size in out"]

_lecun_normal = nnx.initializers.lecun_normal()


def _in_form(impl: str, forms: dict[str, Callable[..., Array]], x: Array, kernel: Array) -> Array:
    """What the form `impl` makes of images and a kernel; `forms` has one for each name.

    The primitives of "auto" are the platform's form already. Where they cannot be taken, the
    platform that the program is lowered for chooses between the two others.
    """
    if one_of(impl, "impl", IMPLS) == "auto" and not applies_to(x):
        return lax.platform_dependent(x, kernel, cpu=forms["matmul"], default=forms["lax"])
    return forms[impl](x, kernel)


def conv(
    x: Images, kernel: Kernel, *, stride: int = 1, padding: int = 0, impl: Impl = "auto"
) -> Output:
    """The images `y[i, j] = sum_ab kernel[a, b] x[stride i + a, stride j + b]`, `x` zero-padded."""
    x, kernel = same_dtype(x, kernel)
    size, _, _, features = kernel.shape
    edges = ((padding, padding), (padding, padding))

    def auto(x: Array, kernel: Array) -> Array:
        return convolve(x, kernel, stride=stride, padding=edges)

    def by_lax(x: Array, kernel: Array) -> Array:
        return xla_convolution(padded(x), kernel, (stride, stride), "VALID")

    def by_matmul(x: Array, kernel: Array) -> Array:
        x = padded(x)
        output = tuple((n - size) // stride + 1 for n in x.shape[1:3])
        patches = windows(x, (size, size), stride, output)
        return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, features)

    def padded(x: Array) -> Array:
        return jnp.pad(x, ((0, 0), *edges, (0, 0)))

    return _in_form(impl, {"auto": auto, "lax": by_lax, "matmul": by_matmul}, x, kernel)


def conv_transpose(
    x: Images,
    kernel: Kernel,
    *,
    stride: int = 1,
    output_padding: tuple[int, int] = (0, 0),
    impl: Impl = "auto",
) -> Output:
    """The images `y[p, q] = sum of x[i, j] kernel[a, b]` over `stride i + a = p, stride j + b = q`.

    A side of the output has `stride (n - 1) + size + output_padding` pixels, as in torch's
    ConvTranspose2d without padding; the extra rows and columns at the end are the ones that `conv`
    with the same stride drops where it rounds down.
    """
    x, kernel = same_dtype(x, kernel)
    size, _, _, features = kernel.shape
    height, width = (
        stride * (n - 1) + size + extra
        for n, extra in zip(x.shape[1:3], output_padding, strict=True)
    )
    edges = tuple((size - 1, size - 1 + extra) for extra in output_padding)

    def auto(x: Array, kernel: Array) -> Array:
        if stride == 1:
            return convolve(x, kernel[::-1, ::-1], padding=edges)
        return spread(x, kernel.swapaxes(2, 3), stride=stride, image=(height, width))

    def by_lax(x: Array, kernel: Array) -> Array:
        # XLA correlates; a transposed convolution convolves.
        flipped = kernel[::-1, ::-1]
        return xla_convolution(x, flipped, (1, 1), edges, lhs_dilation=(stride, stride))

    def by_matmul(x: Array, kernel: Array) -> Array:
        # One product gives each input's share of each output; then the overlaps are added up.
        parts = x @ jnp.moveaxis(kernel, 2, 0).reshape(kernel.shape[2], -1)
        parts = parts.reshape(*x.shape[:3], size, size, features)
        rows = _overlap_add([parts[:, :, :, a] for a in range(size)], 1, stride, height)
        return _overlap_add([rows[:, :, :, b] for b in range(size)], 2, stride, width)

    return _in_form(impl, {"auto": auto, "lax": by_lax, "matmul": by_matmul}, x, kernel)


def _overlap_add(taps: list[Array], axis: int, stride: int, length: int) -> Array:
    """The sum of `taps[a][i]` over `stride i + a = p`, for `p < length` along `axis`.

    Outputs of one phase `p mod stride` meet only taps of that phase, so each phase is a sum of
    shifted arrays, and a reshape interleaves the phases: no scatter, no products with zeros.
    """
    num_blocks = -(-length // stride)
    phases = []
    for phase in range(stride):
        parts = []
        for shift, tap in enumerate(taps[phase::stride]):
            edges = [(0, 0, 0)] * tap.ndim
            # A negative edge crops, which happens to the last block of a phase that ends early.
            edges[axis] = (shift, num_blocks - shift - tap.shape[axis], 0)
            parts.append(lax.pad(tap, jnp.zeros((), tap.dtype), edges))
        if not parts:  # the stride is longer than the kernel: nothing reaches this phase
            shape = list(taps[0].shape)
            shape[axis] = num_blocks
            parts = [jnp.zeros(shape, taps[0].dtype)]
        phases.append(reduce(jnp.add, parts))
    y = jnp.stack(phases, axis=axis + 1)
    y = y.reshape(*y.shape[:axis], num_blocks * stride, *y.shape[axis + 2 :])
    return lax.slice_in_dim(y, 0, length, axis=axis)


class _Layer(nnx.Module):
    """A square kernel and, where asked for, a bias."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int = 3,
        *,
        stride: int = 1,
        use_bias: bool = True,
        kernel_init: Callable[..., Array] = _lecun_normal,
        impl: Impl = "auto",
        dtype: DType | None = None,
        rngs: nnx.Rngs,
    ):
        self.stride: int = stride
        self.impl: Impl = impl
        self.dtype: DType | None = dtype
        shape = (size, size, in_channels, out_channels)
        self.kernel: nnx.Param[Array] = nnx.Param(kernel_init(rngs.params(), shape, jnp.float32))
        bias = nnx.Param(jnp.zeros(out_channels, jnp.float32)) if use_bias else None
        self.bias: nnx.Param[Array] | None = bias

    def _apply(self, product: Callable[..., Output], x: Images, **options: Any) -> Output:
        x, kernel = same_dtype(x, self.kernel[...], dtype=self.dtype)
        y = product(x, kernel, stride=self.stride, impl=self.impl, **options)
        return y if self.bias is None else y + alike(self.bias[...], y)


class Conv(_Layer):
    """A convolution with a square kernel: `conv` with its kernel and, where asked for, a bias.

    It computes in `dtype` and returns it; the default is what its input and kernel promote to.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int = 3,
        *,
        stride: int = 1,
        padding: int = 0,
        use_bias: bool = True,
        kernel_init: Callable[..., Array] = _lecun_normal,
        impl: Impl = "auto",
        dtype: DType | None = None,
        rngs: nnx.Rngs,
    ):
        options: dict[str, Any] = dict(stride=stride, use_bias=use_bias, kernel_init=kernel_init)
        options |= dict(impl=impl, dtype=dtype, rngs=rngs)
        super().__init__(in_channels, out_channels, size, **options)
        self.padding: int = padding

    def __call__(self, x: Images) -> Output:
        return self._apply(conv, x, padding=self.padding)


class ConvTranspose(_Layer):
    """A transposed convolution with a square kernel: `conv_transpose` with its kernel and bias.

    `dtype` as for `Conv`.
    """

    def __call__(self, x: Images, output_padding: tuple[int, int] = (0, 0)) -> Output:
        return self._apply(conv_transpose, x, output_padding=output_padding)
