"""Convolutions with square kernels on NHWC images, as matrix products or as XLA's own convolutions.

Both forms are the same function with the same gradients. `impl="auto"` takes `lax` except on a
CPU, where the gradients of XLA's convolutions run up to a hundred times slower than they need to,
above all inside a loop. There it takes the faster form for each product (`_cpu_convolutions`). The
platform is `jax.default_backend()` when the network is traced.

Kernels are `(height, width, in, out)`. No padding unless asked for: output `i` reads inputs
`stride * i ... stride * i + k - 1`.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from edmjax._common.arguments import one_of
from edmjax.nn._cpu_convolutions import applies_to, convolve, spread, windows, xla_convolution
from edmjax.nn._options import DType
from edmjax.nn.layers import alike, same_dtype

Impl: TypeAlias = str  # one of IMPLS
IMPLS = ("auto", "lax", "matmul")
Images: TypeAlias = Float[Array, "batch height width in"]
Output: TypeAlias = Float[Array, "batch height_out width_out out"]
Kernel: TypeAlias = Float[Array, "size size in out"]

_lecun_normal = nnx.initializers.lecun_normal()


def _choose(impl: str, x: Array) -> str:
    """The form to take: lax, matmul or cpu."""
    if one_of(impl, "impl", IMPLS) != "auto":
        return impl
    if jax.default_backend() != "cpu":
        return "lax"
    return "cpu" if applies_to(x) else "matmul"


def conv(
    x: Images, kernel: Kernel, *, stride: int = 1, padding: int = 0, impl: Impl = "auto"
) -> Output:
    """The images `y[i, j] = sum_ab kernel[a, b] x[stride i + a, stride j + b]`, `x` zero-padded."""
    x, kernel = same_dtype(x, kernel)
    form = _choose(impl, x)
    if form == "cpu":
        return convolve(x, kernel, stride=stride, padding=((padding, padding), (padding, padding)))
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    if form == "lax":
        return xla_convolution(x, kernel, (stride, stride), "VALID")
    size, _, _, features = kernel.shape
    output = tuple((n - size) // stride + 1 for n in x.shape[1:3])
    patches = windows(x, (size, size), stride, output)
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, features)


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
    form = _choose(impl, x)
    edges = tuple((size - 1, size - 1 + extra) for extra in output_padding)
    if form == "cpu" and stride == 1:
        return convolve(x, kernel[::-1, ::-1], padding=edges)
    if form == "cpu":
        return spread(x, kernel.swapaxes(2, 3), stride=stride, image=(height, width))
    if form == "lax":
        # XLA correlates; a transposed convolution convolves.
        flipped = kernel[::-1, ::-1]
        return xla_convolution(x, flipped, (1, 1), edges, lhs_dilation=(stride, stride))
    # One product gives each input's share of each output; then the overlaps are added up.
    parts = x @ jnp.moveaxis(kernel, 2, 0).reshape(kernel.shape[2], -1)
    parts = parts.reshape(*x.shape[:3], size, size, features)
    rows = _overlap_add([parts[:, :, :, a] for a in range(size)], 1, stride, height)
    return _overlap_add([rows[:, :, :, b] for b in range(size)], 2, stride, width)


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
