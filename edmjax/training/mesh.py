"""Where the arrays of a run lie: on one device, or on a mesh with the axes `data` and `model`.

`data` splits the samples of a batch; `model` splits each parameter, its moving average and the
optimizer's moments alike. The results are those of one device but for the order of sums.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from edmjax._common.mesh import along_model, place, split_axis, split_samples
from edmjax._common.typing import X
from edmjax.training.devices import is_first, wait_for_all
from edmjax.training.errors import TrainingWarning
from edmjax.training.state import TrainState

# `(state, ...) -> (state, losses)`, the function of `make_train_steps`.
Steps = Callable[..., tuple[TrainState, jax.Array]]


def check_batch(batch_size: int, mesh: Mesh) -> None:
    """Raises `ValueError` where a batch does not split evenly along `data`."""
    data = mesh.shape["data"]
    if batch_size % data:
        raise ValueError(
            f"A batch of {batch_size} does not divide by the mesh's data={data}: make "
            f"optim.batch_size a multiple of {data}, such as {-(-batch_size // data) * data}."
        )


def state_shardings(state: TrainState, mesh: Mesh) -> TrainState:
    """The sharding of each array of a training state, as a tree of the same structure.

    Each array is split along `model` on its largest axis that the mesh divides: a parameter, its
    average and its moments have one shape, so they are split alike. An array without such an axis
    is whole on every device, and a warning names the parameters among them.
    """
    size = mesh.shape["model"]
    kept = [
        f"{name} {list(array.shape)}"
        for name, array in state.params.items()
        if size > 1 and split_axis(array.shape, size) is None
    ]
    if kept and is_first():
        warnings.warn(
            f"{len(kept)} of {len(state.params)} parameters have no axis that the mesh's "
            f"model={size} divides, so each device holds them whole: {', '.join(kept[:4])}"
            f"{', ...' if len(kept) > 4 else ''}.",
            TrainingWarning,
            stacklevel=2,
        )
    return jax.tree.map(lambda leaf: along_model(leaf.shape, mesh), state)


def shard_state(state: TrainState, mesh: Mesh) -> TrainState:
    """A training state, of equal values in every process, placed as `state_shardings` says."""
    return jax.tree.map(place, state, state_shardings(state, mesh))


def shard_steps(advance: Steps, state: TrainState, mesh: Mesh) -> Steps:
    """The function of `make_train_steps`, with its new state placed like the old one, `state`.

    It is compiled in the first call, for the shapes of that call.
    """
    places = jax.tree.map(lambda leaf: leaf.sharding, state), NamedSharding(mesh, P())
    jitted, compiled = jax.jit(advance, donate_argnums=0, out_shardings=places), None

    def steps(state: Any, *batches: Any) -> Any:
        nonlocal compiled
        if compiled is None:
            compiled = jitted.lower(state, *batches).compile()
            wait_for_all("the steps are compiled")
        return compiled(state, *batches)

    return steps


def shard_batch(batch: X, mesh: Mesh, *, axis: int = 0) -> X:
    """Arrays of samples, whole in every process, split along `data` on axis `axis`.

    `ValueError` where the number of samples does not divide by the mesh's `data`.
    """
    for leaf in jax.tree.leaves(batch):
        check_batch(leaf.shape[axis], mesh)
    return split_samples(batch, mesh, axis=axis)


def load_batches(
    rows: Callable[[np.ndarray], np.ndarray], indices: np.ndarray, mesh: Mesh
) -> jax.Array:
    """The array `rows(indices)`, shape `(k, batch, ...)`, with the batch axis split along `data`.

    `rows` is called only for the parts of `indices` that a device of this process holds, so that a
    process loads its slice alone.
    """
    sharding = NamedSharding(mesh, P(None, "data"))
    shape = (*indices.shape, *rows(indices[:0]).shape[2:])

    def load(part: Any) -> np.ndarray:
        return rows(indices[part[:2]])

    return jax.make_array_from_callback(shape, sharding, load)
