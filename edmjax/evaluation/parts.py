"""What a network of any data is evaluated on: the samples that it has seen, and others."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, Shaped

from edmjax._common.typing import PyTree
from edmjax.training.data import Dataset, Units, load_dataset, load_mnist
from edmjax.training.errors import DataError
from edmjax.training.held_out import split
from edmjax.training.pretrained import Trained


@dataclass(frozen=True, eq=False)
class Part:
    """Some samples of a data set, for one network.

    Attributes:
        dataset: the data.
        trained: the network, by whose units the samples are scaled.
        which: the indices of these samples.
    """

    dataset: Dataset
    trained: Trained
    which: Int[np.ndarray, " n"]

    @property
    def numbers(self) -> int:
        """How many numbers a sample has."""
        return int(np.prod(self.trained.image_shape))

    def __len__(self) -> int:
        return len(self.which)

    def some(self, count: int) -> "Part":
        """The same `count` of them at every call, in a random order."""
        return self.take(np.random.default_rng(0).permutation(len(self.which))[:count])

    def take(self, chosen: Int[np.ndarray, " k"]) -> "Part":
        """Those with these numbers."""
        return replace(self, which=self.which[chosen])

    def seen(self) -> Float[np.ndarray, "n ..."]:
        """What the network sees of them, float32."""
        units = self.trained.units
        if units is None and self.dataset.units.whole:  # images of bytes, from -1 to 1
            return np.asarray(self.dataset.some(self.which), np.float32)
        if units is None:  # floats from -1 to 1 already, as the samples of such a network are
            units = replace(self.dataset.units, shift=0.0, width=1.0)
        return np.asarray(units.seen(units.stored(self.dataset.images[self.which])), np.float32)

    def given(self) -> PyTree:
        """What the network is told of each: labels or other conditions, None for nothing."""
        labels = self.dataset.labels[self.which] if self.trained.num_classes else None
        conditions = self.trained.conditions
        if conditions is None:
            return labels
        arrays: Any = self.dataset.cond
        arrays = {kind: values[self.which] for kind, values in arrays.items()}
        return jax.tree.map(np.asarray, conditions.given(arrays, labels))


def unrounded(
    units: Units | None, samples: Float[np.ndarray, "n ..."]
) -> Shaped[np.ndarray, "n ..."]:
    """Samples of a network in the units and the shape of the data, neither rounded nor cut.

    Of whole numbers they are float32, and without `units` those of the network.
    """
    if units is None:
        return samples
    values = np.asarray(samples, np.float64) * units.width + units.shift
    if units.channels == "first":
        values = np.moveaxis(values, -1, 1)
    values = values.reshape(len(values), *units.shape)
    return values.astype(np.float32 if units.whole else units.dtype)


def load_parts(
    config: Mapping[str, Any],
    trained: Trained,
    *,
    data: str | None = None,
    test: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[Part, Part | None]:
    """The samples that a network was trained on, and others of their law, or None.

    The data are those that the stored `config` names, or `data`. The others are `test`, or the part
    that the run held out, or the test images of MNIST.

    Raises:
        ValueError: there are no such data, they have another shape than the network's, or no
            classes or conditions where it was trained with them. The message begins with the name.
        OSError: a file is missing.
    """
    name = config.get("data") if data is None else data
    options = {k[5:]: v for k, v in config.items() if k.startswith("data_") and k != "data_dir"}
    if options.get("scale") == "measure":  # what was measured is in the network's units
        options["scale"] = None
    dataset = _load(str(name), options, data_dir, trained)
    kept, held = np.arange(len(dataset)), None
    share = config.get("held_out")
    if share is not None and data is None:
        kept, held = split(len(dataset), share, config["seed"])
    train = Part(dataset, trained, np.asarray(kept))
    if test is not None:
        other = _load(test, options, data_dir, trained)
        return train, Part(other, trained, np.arange(len(other)))
    if name == "mnist":
        images, labels = load_mnist(data_dir, split="test")
        other = Dataset("mnist", images[..., None], labels.astype(np.int32), 255, 10)
        return train, Part(other, trained, np.arange(len(other)))
    return train, None if held is None else Part(dataset, trained, np.asarray(held))


def _load(
    name: str, options: Mapping[str, Any], data_dir: str | os.PathLike[str] | None, trained: Trained
) -> Dataset:
    # Other data than those of the run may be of another kind, which has no such options.
    other = set() if ":" in name else {"columns"} if Path(name).is_dir() else {"columns", "size"}
    options = {k: v for k, v in options.items() if k not in other}
    try:
        dataset = load_dataset(name, data_dir, **options)
    except DataError:
        raise
    except ValueError as err:
        raise DataError(f"{name}: {err} Name the data of the network with --data.") from err
    units = trained.units
    if units is None and dataset.units.whole and not dataset.units.as_stored:
        raise DataError(
            f"{name}: the network sees images from -1 to 1, and what these whole numbers are of "
            "that is not known: pass bytes (uint8) of 0 to 255, or floats from -1 to 1."
        )
    shape = dataset.image_shape if units is None else getattr(dataset.images, "shape", (0,))[1:]
    wanted = trained.image_shape if units is None else units.shape
    if tuple(shape) != tuple(wanted):
        raise DataError(
            f"{name}: its samples have the shape {tuple(shape)}, and the network is for "
            f"{tuple(wanted)}: pass data of that shape with --data."
        )
    # The samples of a test may lack the last classes.
    if trained.num_classes and not 0 < dataset.num_classes <= trained.num_classes:
        raise DataError(
            f"{name}: it has {dataset.num_classes} classes, and the network was trained with "
            f"{trained.num_classes}: pass data with the same classes with --data."
        )
    if trained.conditions is None:
        return dataset
    try:  # as the network was trained with them, and not as they would be scaled alone
        return dataset.in_units_of(trained.conditions)
    except ValueError as err:
        raise DataError(str(err)) from err
