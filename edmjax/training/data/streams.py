"""Batches that a function of the user's gives, in place of samples that are counted.

A `Stream` is given the number of a step and returns its batch. It has a state, JSON, that goes into
a checkpoint, by which it continues where it was. There are three: a function of the step, which
needs no state; an iterator of Grain, which has one; and any other iterator, which cannot go back.
"""

import dataclasses
import itertools
import math
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import describe
from edmjax.training.data.arrays import NAMES, conditions_of, from_arrays
from edmjax.training.data.conditions import Conditions
from edmjax.training.data.dataset import Dataset, Examples
from edmjax.training.data.units import Units
from edmjax.training.errors import DataError, TrainingWarning

# Units and widths are measured on so many samples, or fewer where these hold more numbers.
FIRST = 4096
FIRST_NUMBERS = 2**24
MOST_AHEAD = 16


class Source:
    """Where the batches come from. This one is a function of the number of the step, from 0 on."""

    def __init__(self, function: Callable[[int], object], name: str):
        self.function: Callable[[int], object] = function
        self.name: str = name

    def first(self) -> Generator[object]:
        """The first batches; once closed, nothing has changed."""
        yield from map(self.function, itertools.count())

    def take(self, step: int) -> object:
        """The batch of a step; the steps are asked for one after the other."""
        return self.function(step)

    def state(self) -> Any:
        """What `restore` is given after an interruption; JSON."""
        return None

    def restore(self, step: int, state: Any) -> None:
        """Has `take` go on at this step."""


class GrainSource(Source):
    """An iterator with `get_state` and `set_state`, which Grain's have."""

    def __init__(self, iterator: Any, name: str):
        self.iterator: Any = iterator
        self.name: str = name

    def first(self) -> Generator[object]:
        start = self.iterator.get_state()
        try:
            # `yield from` would close the iterator with this generator.
            for batch in self.iterator:  # noqa: UP028
                yield batch
        finally:
            self.iterator.set_state(start)

    def take(self, step: int) -> object:
        del step
        return next(self.iterator)

    def state(self) -> Any:
        found = self.iterator.get_state()
        # A loader's state is JSON in bytes, and that of other iterators is a dictionary.
        return {"json": found.decode()} if isinstance(found, bytes) else {"entries": found}

    def restore(self, step: int, state: Any) -> None:
        if not isinstance(state, dict) or not state.keys() & {"json", "entries"}:
            raise ValueError(
                f"{self.name}: the checkpoint of step {step} holds no state of this iterator: "
                "start in a new directory."
            )
        entries = state["json"].encode() if "json" in state else state["entries"]
        try:
            self.iterator.set_state(entries)
        except Exception as err:  # a loader compares the `repr` of its data
            raise ValueError(
                f"{self.name}: its iterator does not take the state of step {step}: {err}"
            ) from err


class PlainSource(Source):
    """Any other iterator. What was read to measure the data is kept, and given out again."""

    def __init__(self, iterator: Iterator[object], name: str):
        self.iterator: Iterator[object] = iterator
        self.name: str = name
        self.kept: list[object] = []
        warnings.warn(
            f"{name} returns an iterator that cannot go back: this run cannot be resumed. Return a "
            "function of the step, or an iterator of Grain, and it can.",
            TrainingWarning,
            stacklevel=2,
        )

    def first(self) -> Generator[object]:
        for batch in self.iterator:
            self.kept.append(batch)
            yield batch

    def take(self, step: int) -> object:
        del step
        return self.kept.pop(0) if self.kept else next(self.iterator)

    def restore(self, step: int, state: Any) -> None:
        raise ValueError(
            f"{self.name} returns an iterator that cannot go back, and step {step} is taken: start "
            "in a new directory, or return a function of the step or an iterator of Grain."
        )


class Stream:
    """The batches of a `Source`, checked and in the units of the data that were measured."""

    def __init__(self, source: Source):
        self.source: Source = source

    def take(
        self, dataset: Dataset, step: int, batch_size: int, *, labels: bool, cond: bool = False
    ) -> Examples:
        """The batch of a step, in the units of `dataset`, as `Dataset.examples` has samples.

        `DataError` where there is none, or it is not as the first ones were.
        """
        says = f"{self.source.name}: the batch of step {step + 1}"
        try:
            arrays = _arrays(self.source.take(step), says)
        except StopIteration:
            raise DataError(
                f"{self.source.name} ends after {step} batches: lower optim.steps, or have it "
                "repeat the data."
            ) from None
        x = jax.tree.map(
            lambda units, values: units.stored(_checked(values, units, batch_size, says)),
            dataset.units,
            arrays["x"],
        )
        beside: list[Any] = [None, None]
        if labels:
            beside[0] = _labels(arrays.get("y"), batch_size, dataset.num_classes, says)
        if cond and dataset.conditions is not None:
            beside[1] = _conditions(arrays, dataset.conditions, batch_size, says)
        return Examples(x, *beside)


