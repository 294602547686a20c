"""A residual network for vectors."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from edmjax._common.arguments import whole
from edmjax._common.typing import Shape
from edmjax.nn import _options
from edmjax.nn._network import Network
from edmjax.nn._options import DType
from edmjax.nn.conditions import Conditions, Kinds
from edmjax.nn.layers import Linear, parts

_zeros = nnx.initializers.zeros


class MLP(Network):
    """A residual network of vectors: `net(x, c_noise)` gives `F`, shaped like `x`, `(batch, d)`.

    The first layer maps `x`, and the vector beside it, to `width` numbers `h`. Each of `num_blocks`
    blocks adds

        W2 swish(W1 swish((1 + scale) h + shift)),

    and the last layer reads `swish(h)`. `scale` and `shift` are linear in the embedding of the
    noise level, the class and the vector. Nothing is normalised, because the length of `x` tells
    where it lies. `W2`, `scale`, `shift` and the last layer start at zero, so the network starts as
    zero.

    `data_shape` is `(d,)`. The condition is a class (`num_classes`), a vector of `cond_vector`
    entries, or both, as a dict with the names `label` and `vector`.

    `dtype` is the dtype of the activations, float32 by default; bfloat16 is for accelerators.
    Parameters are float32, under x64 too; the noise level's embedding and the output are float32
    or wider.

    Source: Perez et al. 2018 (FiLM, arXiv 1709.07871), equation 2.
    """

    def __init__(
        self,
        data_shape: Sequence[int] = (2,),
        *,
        width: int = 128,
        num_blocks: int = 3,
        embed_dim: int = 64,
        fourier_scale: float = 1.0,
        num_classes: int = 0,
        cond_vector: int = 0,
        dtype: DType | None = None,
        rngs: nnx.Rngs,
    ):
        shape = _options.data(data_shape, 1, 1, "(d,), of a vector of d entries")
        self.entries: int = shape[0]
        width, num_blocks = whole(width, "width"), whole(num_blocks, "num_blocks", least=0)
        kinds = Kinds.of(num_classes, cond_vector=cond_vector)
        super().__init__(kinds, embed_dim, fourier_scale, rngs=rngs)
        layer: dict[str, Any] = dict(dtype=_options.activations(dtype), rngs=rngs)
        self.first: Linear = Linear(self.entries + kinds.vector, width, **layer)
        self.blocks: nnx.List[_Block] = nnx.List(
            [_Block(width, embed_dim, **layer) for _ in range(num_blocks)]
        )
        self.last: Linear = Linear(width, self.entries, kernel_init=_zeros, **layer)

    def _check(self, shape: Shape) -> None:
        if shape != (self.entries,):
            raise ValueError(f"This MLP is for vectors of shape ({self.entries},), got {shape}.")

    def _output(self, x: Array, embedding: Array, given: Conditions) -> Array:
        # What the vector says of `x` itself, as in inference, is learned sooner where both are
        # read together: half the excess loss on a linear Gaussian simulator.
        beside = [] if given.vector is None else [given.vector.astype(x.dtype)]
        h = self.first(jnp.concatenate([x, *beside], axis=-1))
        for block in self.blocks:
            h = block(h, embedding)
        return self.last(nnx.swish(h))


class _Block(nnx.Module):
    """`h + W2 swish(W1 swish((1 + scale) h + shift))`."""

    def __init__(self, width: int, embed_dim: int, *, dtype: Any, rngs: nnx.Rngs):
        layer: dict[str, Any] = dict(dtype=dtype, rngs=rngs)
        self.modulate = nnx.Linear(embed_dim, 2 * width, kernel_init=_zeros, **layer)
        self.first = Linear(width, width, **layer)
        self.second = Linear(width, width, kernel_init=_zeros, **layer)

    def __call__(self, h: Array, embedding: Array) -> Array:
        scale, shift = parts(self.modulate, embedding, 2)
        return h + self.second(nnx.swish(self.first(nnx.swish(h * (1 + scale) + shift))))
