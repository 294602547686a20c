"""What a network is told beside the image: the noise level, and a class where there are classes."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int


class Buffer(nnx.Variable):
    """An array that belongs to a network and is not trained: saved and restored, never updated."""


class FourierFeatures(nnx.Module):
    """`[sin(2 pi w c), cos(2 pi w c)]` with fixed random frequencies `w ~ scale * normal`.

    Shape `(batch,)` to `(batch, dim)`. A large scale tells close noise levels apart; a small one
    gives a function that is smooth in them. Tancik et al. 2020, equation 5; Song et al. 2021,
    appendix C.1.
    """

    def __init__(self, dim: int, scale: float, *, rngs: nnx.Rngs):
        if dim % 2:
            raise ValueError(f"Fourier features come in pairs: dim must be even, got {dim}.")
        self.frequencies = Buffer(scale * jax.random.normal(rngs.params(), (dim // 2,)))

    def __call__(self, c_noise: Float[Array, " batch"]) -> Float[Array, "batch dim"]:
        angles = 2 * jnp.pi * c_noise[:, None] * self.frequencies[...]
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class Conditioning(nnx.Module):
    """One vector a sample from the noise level and the class: `swish(W fourier(c_noise) + class)`.

    `num_classes = 0` makes an unconditional network, which takes no `cond`. Otherwise `cond` holds
    labels `0 ... num_classes - 1`; the label `num_classes`, and `cond=None`, mean "no class", which
    is what classifier-free guidance trains and evaluates beside the classes.
    """

    def __init__(self, dim: int, scale: float, num_classes: int = 0, *, rngs: nnx.Rngs):
        self.num_classes = num_classes
        self.fourier = FourierFeatures(dim, scale, rngs=rngs)
        self.linear = nnx.Linear(dim, dim, rngs=rngs)
        # Zero, so that training starts from the unconditional network.
        self.classes = (
            nnx.Embed(num_classes + 1, dim, embedding_init=nnx.initializers.zeros, rngs=rngs)
            if num_classes
            else None
        )

    def __call__(
        self,
        batch: int,
        c_noise: Float[Array | np.ndarray, ""] | Float[Array | np.ndarray, " batch"] | float,
        cond: Int[Array | np.ndarray, "..."] | None = None,
    ) -> Float[Array, "batch dim"]:
        c_noise = jnp.broadcast_to(jnp.asarray(c_noise, jnp.float32), (batch,))
        vector = self.linear(self.fourier(c_noise))
        if self.classes is not None:
            label = self.num_classes if cond is None else cond
            vector = vector + self.classes(jnp.broadcast_to(jnp.asarray(label), (batch,)))
        elif cond is not None:
            raise ValueError(
                "This network knows no classes: build it with num_classes, or call it without cond."
            )
        return nnx.swish(vector)
