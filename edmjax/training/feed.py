"""The examples that the steps of a run read: from the device, by Grain, or from a stream."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from jaxtyping import Int

from edmjax._common.extras import missing
from edmjax.training.data import Dataset, Examples, batch_indices
from edmjax.training.data.rows import fits
from edmjax.training.devices import gather_flags
from edmjax.training.errors import DataError
from edmjax.training.mesh import load_batches

AHEAD = 2**28  # most bytes of batches that are read ahead
MOST_THREADS = 16

# Some examples, and which of them the batches of some steps are, `(k, batch)`.
Taken = tuple[Examples, np.ndarray]


class Feed:
    """The examples that the steps of a run read, in the form that `make_train_steps` takes them.

    On one device a call is given examples and indices. These are all examples, which lie there as
    they were stored, or those of the steps alone, where they do not fit or come from a stream. On a
    mesh a call is given its batches, of which each process reads the part that its own devices
    compute with. The examples of a step are the same in all cases.
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
        in_memory: str | None = None,
    ):
        self.seed: int = seed
        self.batch_size: int = batch_size
        self.dataset: Dataset = dataset
        self.mesh: Mesh | None = mesh
        self.which: Int[np.ndarray, " k"] | None = which  # the samples that are read; None for all
        self.beside: dict[str, bool] = {"labels": labels, "cond": True}
        self.whole: Examples | None = None
        self.reader: _Reader | None = None
        self.state: Any = None  # of the stream, at the last step that was read; JSON
        self.last: tuple[int, Taken] | None = None
        if dataset.stream is not None:
            self.state = dataset.stream.source.state()
        elif _fits(dataset, in_memory):
            examples = dataset.examples(**self.beside)
            self.whole = jax.device_put(examples) if mesh is None else examples
        else:
            share = self.batch_size / len(dataset)
            self.reader = _Reader(self._read, max(1, int(share * dataset.nbytes)))

    def restore(self, step: int, state: Any) -> None:
        """Has a stream go on after `step` steps, with the `state` of then; `ValueError` if not."""
        if self.dataset.stream is not None and step:
            self.dataset.stream.source.restore(step, state)
            self.state = state

    def steps(self, start: int, stop: int) -> tuple[Examples | None, Examples | jax.Array]:
        """The pair `(examples, indices)` of the steps `start ... stop - 1`, counted from 0.

        `DataError` where a sample cannot be read. No step is then taken, and a stream is where it
        was.
        """
        found: Taken | None = None
        error: Exception | None = None
        try:
            found = self._take(start, stop)
        except Exception as err:  # also of a function of the user's
            error = err
            if self.dataset.stream is not None and self.state is not None:
                self.dataset.stream.source.restore(start, self.state)
        # All processes stop together, as the other ones would wait for ever.
        if self.whole is None and any(gather_flags(int(error is not None))):
            raise error or DataError(f"{self.dataset.name}: another process cannot read its part.")
        if found is None:
            raise error or AssertionError
        examples, indices = found
        mesh = self.mesh
        if mesh is None:
            return examples, jnp.asarray(indices)
        loaded = jax.tree.map(lambda v: load_batches(v.__getitem__, indices, mesh), examples)
        return None, loaded

    def indices(self, step: int) -> Int[np.ndarray, " batch"]:
        """The indices into the dataset of a step's batch."""
        n = len(self.dataset) if self.which is None else len(self.which)
        chosen = batch_indices(self.seed, step, self.batch_size, n)
        return chosen if self.which is None else self.which[chosen]

    def at(self, which: Int[np.ndarray, " k"]) -> Examples:
        """The examples of these indices into the dataset, on the host."""
        return self.dataset.read(which, **self.beside)

    def batch(self, step: int) -> Examples:
        """The examples of a step, on the host; of a stream, of a step that was read last."""
        if self.dataset.stream is None:
            return self.dataset.read(self.indices(step), **self.beside)
        start, (examples, indices) = self.last or (step, self._take(step, step + 1))
        return jax.tree.map(lambda v: v[indices[step - start]], examples)

    def where(self, step: int) -> str:
        """What a message says of the batch of a step."""
        if self.dataset.stream is not None:
            return f"is that of step {step + 1} of {self.dataset.name}"
        return f"has the indices {self.indices(step).tolist()}"

    def _take(self, start: int, stop: int) -> Taken:
        if self.whole is not None:
            return self.whole, np.stack([self.indices(step) for step in range(start, stop)])
        stream = self.dataset.stream
        if stream is not None:
            parts = [
                stream.take(self.dataset, step, self.batch_size, **self.beside)
                for step in range(start, stop)
            ]
            places = np.arange(self.batch_size)
        else:
            assert self.reader is not None
            parts = self.reader.take(start, stop)
            places = self._own_places()
        examples = jax.tree.map(lambda *values: np.concatenate(values), *parts)
        # Of the places of a batch that this process reads, where they lie among `examples`.
        indices = np.full((stop - start, self.batch_size), -1, np.int32)
        indices[:, places] = np.arange((stop - start) * len(places)).reshape(-1, len(places))
        if stream is not None:
            self.state, self.last = stream.source.state(), (start, (examples, indices))
        return examples, indices

    def _read(self, step: int) -> Examples:
        """The part of a step's batch that this process reads."""
        return self.dataset.read(self.indices(step)[self._own_places()], **self.beside)

    def _own_places(self) -> Int[np.ndarray, " k"]:
        """The places of a batch that devices of this process compute with."""
        everything = np.arange(self.batch_size)
        if self.mesh is None:
            return everything
        sharding = NamedSharding(self.mesh, P("data"))
        parts = sharding.addressable_devices_indices_map((self.batch_size,)).values()
        return np.unique(np.concatenate([everything[part] for part in parts]))