def source_of(found: object, name: str) -> Source | None:
    """The source of batches that the function `name` has returned; None where it is none."""
    counted = np.ndarray | jax.Array | Mapping | Dataset | list | tuple | str
    # A set of the library `datasets` is iterable too, and its rows are counted.
    if isinstance(found, counted) or type(found).__module__.startswith("datasets."):
        return None
    if hasattr(found, "to_iter_dataset"):  # Grain reads 500 elements ahead, and these are batches
        import grain

        options = grain.ReadOptions(num_threads=MOST_AHEAD, prefetch_buffer_size=MOST_AHEAD)
        found = found.to_iter_dataset(options)  # pyright: ignore[reportAttributeAccessIssue]
    if not isinstance(found, Iterable):
        return Source(found, name) if callable(found) else None
    iterator: Any = iter(found)
    resumable = hasattr(iterator, "get_state") and hasattr(iterator, "set_state")
    return GrainSource(iterator, name) if resumable else PlainSource(iterator, name)


def stream_of(source: Source, **options: Any) -> Dataset:
    """The data of a source: measured on the first samples, with the source as their `stream`."""
    name, first, n = source.name, [], 0
    batches = source.first()
    for batch in batches:
        arrays = _arrays(batch, f"{name}: batch {len(first)}")
        leaves = jax.tree.leaves(arrays["x"])
        if any(leaf.ndim == 0 for leaf in leaves):
            raise DataError(f"{name}: a batch has its samples on axis 0, got a single number.")
        first.append(arrays)
        n += len(leaves[0])
        numbers = sum(math.prod(leaf.shape[1:]) for leaf in leaves)
        if n >= min(FIRST, max(4, FIRST_NUMBERS // max(1, numbers))):
            break
    batches.close()
    if not first:
        raise DataError(f"{name} returns no batches.")
    try:
        arrays = jax.tree.map(lambda *parts: np.concatenate(parts), *first)
    except ValueError as err:
        raise DataError(f"{name}: its first batches are not alike: {err}") from err
    try:
        dataset = from_arrays(arrays, name, **options)
    except (TypeError, ValueError) as err:
        raise DataError(str(err)) from err
    return dataclasses.replace(dataset, stream=Stream(source))


def _arrays(batch: object, says: str) -> dict[str, Any]:
    """The arrays of a batch by their names in a file: `x`, and maybe `y` and `cond`."""
    given = batch if isinstance(batch, Mapping) else {"x": batch}
    odd = batch is None or isinstance(batch, list | tuple | str)
    if odd or "x" not in given or set(given) - set(NAMES):
        held = f"a dictionary with {', '.join(map(str, given))}" if given is batch else None
        raise DataError(
            f"{says} must be an array, or a dictionary with the samples as `x` and maybe their "
            f"classes `y` or conditions `cond`, got {held or describe(batch)}."
        )
    return {name: jax.tree.map(np.asarray, value) for name, value in given.items()}


def _checked(values: np.ndarray, units: Units, batch_size: int, says: str) -> np.ndarray:
    if len(values) != batch_size:
        raise DataError(
            f"{says} has {len(values)} samples, and optim.batch_size is {batch_size}: make the two "
            "equal."
        )
    if values.shape[1:] != units.shape or values.dtype.name != units.dtype:
        raise DataError(
            f"{says} has samples of {values.dtype.name} and shape {values.shape[1:]}, and the "
            f"first ones were of {units.dtype} and shape {units.shape}."
        )
    if jnp.issubdtype(values.dtype, jnp.floating):
        bad = ~np.isfinite(values.astype(np.float64)).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise DataError(
                f"{says} must be finite, and sample {int(bad.argmax())} on axis 0 is not."
            )
    return values


def _conditions(
    arrays: dict[str, Any], conditions: Conditions, batch_size: int, says: str
) -> dict[str, np.ndarray]:
    given = conditions_of(arrays, says)
    try:
        found = conditions.read({} if given is None else given, f"{says}, `cond`,")
    except (TypeError, ValueError) as err:
        raise DataError(str(err)) from err
    for value in found.values():
        if len(value) != batch_size:
            raise DataError(f"{says} has {batch_size} samples and {len(value)} conditions.")
    return found


def _labels(labels: Any, n: int, num_classes: int, says: str) -> np.ndarray:
    labels = np.asarray(labels)
    whole = np.issubdtype(labels.dtype, np.integer)
    if not whole or labels.shape != (n,) or labels.min() < 0 or labels.max() >= num_classes:
        held = f" from {labels.min()} to {labels.max()}" if whole and labels.size else ""
        raise DataError(
            f"{says} must have one class a sample, `y` from 0 to {num_classes - 1} as in the first "
            f"samples, got {labels.dtype} of shape {labels.shape}{held}."
        )
    return labels.astype(np.int32)
