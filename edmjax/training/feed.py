"""What the steps of a call read: examples on the device, or the slices of their batches."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from edmjax.training.config import Config
from edmjax.training.data import Dataset, Examples, batch_indices
from edmjax.training.mesh import load_batches


class Feed:
    """The arguments after the state of the function that `make_train_steps` returns.

    On one device the whole dataset lies there, as it was stored, and a call is given indices. On a
    mesh a call is given its batches, of which each process loads what its own devices compute with.
    """

    def __init__(self, config: Config, dataset: Dataset, mesh: Mesh | None):
        self.seed, self.batch_size, self.mesh = config.seed, config.optim.batch_size, mesh
        self.examples = dataset.examples(labels=bool(config.net.classes))
        self.on_device = jax.device_put(self.examples) if mesh is None else None

    def steps(self, start: int, stop: int) -> tuple[Any, Any]:
        """The pair `(examples, indices)` of the steps `start ... stop - 1`, counted from 0."""
        indices = np.stack([self.indices(step) for step in range(start, stop)])
        mesh = self.mesh
        if mesh is None:
            return self.on_device, jnp.asarray(indices)
        loaded = jax.tree.map(lambda v: load_batches(v.__getitem__, indices, mesh), self.examples)
        return None, loaded

    def indices(self, step: int) -> np.ndarray:
        """The indices into the dataset of a step's batch."""
        return batch_indices(self.seed, step, self.batch_size, len(self.examples.images))

    def batch(self, step: int) -> Examples:
        """The examples of a step, on the host."""
        chosen = self.indices(step)
        return jax.tree.map(lambda values: values[chosen], self.examples)
