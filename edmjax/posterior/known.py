"""Linear measurements whose singular values are known, so that their solves are exact and cheap."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import on_host, whole
from edmjax._common.arrays import has_no_value, has_tracers
from edmjax._common.typing import Arraylike, Int, PyTree
from edmjax.posterior.measurements import Linear, checked
from edmjax.posterior.operators import Blur, Fourier, Mask, Matrix, Separable


def mask(keep: Arraylike, y: PyTree, noise_std: PyTree) -> Linear:
    """`y = keep x0 + noise_std n`, entry by entry: inpainting.

    Args:
        keep: an array of the shape of a sample, or with axes of length 1 in it: 1 where an entry
            was seen and 0 where it was not.
        y: of the shape of a sample; what stands where nothing was seen does not matter.
        noise_std: as in `linear`; it may differ by entry.

    Raises:
        ValueError: `keep` is not finite or 0 everywhere, and as `linear` does.
    """
    keep = _kept(keep)
    y = jax.tree.map(lambda leaf: jnp.where(jnp.asarray(keep) != 0, leaf, 0), y)
    return Linear(*checked(Mask(keep), y, noise_std))


def blur(kernel: Arraylike, y: PyTree, noise_std: PyTree) -> Linear:
    """`y = kernel * x0 + noise_std n`, the circular convolution along the first axes of a sample.

    Args:
        kernel: as many axes as are blurred, no longer than those of a sample; the entry at index
            `n // 2` along each axis is its centre.
        y: of the shape of a sample.
        noise_std: as in `linear`.

    Raises:
        ValueError: `kernel` is not finite, and as `linear` does.
    """
    return Linear(*checked(Blur(_array(kernel, "kernel")), y, noise_std))


def downsample(factor: Int, shape: Sequence[Int], y: PyTree, noise_std: PyTree) -> Linear:
    """Means of blocks of `factor` entries along each of the first axes, whose lengths are `shape`.

    Raises:
        ValueError: `factor` does not divide a length, and as `linear` does.
    """
    factor = whole(factor, "factor")
    matrices = []
    for length in shape:
        if length % factor:
            raise ValueError(f"`factor` must divide the lengths {tuple(shape)}, got {factor}.")
        matrices.append(np.kron(np.eye(int(length) // factor), np.full((1, factor), 1 / factor)))
    return Linear(*checked(Separable.of(matrices), y, noise_std))


def separable(matrices: Sequence[Arraylike], y: PyTree, noise_std: PyTree) -> Linear:
    """A matrix along each of the first axes of a sample: bicubic downsampling, for example.

    Raises:
        ValueError: one of `matrices` is not a finite matrix, and as `linear` does.
    """
    return Linear(*checked(Separable.of([_array(m, "matrices") for m in matrices]), y, noise_std))


def matrix(matrix: Arraylike, y: PyTree, noise_std: PyTree) -> Linear:
    """`y = matrix @ ravel(x0) + noise_std n`; its singular values are computed here.

    Raises:
        ValueError: `matrix` does not have two axes or is not finite, and as `linear` does.
    """
    return Linear(*checked(Matrix.of(_array(matrix, "matrix")), y, noise_std))


def fourier(keep: Arraylike, y: PyTree, noise_std: PyTree) -> Linear:
    """Entries of the unitary Fourier transform along the first axes, as in magnetic resonance.

    Args:
        keep: the lengths of these axes: 1 where a frequency was measured and 0 where it was not.
        y: the shape of a sample and a last axis of two, the real and the imaginary part.
        noise_std: of each of the two parts.

    Raises:
        ValueError: `keep` is not finite or 0 everywhere, and as `linear` does.
    """
    keep = _kept(keep)
    return Linear(*checked(Fourier(keep), y, noise_std))


def _kept(keep: Any) -> Any:
    """`keep` as an array that is not 0 everywhere."""
    keep = _array(keep, "keep")
    if not has_no_value(keep) and not np.asarray(keep).any():
        raise ValueError("This measurement sees nothing: `keep` is 0 everywhere.")
    return keep


def _array(value: Any, name: str) -> Any:
    """`value` as it is where it is traced, else as float64 on the host."""
    return value if has_tracers(value) or isinstance(value, jax.Array) else on_host(value, name)
