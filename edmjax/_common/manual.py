"""Loops within `jax.shard_map`, where the type of an array says over which axes its values vary.

JAX asks that what a loop carries has one type from the first iteration on. A carry that begins as
constants varies over no axis, and what is added to it does.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from edmjax._common.typing import PyTree


def _axes(tree: PyTree) -> frozenset[str]:
    """The axes over which some leaf of `tree` varies; none outside of `jax.shard_map`."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    found: frozenset[str] = frozenset()
    for leaf in leaves:
        kind: Any = jax.typeof(leaf)
        # The name of this attribute differs between versions of JAX.
        manual = getattr(kind, "manual_axis_type", None)
        found |= getattr(kind, "vma", frozenset()) if manual is None else manual.varying
    return found


def vary_like(tree: PyTree, x: PyTree) -> Any:
    """`tree`, which holds no other numbers than before, with the type of varying where `x` does."""
    axes = _axes(x)
    if not axes:
        return tree

    def leaf(value: Any) -> Any:
        missing = tuple(sorted(axes - _axes(value)))
        return lax.pcast(value, missing, to="varying") if missing else value

    return jax.tree.map(leaf, tree)


def untyped(run: Callable[..., Any], *arguments: PyTree) -> Any:
    """`run(*arguments)`, for loops of other packages that begin with constants.

    `run` is traced for arrays of no axes, and its program is then given the arrays as they are. It
    must not reduce over an axis of the mesh.
    """
    if not _axes(arguments):
        return run(*arguments)
    from jax.extend.core import jaxpr_as_fun  # not at the top: jax.extend loads Pallas

    leaves, tree = jax.tree.flatten(arguments)
    shapes = [jax.ShapeDtypeStruct(jax.numpy.shape(v), jax.typeof(v).dtype) for v in leaves]
    made, like = jax.make_jaxpr(lambda *v: run(*tree.unflatten(v)), return_shape=True)(*shapes)
    return jax.tree.unflatten(jax.tree.structure(like), jaxpr_as_fun(made)(*leaves))
