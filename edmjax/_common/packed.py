"""Functions that are data and a static part which can be compared: Equinox modules, partials.

A module of Equinox holds its arrays beside activation functions, flags and numbers; a
`functools.partial` of a module-level function holds its arguments. Neither travels through `jit`
as it is. Packed, the arrays are leaves and the rest is static, so that an equal one finds the
program of an earlier call. A lambda, a closure or a bound method has no such part: what it refers
to may have changed since.
"""

import dataclasses
import functools
import sys
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

ARRAYS = jax.Array | np.ndarray | np.generic
DATA = ARRAYS | float | int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Packed:
    """A function taken apart: its arrays, and what puts them together again."""

    arrays: list[Any]
    static: Any = dataclasses.field(metadata={"static": True})  # (structure, leaves or None)

    def unpack(self) -> Any:
        structure, leaves = self.static
        arrays = iter(self.arrays)
        return structure.unflatten([next(arrays) if leaf is None else leaf[0] for leaf in leaves])


def pack(function: Any) -> Any:
    """`function` as `Packed`; itself where it is something else than the module says."""
    if isinstance(function, functools.partial) and not isinstance(function, Partial):
        function = data_of_partial(function)
    leaves: list[Any] = []
    for node in nodes(function):
        if is_bare(node):  # a plain function in disguise
            return function
        # Equinox's own rule: of a module arrays are traced, and numbers are not.
        inner = jax.tree.leaves(node) if is_module(node) else [node]
        dynamic = ARRAYS if is_module(node) else DATA
        leaves += [(leaf, isinstance(leaf, dynamic)) for leaf in inner]
    static = [leaf for leaf, traced in leaves if not traced]
    if not any(traced for _, traced in leaves) or not all(map(comparable, static)):
        return function
    # A leaf that is None is an array's place. With its kind, as 1, 1.0 and True are equal.
    rest = tuple(None if traced else (leaf, type(leaf)) for leaf, traced in leaves)
    key = jax.tree.structure(function), rest
    try:
        hash(key)
    except TypeError:
        return function
    return Packed([leaf for leaf, traced in leaves if traced], key)


def unpack(function: Any) -> Any:
    """The function that `pack` was given."""
    return function.unpack() if isinstance(function, Packed) else function


def pack_comparable(function: Any) -> Any:
    """A module-level function as `Packed`, so that a later call finds its program; else itself."""
    if not comparable(function):
        return function
    return Packed([], (jax.tree.structure(0), ((function, type(function)),)))


def data_of_partial(function: Any) -> Any:
    """A `functools.partial` of a module-level function, its arguments as leaves; else itself."""
    if not comparable(function.func):
        return function
    return Partial(function.func, *function.args, **function.keywords)


def comparable(value: Any) -> bool:
    """Whether equal values mean the same at any time: text, numbers, module-level functions."""
    if value is None or isinstance(value, str | bytes | bool | int | float | complex | np.dtype):
        return True
    name, module = (getattr(value, part, None) for part in ("__qualname__", "__module__"))
    if not callable(value) or not isinstance(name, str) or not isinstance(module, str):
        return False
    found: Any = sys.modules.get(module)
    if name == "<lambda>":  # at the top of its module it has a name there
        return any(value is held for held in list(vars(found).values())) if found else False
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


def nodes(function: Any) -> list[Any]:
    """The leaves of `function`, with bare functions and modules of Equinox whole."""
    if "equinox" not in sys.modules:  # this runs at each bare call of `sample`
        return jax.tree.leaves(function, is_leaf=is_bare)
    return jax.tree.leaves(function, is_leaf=lambda node: is_bare(node) or is_module(node))


def is_bare(node: Any) -> bool:
    return isinstance(node, Partial) and not jax.tree.leaves(node)


def is_module(node: Any) -> bool:
    """Whether `node` is a module of Equinox; where Equinox is not loaded, nothing is."""
    equinox: Any = sys.modules.get("equinox")
    return equinox is not None and isinstance(node, equinox.Module)
