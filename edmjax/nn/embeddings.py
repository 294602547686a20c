"""What a network gets beside `x`: the noise level, and a class or a vector where there is one."""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from edmjax._common.arguments import real, whole
from edmjax._common.arrays import has_no_value
from edmjax._common.typing import Int as Count

# `c_noise`, a scalar or one number a sample, and the class of each sample.
CNoise: TypeAlias = Float[Array | np.ndarray, "..."] | float
Labels: TypeAlias = Int[Array | np.ndarray, "..."]


class Buffer(nnx.Variable[Array]):
    """An array of a network that is not trained: saved and restored, never updated."""


class FourierFeatures(nnx.Module):
    """`[sin(2 pi w c), cos(2 pi w c)]` with fixed random frequencies `w ~ scale * normal`.

    Shape `(batch,)` to `(batch, dim)`. A large scale tells close noise levels apart; a small one
    gives a function that is smooth in them. Tancik et al. 2020, equation 5; Song et al. 2021,
    appendix C.1.
    """

    def __init__(self, dim: int, scale: float, *, rngs: nnx.Rngs):
        if whole(dim, "dim", least=2) % 2:
            raise ValueError(f"Fourier features come in pairs: dim must be even, got {dim}.")
        scale = real(scale, "scale", above=0)
        frequencies = scale * jax.random.normal(rngs.params(), (dim // 2,), jnp.float32)
        self.frequencies: Buffer = Buffer(frequencies)

    def __call__(self, c_noise: Float[Array, " batch"]) -> Float[Array, "batch dim"]:
        angles = 2 * jnp.pi * c_noise[:, None] * self.frequencies[...]
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class Conditioning(nnx.Module):
    """One vector a sample: `swish(W fourier(c_noise) + class + vector)`, each in `dim` numbers.

    `num_classes = 0` makes an unconditional network, which takes no `cond`. Otherwise `cond` holds
    labels `0 ... num_classes - 1`; the label `num_classes`, and `cond=None`, mean "no class", which
    classifier-free guidance trains and evaluates beside the classes. Under `jit` labels cannot be
    checked: one that is too large gives NaN, and one below 0 counts from the end.

    `cond_vector` is the number of entries of a vector `v`, which enters as `V swish(U v)`.
    """

    def __init__(
        self,
        dim: int,
        scale: float,
        num_classes: int = 0,
        *,
        cond_vector: int = 0,
        rngs: nnx.Rngs,
    ):
        self.num_classes: int = whole(num_classes, "num_classes", least=0)
        self.fourier: FourierFeatures = FourierFeatures(dim, scale, rngs=rngs)
        self.linear: nnx.Linear = nnx.Linear(dim, dim, rngs=rngs)
        # Zero, so that training starts from the unconditional network.
        self.classes: nnx.Embed | None = (
            nnx.Embed(num_classes + 1, dim, embedding_init=nnx.initializers.zeros, rngs=rngs)
            if num_classes
            else None
        )
        self.vector: nnx.List[nnx.Linear] | None = (
            nnx.List([nnx.Linear(cond_vector, dim, rngs=rngs), nnx.Linear(dim, dim, rngs=rngs)])
            if cond_vector
            else None
        )

    def __call__(
        self,
        batch: Count,
        c_noise: Float[Array | np.ndarray, ""] | Float[Array | np.ndarray, " batch"] | float,
        label: Labels | None = None,
        vector: Float[Array, "batch features"] | None = None,
    ) -> Float[Array, "batch dim"]:
        total = self.linear(self.fourier(checked_levels(c_noise, batch)))
        if self.classes is not None:
            total = total + self.classes(checked_labels(label, self.num_classes, batch))
        if self.vector is not None and vector is not None:
            first, second = self.vector
            total = total + second(nnx.swish(first(vector)))
        return nnx.swish(total)


def checked_levels(c_noise: CNoise, batch: Count) -> Float[Array, " batch"]:
    """`c_noise`, a scalar or one number a sample, for each of `batch` samples."""
    if np.shape(c_noise) not in ((), (batch,)):
        raise ValueError(
            f"`c_noise` must be a scalar or one number for each of the {batch} samples, got "
            f"shape {np.shape(c_noise)}."
        )
    return jnp.broadcast_to(jnp.asarray(c_noise, jnp.float32), (batch,))


def checked_labels(
    given: Labels | int | None, num_classes: Count, batch: Count
) -> Int[Array, " batch"]:
    """Labels, one or one a sample, for each of `batch` samples; None means "no class"."""
    label = int(num_classes) if given is None else given
    dtype = jnp.result_type(label)
    if np.shape(label) not in ((), (1,), (batch,)) or not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(
            f"`cond` must be integer labels, one or one for each of the {batch} samples, got "
            f"{dtype} of shape {np.shape(label)}."
        )
    if not has_no_value(label):
        labels = np.ravel(label)
        wrong = labels[(labels < 0) | (labels > num_classes)]
        if wrong.size:
            raise ValueError(
                f"Labels are 0 to {num_classes - 1}, or {num_classes} for no class, got {wrong[0]}."
            )
    return jnp.broadcast_to(jnp.asarray(label), (batch,))
