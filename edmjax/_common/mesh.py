"""Arrays on a mesh of devices: its axis `data` splits samples, its axis `model` splits parameters.

The compiler inserts the communication (`jax.jit` with `NamedSharding`), so a mesh changes the order
of sums and nothing else. A mesh may have one of the two axes alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from edmjax._common.typing import X


def place(array: Any, sharding: NamedSharding) -> jax.Array:
    """An array of equal values in every process, laid out as `sharding` says.

    No process sends another anything: each cuts what its devices hold out of its own copy.
    """
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = place(jax.random.key_data(array), NamedSharding(sharding.mesh, sharding.spec))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
    # Not `device_put`, which compares the copies of all processes first.
    value = np.asarray(array)
    return jax.make_array_from_callback(value.shape, sharding, lambda part: value[part])


def split_samples(batch: X, mesh: Mesh, *, axis: int = 0) -> X:
    """Arrays of samples, whole in every process, split along `data` on axis `axis`.

    The number of samples must be a multiple of the mesh's `data`. An axis of length 1 is of what
    all samples share, and is not split.
    """
    split, whole = NamedSharding(mesh, P(*[None] * axis, "data")), NamedSharding(mesh, P())
    return jax.tree.map(lambda leaf: place(leaf, whole if leaf.shape[axis] == 1 else split), batch)


def split_parameters(tree: X, mesh: Mesh) -> X:
    """A pytree whose arrays, equal in every process, are split along `model`.

    Arrays that lie on this mesh already stay as they are, and so do leaves that are not arrays.
    """

    def move(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array | np.ndarray):
            return leaf
        if getattr(getattr(leaf, "sharding", None), "mesh", None) == mesh:
            return leaf
        return place(leaf, along_model(leaf.shape, mesh))

    return jax.tree.map(move, tree)


def along_model(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """The sharding of an array of parameters; whole on every device where no axis divides."""
    axis = split_axis(shape, mesh.shape["model"]) if "model" in mesh.shape else None
    return NamedSharding(mesh, P() if axis is None else P(*[None] * axis, "model"))


def split_axis(shape: tuple[int, ...], size: int) -> int | None:
    """The largest axis that `size` divides, the last of equals; None where it divides none."""
    # The largest axis leaves the most equal parts; equals are told apart by their place, so that
    # every process chooses the same.
    divisible = [(n, axis) for axis, n in enumerate(shape) if n and n % size == 0]
    return max(divisible)[1] if divisible else None


def to_host(tree: Any) -> Any:
    """NumPy arrays of the whole values, in every process, wherever their parts lie."""

    def whole(array: Any) -> Any:
        # A process can read what it holds; for the rest all of them exchange their parts.
        if isinstance(array, jax.Array) and not array.is_fully_addressable:
            from jax.experimental import multihost_utils  # not loaded with the package

            return np.asarray(multihost_utils.process_allgather(array, tiled=True))
        return np.asarray(array)

    return jax.tree.map(whole, tree)
