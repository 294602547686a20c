"""What guidance shares: the outputs of an evaluation, options, and sums over a sample."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.arrays import working_dtype
from edmjax._common.held import evaluate
from edmjax._common.trees import check_like, floating_tree
from edmjax._common.typing import Denoiser, PyTree, Scalar
from edmjax.scalar import is_traced

# The outputs of an evaluation by name: "x0", and whatever else the denoiser returned.
Outputs = dict[str, PyTree]


def scalar_leaf(value: Scalar) -> PyTree:
    """A number as a scalar leaf, float64 on the host; left as it is where it is traced."""
    return value if is_traced(value) else np.asarray(value, np.float64)


def call(denoise: Denoiser, x: PyTree, level: jax.Array, cond: PyTree, dtypes: PyTree) -> Outputs:
    """The outputs of `denoise` by name, at a held point `x`; see `edmjax._common.held`."""
    return named(evaluate(denoise, x, level, cond, dtypes), x)


def named(out: PyTree, x: PyTree) -> Outputs:
    """`out` as a dict with "x0"; "x0" and "raw" are checked to be like `x`."""
    many = isinstance(out, dict) and "x0" in out and not (isinstance(x, dict) and "x0" in x)
    out = dict(out) if many else {"x0": out}
    for name in {"x0", "raw"} & set(out):
        check_like(out[name], x, f"The denoiser's '{name}'" if many else "The denoiser")
    return out


def returned(out: Outputs, x: PyTree) -> PyTree:
    """The outputs as a denoiser returns them: "x0" and "raw" in the dtypes of `x`."""

    def cast(tree):
        return jax.tree.map(lambda leaf, value: jnp.asarray(value, leaf.dtype), x, tree)

    # `log_var` stays as it is: in half precision a variance would lose its digits.
    out = {name: cast(v) if name in ("x0", "raw") else v for name, v in out.items()}
    if len(out) == 1:
        return out["x0"]
    if isinstance(x, dict) and "x0" in x:
        raise ValueError(
            "A denoiser that returns 'raw' beside 'x0' cannot tell them from an `x` that is a dict "
            "with 'x0' itself: rename that entry of `x`."
        )
    return out


def wide(tree: PyTree) -> PyTree:
    """`tree` in at least float32."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, working_dtype(leaf.dtype)), tree)


def dot(a: PyTree, b: PyTree) -> jax.Array:
    """The inner product of each sample of `a` with the one of `b`, over all leaves; (batch,)."""
    sums = jax.tree.map(lambda a, b: jnp.sum(a * b, axis=tuple(range(1, a.ndim))), a, b)
    return sum(jax.tree.leaves(sums), start=jnp.zeros(()))


def vectors(tree: PyTree) -> jax.Array:
    """Each sample as one vector of all its leaves; shape (batch, entries)."""
    leaves = jax.tree.leaves(tree)
    return jnp.concatenate([v.reshape(v.shape[0], math.prod(v.shape[1:])) for v in leaves], axis=1)


def sampled(x: PyTree) -> PyTree:
    """`x` as arrays, checked to have the samples on axis 0 of every leaf."""
    x = floating_tree(x, "x")
    shapes = [leaf.shape for leaf in jax.tree.leaves(x)]
    if () in shapes or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            f"Guidance needs the samples on axis 0 of every leaf of `x`, got shapes {shapes}: run "
            "one sample as a batch of one, without `batched=False`."
        )
    return x
