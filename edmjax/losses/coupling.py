"""Minibatch coupling: which noise of a batch goes with which of its data."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.trees import is_shared
from edmjax._common.typing import PyTree


def paired(noise: PyTree, x0: PyTree, cond: PyTree, weights: PyTree) -> Any:
    """`noise` in the order in which the sum of its squared distances to `x0` is least.

    Noise goes to another sample of an equal condition alone: given its condition it is white, as
    the noise is that sampling starts from. `weights` multiply the squares of the distances.

    The order is found on the host, by `scipy.optimize.linear_sum_assignment`, from distances that
    the device computes: a function of the batch, so that a step that is taken again has its bits.

    Raises:
        ValueError: a condition that is not of whole numbers, or weights that differ from sample to
            sample: then no two samples would be alike.
    """
    cost = _cost(noise, x0, weights)
    for leaf in jax.tree.leaves(cond):
        if is_shared(leaf):
            continue
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.integer):
            raise ValueError(
                "Noise is paired with data among the samples of one condition, and conditions of "
                f"{jnp.result_type(leaf)} are all different: leave the coupling out, or give "
                "labels, which are whole numbers."
            )
        rows = jnp.reshape(leaf, (len(cost), -1))
        alike = (rows[:, None] == rows[None]).all(-1)
        cost = jnp.where(alike, cost, jnp.inf)
    # The order is no function of the parameters that a gradient could be taken of.
    cost = jax.lax.stop_gradient(cost)
    shape = jax.ShapeDtypeStruct((len(cost),), jnp.int32)
    order = jax.pure_callback(_order, shape, cost, vmap_method="sequential")
    return jax.tree.map(lambda leaf: leaf[order], noise)


def _cost(noise: PyTree, x0: PyTree, weights: PyTree) -> jax.Array:
    """`-2 x0 . noise` of all pairs, (n, n): the squares alone make no difference to the order."""
    leaves = jax.tree.leaves(x0)
    given = [None] * len(leaves) if weights is None else jax.tree.leaves(weights)
    total: Any = 0.0
    for leaf, drawn, weight in zip(leaves, jax.tree.leaves(noise), given, strict=True):
        data = leaf.astype(drawn.dtype)
        if weight is not None:
            if weight.ndim == leaf.ndim and weight.shape[0] > 1:
                raise ValueError(
                    "Noise is paired with data across the samples of a batch, so `weights` must be "
                    f"one for all samples, got {weight.shape} for {leaf.shape}: leave the coupling "
                    "out, or the axis of samples of the weights."
                )
            data = jnp.where(weight == 0, 0, data) * weight.astype(drawn.dtype)
        rows = [jnp.reshape(v, (v.shape[0], -1)) for v in (data, drawn)]
        total = total - 2 * jnp.matmul(rows[0], rows[1].T, precision="highest")
    return total


def _order(cost: Any) -> np.ndarray:
    from scipy.optimize import linear_sum_assignment  # JAX brings SciPy; it takes 0.1 s to load

    cost = np.asarray(cost, np.float64)
    sound = np.isfinite(np.diagonal(cost)).all()  # of other pairs some have no common condition
    if not sound or np.isnan(cost).any() or np.isneginf(cost).any():
        return np.arange(len(cost), dtype=np.int32)  # the loss is not finite, and says so
    return linear_sum_assignment(cost)[1].astype(np.int32)
