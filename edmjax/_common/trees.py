"""Pytrees of arrays: whether they are floating, count the same samples, and fit one another."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import describe
from edmjax._common.arrays import working_dtype
from edmjax._common.typing import Int, PyTree


def floating_tree(x: PyTree, name: str, shapes: bool = False) -> Any:
    """`x` with its leaves as JAX arrays, which must be floating; with `shapes`, as they are."""
    # An empty tree is more often a mistake in a dict of inputs than a wish.
    leaves, treedef = jax.tree.flatten(x)
    if not leaves:
        raise ValueError(f"`{name}` holds no arrays.")
    arrays = jax.Array | np.ndarray | (jax.ShapeDtypeStruct if shapes else np.generic | float | int)
    for leaf in leaves:
        text = isinstance(leaf, np.ndarray) and leaf.dtype.kind not in "biufcV"  # V: bfloat16's
        if text or not isinstance(leaf, arrays):
            raise TypeError(f"`{name}` must be a pytree of floating arrays, got {describe(leaf)}.")
    if not shapes:
        # Strongly typed: a weakly typed array of the same shape would be compiled for again.
        leaves = [jnp.asarray(leaf, jnp.asarray(leaf).dtype) for leaf in leaves]
    for leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            hint = parts_hint(leaf.dtype) or f"convert it with `{name}.astype(jnp.float32)`."
            raise TypeError(
                f"`{name}` must hold floating arrays, got {leaf.dtype}{list(leaf.shape)}: {hint}"
            )
    return treedef.unflatten(leaves)


def parts_hint(dtype: Any) -> str:
    """What to do with points of a complex dtype; empty for others."""
    if not jnp.issubdtype(dtype, jnp.complexfloating):
        return ""
    return (
        "pass its parts as a pytree, such as `{'real': z.real, 'imag': z.imag}`, and put them "
        "together in the denoiser."
    )


def check_batch_axis(x: PyTree, name: str, batched: bool) -> None:
    """Raises unless axis 0 of every leaf counts the same samples."""
    if not batched:
        return
    shapes = [tuple(leaf.shape) for leaf in jax.tree.leaves(x)]
    if any(shape == () for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            f"Axis 0 of every leaf of `{name}` counts samples, got shapes {shapes}; for one sample "
            "without that axis pass batched=False."
        )


def conditions(cond: PyTree, batch: Int, of: str = "") -> Any:
    """`cond` for `batch` samples: each leaf has one entry for each of them, or one for all.

    A number becomes a leaf with one entry, and a list of numbers becomes one leaf.
    """
    if isinstance(cond, list | tuple) and cond and all(map(_is_number, cond)):
        cond = np.asarray(cond)
    cond = jax.tree.map(lambda leaf: np.asarray(leaf)[None] if _is_number(leaf) else leaf, cond)
    for leaf in jax.tree.leaves(cond):
        if np.ndim(leaf) == 0 or np.shape(leaf)[0] not in (1, batch):
            raise ValueError(
                f"Axis 0 of every leaf of `cond` counts the {batch} samples{of}, or has length 1 "
                f"where all share it, got shape {np.shape(leaf)}."
            )
    return cond


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, bool | int | float | np.generic)


def is_shared(leaf: Any) -> bool:
    """Whether a leaf of a condition has one entry, for all samples."""
    return np.shape(leaf)[0] == 1


def conditions_at(cond: PyTree, rows: Any) -> Any:
    """The conditions of the samples of these numbers; what all samples share stays as it is."""
    return jax.tree.map(lambda leaf: leaf if is_shared(leaf) else leaf[rows], cond)


def check_like(values: PyTree, x: PyTree, who: str, name: str = "x") -> Any:
    """`values`, which `who` returned, and which must have the structure and shapes of `x`."""
    return check_alike(values, x, f"{who} must return", name)


def argument_like(values: PyTree, x: PyTree, argument: str, name: str) -> Any:
    """The argument `values`, floating, which must have the structure and shapes of `x`."""
    values = floating_tree(values, argument)
    return check_alike(values, x, f"`{argument}` must have", name)


def check_alike(values: PyTree, x: PyTree, says: str, name: str) -> Any:
    """`values`, if they have the structure and shapes of `x`; `says` begins the message."""
    if jax.tree.structure(values) != jax.tree.structure(x):
        # As layers with state do: Linen's `apply` with `mutable`, Equinox's BatchNorm.
        pair = isinstance(values, tuple) and not isinstance(x, tuple)
        hint = " Return the output alone, of a network whose state is constant." if pair else ""
        raise ValueError(
            f"{says} the structure of `{name}`, {jax.tree.structure(x)}, got "
            f"{jax.tree.structure(values)}.{hint}"
        )
    for value, leaf in zip(jax.tree.leaves(values), jax.tree.leaves(x), strict=True):
        if np.shape(value) != leaf.shape:
            raise ValueError(f"{says} the shape of `{name}`, {leaf.shape}, got {np.shape(value)}.")
        # Cast to a real dtype later on, the imaginary part would be lost without a word.
        if jnp.iscomplexobj(value):
            raise TypeError(f"{says} real numbers, got {value.dtype}.")
    return values


class Layout:
    """The structure, shapes and dtypes of a pytree, as something that can be hashed."""

    def __init__(self, x: PyTree):
        leaves, treedef = jax.tree.flatten(x)
        self.treedef: Any = treedef
        self.leaves: tuple[Any, ...] = tuple(
            (tuple(leaf.shape), jnp.dtype(leaf.dtype)) for leaf in leaves
        )

    def tree(self, *batch: Int) -> Any:
        """The tree, of as many samples on axis 0 as `batch` says, or of one without that axis."""
        return self.treedef.unflatten(
            [jax.ShapeDtypeStruct((*batch, *shape), dtype) for shape, dtype in self.leaves]
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.treedef, self.leaves))


class Flat:
    """Takes pytrees like `x` to arrays (batch, dim) and back. Hashable, so that it may be static.

    The rows are in the precision to compute in, `dtype`. The number of samples is not part of it.
    """

    def __init__(self, x: PyTree):
        # Without the axis of samples, so that a program for one batch size is found for another.
        leaves, treedef = jax.tree.flatten(x)
        self.treedef: Any = treedef
        self.leaves: tuple[Any, ...] = tuple(
            (tuple(leaf.shape[1:]), jnp.dtype(leaf.dtype)) for leaf in leaves
        )
        self.sizes: tuple[int, ...] = tuple(math.prod(shape) for shape, _ in self.leaves)
        self.dim: int = sum(self.sizes)
        self.dtype: Any = working_dtype(*[dtype for _, dtype in self.leaves])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Flat) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.treedef, self.leaves))

    def rows(self, x: PyTree) -> jax.Array:
        """`x`, a pytree with samples on axis 0 of every leaf, as an array (batch, dim)."""
        leaves = [jnp.asarray(leaf, self.dtype) for leaf in jax.tree.leaves(x)]
        # By their sizes: an empty batch leaves -1 undefined.
        parts = zip(leaves, self.sizes, strict=True)
        return jnp.concatenate([leaf.reshape(leaf.shape[0], size) for leaf, size in parts], axis=1)

    def tree(self, rows: jax.Array, *, wide: bool = False) -> Any:
        """The inverse of `rows`; with `wide` the leaves keep the precision of the rows."""
        ends = [sum(self.sizes[: i + 1]) for i in range(len(self.sizes) - 1)]
        parts = jnp.split(rows, ends, axis=1)
        leaves = [
            part.reshape(rows.shape[0], *shape).astype(rows.dtype if wide else dtype)
            for part, (shape, dtype) in zip(parts, self.leaves, strict=True)
        ]
        return self.treedef.unflatten(leaves)

    @property
    def dtypes(self) -> Any:
        """The user's dtypes, in the structure of the points."""
        return self.treedef.unflatten([dtype for _, dtype in self.leaves])

    def like(self, batch: int) -> Any:
        """The shapes of `batch` points, in the precision of the rows."""
        return self.treedef.unflatten(
            [jax.ShapeDtypeStruct((batch, *shape), self.dtype) for shape, _ in self.leaves]
        )