def _fits(dataset: Dataset, in_memory: str | None) -> bool:
    """Whether the data are to lie on the device: where one process has no room, in none."""
    told = in_memory not in (None, "auto")
    return all(gather_flags(int(fits(dataset.nbytes, in_memory) and (told or not dataset.lazy))))


class _Reader:
    """Reads the batches of coming steps, of so many bytes each, by Grain in threads of its own."""

    def __init__(self, read: Callable[[int], Examples], nbytes: int):
        self.read: Callable[[int], Examples] = read
        self.nbytes: int = nbytes
        self.next: int = -1
        self.iterator: Iterator[Examples] | None = None

    def take(self, start: int, stop: int) -> list[Examples]:
        if self.iterator is None or start != self.next:
            self.iterator = self._open(start)
        self.next = -1  # where a read fails
        found = [next(self.iterator) for _ in range(start, stop)]
        self.next = stop
        return found

    def _open(self, start: int) -> Iterator[Examples]:
        try:
            import grain
        except ModuleNotFoundError as err:
            instead = ". With --data_in_memory yes the data lie on the device as a whole."
            raise missing(err, "Reading data that stay on the disk", "data", instead) from err
        # Not processes: benchmarks/bench_data.py measures both, and each would hold JAX again.
        threads = min(MOST_THREADS, os.cpu_count() or 1)
        ahead = max(1, min(2 * threads, AHEAD // self.nbytes))
        options = grain.ReadOptions(num_threads=min(threads, ahead), prefetch_buffer_size=ahead)
        return iter(grain.MapDataset.source(_Steps(self.read, start)).to_iter_dataset(options))


class _Steps:
    """The batches of the steps from `start` on, as Grain reads them."""

    def __init__(self, read: Callable[[int], Examples], start: int):
        self.read: Callable[[int], Examples] = read
        self.start: int = start

    def __len__(self) -> int:
        return 2**31 - 1 - self.start

    def __getitem__(self, index: int) -> Examples:
        return self.read(self.start + int(index))
