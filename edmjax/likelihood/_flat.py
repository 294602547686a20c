"""Points as rows of numbers: (batch, d), wide, whatever pytree they are."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from edmjax._common.arrays import working_dtype
from edmjax._common.functions import outputs_of
from edmjax._common.trees import Layout


class Flat:
    """Takes pytrees like `x` to arrays (batch, d) and back. Hashable, so that it may be static."""

    def __init__(self, x: Any):
        leaves, self.treedef = jax.tree.flatten(x)
        # Without the axis of samples: an adaptive solver sees one sample at a time.
        self.leaves = tuple((tuple(leaf.shape[1:]), jnp.dtype(leaf.dtype)) for leaf in leaves)
        self.sizes = tuple(math.prod(shape) for shape, _ in self.leaves)
        self.dim = sum(self.sizes)
        self.dtype = working_dtype(*[dtype for _, dtype in self.leaves])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Flat) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.treedef, self.leaves))

    def rows(self, x: Any) -> jax.Array:
        """`x`, a pytree with samples on axis 0 of every leaf, as an array (batch, d)."""
        leaves = [jnp.asarray(leaf, self.dtype) for leaf in jax.tree.leaves(x)]
        # By their sizes: an empty batch leaves -1 undefined.
        parts = zip(leaves, self.sizes, strict=True)
        return jnp.concatenate([leaf.reshape(leaf.shape[0], size) for leaf, size in parts], axis=1)

    def tree(self, rows: jax.Array, wide: bool = False) -> Any:
        """What `rows` was given; with `wide`, in the precision of the rows."""
        ends = [sum(self.sizes[: i + 1]) for i in range(len(self.sizes) - 1)]
        parts = jnp.split(rows, ends, axis=1)
        leaves = [
            part.reshape(rows.shape[0], *shape).astype(rows.dtype if wide else dtype)
            for part, (shape, dtype) in zip(parts, self.leaves, strict=True)
        ]
        return self.treedef.unflatten(leaves)

    def like(self, batch: int) -> Any:
        """Shapes of `batch` points, in the precision of the rows."""
        return Layout(
            self.treedef.unflatten(
                [jax.ShapeDtypeStruct((batch, *shape), self.dtype) for shape, _ in self.leaves]
            )
        ).tree()

    def denoised(self, denoise: Any, rows: jax.Array, sigma: Any, cond: Any) -> jax.Array:
        """`D(x, sigma)` as rows."""
        x = self.tree(rows)
        out = denoise(x, sigma) if cond is None else denoise(x, sigma, cond)
        return self.rows(outputs_of(out, x)[0])
