"""Two conditions as one batch of twice the samples."""

from typing import Any

import jax
import jax.numpy as jnp


def paired(cond: Any, uncond: Any, n: int) -> tuple[Any, Any]:
    """`cond` as arrays, and `uncond` in its structure, shapes and dtypes."""
    cond = jax.tree.map(jnp.asarray, cond)
    for leaf in jax.tree.leaves(cond):
        if leaf.shape[:1] != (n,):
            raise ValueError(
                f"Axis 0 of every leaf of `cond` counts the {n} samples of `x`, got shape "
                f"{leaf.shape}: run one sample as a batch of one, without `batched=False`."
            )
    if jax.tree.structure(uncond) != jax.tree.structure(cond):
        raise ValueError(
            f"`uncond` must have the structure of `cond`, {jax.tree.structure(cond)}, got "
            f"{jax.tree.structure(uncond)}."
        )

    def fitted(cond, uncond):
        if uncond.shape not in (cond.shape, cond.shape[1:]):
            raise ValueError(
                f"A leaf of `cond` has shape {cond.shape}: in `uncond` it must have that shape, or "
                f"{cond.shape[1:]} for all samples alike, got {uncond.shape}."
            )
        if jnp.issubdtype(uncond.dtype, jnp.inexact) > jnp.issubdtype(cond.dtype, jnp.inexact):
            raise TypeError(
                f"A leaf of `cond` is {cond.dtype}, which cannot hold the {uncond.dtype} of "
                "`uncond`: convert one of them."
            )
        return jnp.broadcast_to(jnp.asarray(uncond, cond.dtype), cond.shape)

    return cond, jax.tree.map(fitted, cond, uncond)


def alternate(a: Any, b: Any) -> Any:
    """Twice the rows: those of `a` and `b` by turns.

    On a mesh that splits the batch no row moves to another device, as it would with one half after
    the other.
    """

    def leaf(a, b):
        return jnp.stack([a, b], axis=1).reshape(2 * a.shape[0], *a.shape[1:])

    return jax.tree.map(leaf, a, b)


def every_other(tree: Any, first: int) -> Any:
    """Every other row of each leaf, from row 0 or 1: what `alternate` was given."""
    return jax.tree.map(
        lambda v: jnp.reshape(v, (v.shape[0] // 2, 2, *v.shape[1:]))[:, first], tree
    )
