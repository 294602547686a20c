"""Small helpers that problems, processes and denoisers share: precision, shapes, pytrees."""

import dataclasses
import functools
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import DTypeLike

from edmjax._common.exported import serializable
from edmjax._common.typing import Level, PyTree, Values, X

T = TypeVar("T", bound=type)


def working_dtype(*dtypes: DTypeLike) -> Any:
    """The precision to compute in: the widest of `dtypes`, and at least float32."""
    # A host float64 number is taken as float32 without x64; `result_type` would warn of that.
    return jax.dtypes.canonicalize_dtype(functools.reduce(jnp.promote_types, dtypes, jnp.float32))


def from_left(sigma: Level, x: Level) -> Values:
    """`sigma`, a scalar or one level a sample, with trailing axes to broadcast against `x`."""
    return jnp.reshape(sigma, jnp.shape(sigma) + (1,) * (jnp.ndim(x) - jnp.ndim(sigma)))


def has_no_value(value: object) -> bool:
    """Whether `value` has no number yet, being an argument of a transformed function."""
    return isinstance(value, Tracer)


def has_tracers(tree: object) -> bool:
    """Whether some leaf of `tree` has no number yet."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def reals(value: object) -> Any:
    """`value` as an array of real numbers; None where it is text, a bool, or anything else."""
    # JAX arrays stay on their device, and traced ones have no NumPy array.
    try:
        array = value if isinstance(value, jax.Array) else np.asarray(value)
    except (TypeError, ValueError):  # rows of unequal length
        return None
    real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    return array if real else None


def register_fields(cls: T) -> T:
    """Registers the dataclass `cls` as a pytree, every field a child.

    Rebuilding does not call `__init__`, unlike with `jax.tree_util.register_dataclass`: there the
    arguments are validated and prepared on the host, which traced children could not pass.
    """
    names = [field.name for field in dataclasses.fields(cls)]

    def flatten(tree):
        return [getattr(tree, name) for name in names], None

    def flatten_with_keys(tree):
        return [(jax.tree_util.GetAttrKey(name), getattr(tree, name)) for name in names], None

    def unflatten(_, children):
        tree = object.__new__(cls)
        for name, child in zip(names, children, strict=True):
            object.__setattr__(tree, name, child)
        return tree

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return serializable(cls)


def weighted(*terms: tuple[Level, X]) -> X:
    """The sum of `coefficient * tree` over `terms`, in the structure and dtypes of the first tree.

    Coefficients are scalars or one number a sample. Sums are formed in at least float32, so a
    coefficient may be larger than the dtype of the trees can hold.
    """
    coefficients, trees = zip(*terms, strict=True)

    def combine(*leaves):
        dtype = working_dtype(leaves[0].dtype)
        parts = [
            jnp.asarray(from_left(coefficient, leaf), dtype) * leaf.astype(dtype)
            for coefficient, leaf in zip(coefficients, leaves, strict=True)
        ]
        return sum(parts[1:], parts[0]).astype(leaves[0].dtype)

    return jax.tree.map(combine, *trees)


def check_sigma(sigma: Level) -> None:
    """Raises where `sigma` is no noise level, or levels: text, None, negative or NaN."""
    if has_no_value(sigma):
        return
    numbers = reals(sigma)
    if numbers is None:
        raise TypeError(f"`sigma` must be a noise level, got {sigma!r:.80}.")
    if not (np.asarray(numbers) >= 0).all():  # NaN too
        raise ValueError(f"A noise level must not be negative or NaN, got sigma = {sigma!s:.80}.")


def as_sigma(sigma: Level, x: PyTree) -> jax.Array:
    """`as_level(sigma, x)` of what is a noise level."""
    check_sigma(sigma)
    return as_level(sigma, x)


def as_level(sigma: Level, x: PyTree, name: str = "sigma") -> jax.Array:
    """`sigma` as an array, at least as precise as the leaves of `x`: a scalar or one a sample."""
    # A level keeps its own precision where `x` is half: rounded to bfloat16, neighbouring levels
    # would be one.
    leaves = jax.tree.leaves(x)
    dtype = getattr(sigma, "dtype", None)
    own = [] if dtype is None else [dtype]
    sigma = jnp.asarray(sigma, working_dtype(*[leaf.dtype for leaf in leaves], *own))
    for leaf in leaves:
        if sigma.shape not in ((), leaf.shape[:1]):
            raise ValueError(
                f"{name} has shape {sigma.shape} where a leaf of x has shape {leaf.shape}: "
                "expected a scalar, or one number for each entry of axis 0."
            )
    return sigma
