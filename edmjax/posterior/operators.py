"""Linear operators whose singular values are known, and measurements by them.

Each is `A = U S V^H` with an orthonormal or unitary `V` that is applied by a fast transform: of a
sample `x`, `to_basis(x)` are the coordinates `V^H x`, in as many entries as `x` has, and
`squares(shape)` the squared singular value of each, 0 where the operator does not see.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass

from edmjax._common.typing import Arraylike


class Operator:
    """The base: a linear function of one sample, one array, with known singular values."""

    diagonal: bool = False  # whether V is the identity, so that noise may differ by entry

    def __call__(self, x: jax.Array) -> jax.Array:
        """`A x` of one sample."""
        raise NotImplementedError  # abstract: every subclass has its own

    def squares(self, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
        """The squared singular values, in the shape of a sample."""
        raise NotImplementedError  # abstract: every subclass has its own

    def to_basis(self, x: jax.Array) -> jax.Array:
        """`V^H x` of a batch of samples."""
        raise NotImplementedError  # abstract: every subclass has its own

    def from_basis(self, z: jax.Array) -> jax.Array:
        """The samples, real, with these coordinates."""
        raise NotImplementedError  # abstract: every subclass has its own


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Mask(Operator):
    """`keep * x`, entry by entry."""

    keep: Any
    diagonal = True

    def __call__(self, x: jax.Array) -> jax.Array:
        keep = np.shape(self.keep)
        if len(keep) > x.ndim or any(
            k not in (1, n) for k, n in zip(keep[::-1], x.shape[::-1], strict=False)
        ):
            raise ValueError(
                f"The mask has shape {np.shape(self.keep)} and a sample {x.shape}: it must be of "
                "that shape, or have axes of length 1 in it."
            )
        return jnp.asarray(self.keep, x.dtype) * x

    def squares(self, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
        return jnp.broadcast_to(jnp.asarray(self.keep, dtype) ** 2, shape)

    def to_basis(self, x: jax.Array) -> jax.Array:
        return x

    def from_basis(self, z: jax.Array) -> jax.Array:
        return z


class InFrequencies(Operator):
    """An operator whose `V` is the unitary Fourier transform along the first axes."""

    @property
    def num_axes(self) -> int:
        """How many axes are transformed."""
        raise NotImplementedError  # abstract: every subclass has its own

    def to_basis(self, x: jax.Array) -> jax.Array:
        return jnp.fft.fftn(x, axes=range(1, 1 + self.num_axes), norm="ortho")

    def from_basis(self, z: jax.Array) -> jax.Array:
        return jnp.fft.ifftn(z, axes=range(1, 1 + self.num_axes), norm="ortho").real


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Blur(InFrequencies):
    """The circular convolution with a kernel along the first axes, by the Fourier transform."""

    kernel: Any

    @property
    def num_axes(self) -> int:
        return np.ndim(self.kernel)

    def __call__(self, x: jax.Array) -> jax.Array:
        axes = range(self.num_axes)
        spectrum = jnp.fft.fftn(x, axes=axes) * self._transfer(x.shape, x.dtype)
        return jnp.fft.ifftn(spectrum, axes=axes).real.astype(x.dtype)

    def _transfer(self, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
        """The Fourier transform of the kernel, its centre at the origin; 1 along other axes."""
        kernel = jnp.asarray(self.kernel, dtype)
        sides = shape[: kernel.ndim]
        if len(shape) < kernel.ndim or any(k > n for k, n in zip(kernel.shape, sides, strict=True)):
            raise ValueError(
                f"The kernel has shape {kernel.shape}, and a sample {shape}: it must fit into the "
                "first axes of a sample."
            )
        padded = jnp.zeros(sides, dtype).at[tuple(slice(k) for k in kernel.shape)].set(kernel)
        centred = jnp.roll(padded, [-(k // 2) for k in kernel.shape], range(kernel.ndim))
        return jnp.fft.fftn(centred).reshape(*sides, *(1,) * (len(shape) - kernel.ndim))

    def squares(self, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
        return jnp.broadcast_to(jnp.abs(self._transfer(shape, dtype)) ** 2, shape)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Separable(Operator):
    """A matrix along each of the first axes of a sample, each by its singular values."""

    matrices: tuple[Any, ...]
    bases: tuple[Any, ...]
    spectra: tuple[Any, ...]

    @classmethod
    def of(cls, matrices: Sequence[jax.Array | np.ndarray]) -> "Separable":
        """With the singular values of each matrix."""
        parts = [right_singular(matrix) for matrix in matrices]
        return cls(tuple(matrices), tuple(v for v, _ in parts), tuple(s for _, s in parts))

    def __call__(self, x: jax.Array) -> jax.Array:
        lengths = tuple(matrix.shape[1] for matrix in self.matrices)
        if x.shape[: len(lengths)] != lengths:
            raise ValueError(
                f"The matrices are for axes of lengths {lengths}, and a sample has {x.shape}."
            )
        return _along(self.matrices, x, 0)

    def squares(self, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
        total = jnp.ones((1,) * len(shape), dtype)
        for axis, squares in enumerate(self.spectra):
            total = total * jnp.asarray(squares, dtype).reshape(-1, *(1,) * (len(shape) - axis - 1))
        return jnp.broadcast_to(total, shape)

    def to_basis(self, x: jax.Array) -> jax.Array:
        return _along([v.T for v in self.bases], x, 1)

    def from_basis(self, z: jax.Array) -> jax.Array:
        return _along(self.bases, z, 1)


def _along(matrices: Sequence[Arraylike], x: jax.Array, first: int) -> jax.Array:
    """`x` with a matrix applied to each axis from `first` on."""
    for axis, matrix in enumerate(matrices, start=first):
        product = jnp.tensordot(
            jnp.asarray(matrix, x.dtype), x, (1, axis), precision=jax.lax.Precision.HIGHEST
        )
        x = jnp.moveaxis(product, 0, axis)
    return x


def right_singular(matrix: jax.Array | np.ndarray) -> tuple[Any, Any]:
    """`(V, squares)`: all right singular vectors, and the squared singular value of each.

    What is below rounding of the greatest is 0: the matrix does not see it.
    """
    if np.ndim(matrix) != 2 or not matrix.size:
        raise ValueError(f"A matrix must have two axes, got shape {np.shape(matrix)}.")
    xp: Any = jnp if isinstance(matrix, jax.Array) else np
    values: Any
    _, values, transposed = xp.linalg.svd(matrix, full_matrices=True)
    small = max(matrix.shape) * np.finfo(matrix.dtype).eps * values.max()
    squares = xp.where(values > small, values, 0) ** 2
    return transposed.T, xp.pad(squares, (0, matrix.shape[1] - len(squares)))


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Matrix(Operator):
    """A dense matrix (m, d) over the flattened sample, with its V (d, d) and squares (d,)."""

    dense: Any
    basis: Any
    spectrum: Any

    @classmethod
    def of(cls, matrix: jax.Array | np.ndarray) -> "Matrix":
        """With the singular values of the matrix."""
        return cls(matrix, *right_singular(matrix))

    def __call__(self, x: jax.Array) -> jax.Array:
        dense = jnp.asarray(self.dense, x.dtype)
        if x.size != dense.shape[1]:
            raise ValueError(
                f"The matrix has shape {dense.shape}, and a sample {x.size} entries: it must have "
                "as many columns as a sample has entries."
            )
        return jnp.matmul(dense, x.reshape(-1), precision=jax.lax.Precision.HIGHEST)

    def squares(self, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
        return jnp.asarray(self.spectrum, dtype).reshape(shape)

    def to_basis(self, x: jax.Array) -> jax.Array:
        flat, v = x.reshape(x.shape[0], -1), jnp.asarray(self.basis, x.dtype)
        return jnp.matmul(flat, v, precision=jax.lax.Precision.HIGHEST).reshape(x.shape)

    def from_basis(self, z: jax.Array) -> jax.Array:
        flat, v = z.reshape(z.shape[0], -1), jnp.asarray(self.basis, z.dtype)
        return jnp.matmul(flat, v.T, precision=jax.lax.Precision.HIGHEST).reshape(z.shape)


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Fourier(InFrequencies):
    """The kept entries of the unitary Fourier transform, real and imaginary part on a last axis."""

    keep: Any

    @property
    def num_axes(self) -> int:
        return np.ndim(self.keep)

    def __call__(self, x: jax.Array) -> jax.Array:
        axes = range(self.num_axes)
        kept = self._mask(x.shape, x.dtype) * jnp.fft.fftn(x, axes=axes, norm="ortho")
        return jnp.stack([kept.real, kept.imag], axis=-1).astype(x.dtype)

    def _mask(self, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
        keep = jnp.asarray(self.keep, dtype)
        if keep.shape != shape[: keep.ndim]:
            raise ValueError(
                f"The mask of frequencies has shape {keep.shape}, and a sample {shape}: it must "
                "have the lengths of the first axes."
            )
        return keep.reshape(*keep.shape, *(1,) * (len(shape) - keep.ndim))

    def squares(self, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
        # A real sample has the same amplitude at k and at -k, so each is seen through both.
        square = self._mask(shape, dtype) ** 2
        opposite = square
        for axis in range(self.num_axes):
            opposite = jnp.roll(jnp.flip(opposite, axis), 1, axis)
        return jnp.broadcast_to((square + opposite) / 2, shape)
