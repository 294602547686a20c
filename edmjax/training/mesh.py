"""Where the arrays of a run lie: on one device, or on a mesh with the axes `data` and `model`.

`data` splits the samples of a batch; `model` splits each parameter, its moving average and the
optimizer's moments alike. The results are those of one device but for the order of sums.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from jaxtyping import Int

from edmjax._common.mesh import along_model, place, split_axis, split_samples
from edmjax._common.typing import X
from edmjax.training.data import Dataset, Examples, batch_indices
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


class Feed:
    """The examples that the steps of a run read, in the form that `make_train_steps` takes them.

    On one device the whole dataset lies there, as it was stored, and a call is given indices. On a
    mesh a call is given its batches, of which each process loads the part that its own devices
    compute with.
    """

    def __init__(
        self,
        dataset: Dataset,
        seed: int,
        batch_size: int,
        mesh: Mesh | None = None,
        *,
        labels: bool = False,
        which: Int[np.ndarray, " k"] | None = None,
    ):
        self.seed: int = seed
        self.batch_size: int = batch_size
        self.mesh: Mesh | None = mesh
        self.which: Int[np.ndarray, " k"] | None = which  # the samples that are read; None for all
        self.size: int = len(dataset) if which is None else len(which)
        self.examples: Examples = dataset.examples(labels=labels, cond=True)
        self.on_device: Examples | None = jax.device_put(self.examples) if mesh is None else None

    def steps(self, start: int, stop: int) -> tuple[Examples | None, Examples | jax.Array]:
        """The pair `(examples, indices)` of the steps `start ... stop - 1`, counted from 0."""
        indices = np.stack([self.indices(step) for step in range(start, stop)])
        mesh = self.mesh
        if mesh is None:
            return self.on_device, jnp.asarray(indices)
        loaded = jax.tree.map(lambda v: load_batches(v.__getitem__, indices, mesh), self.examples)
        return None, loaded

    def indices(self, step: int) -> Int[np.ndarray, " batch"]:
        """The indices into the dataset of a step's batch."""
        chosen = batch_indices(self.seed, step, self.batch_size, self.size)
        return chosen if self.which is None else self.which[chosen]

    def batch(self, step: int) -> Examples:
        """The examples of a step, on the host."""
        return self.at(self.indices(step))

    def at(self, which: Int[np.ndarray, " k"]) -> Examples:
        """The examples of these indices into the dataset, on the host."""
        return jax.tree.map(lambda values: values[which], self.examples)
