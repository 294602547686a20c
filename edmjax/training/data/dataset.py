"""The data of a run: checked, with what a network sees of them."""

import math
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import Int, Shaped

from edmjax._common.arguments import describe, whole
from edmjax._common.typing import Arraylike, PyTree
from edmjax.training.data.conditions import Conditions, Given, measure_conditions
from edmjax.training.data.images import check_entries, check_images, check_labels, one_hot_hint
from edmjax.training.data.rows import Rows
from edmjax.training.data.units import Units, measure, pieces, plain
from edmjax.training.data.widths import chosen, widths
from edmjax.training.errors import TrainingWarning

MOST_CLASSES = 100_000  # of fewer samples than classes; the network has a row for each

if TYPE_CHECKING:
    Images: TypeAlias = Shaped[np.ndarray, "n ..."]
    Labels: TypeAlias = Int[np.ndarray, " n"]
else:
    Images = Labels = Any  # wrong ones must reach the messages of `Dataset`


class Examples(NamedTuple):
    """Samples as they wait on the device, and what a network is given beside them."""

    images: Any
    labels: np.ndarray | jax.Array | None = None
    cond: dict[str, Any] | None = None  # by kind, as `Conditions.read` makes them


@dataclass(frozen=True)
class Dataset:
    """Samples with labels or conditions, checked. `Dataset.of` makes one of any arrays.

    Made by its fields it holds images, `(n, height, width, channels)`, with labels `(n,)`. Images
    of whole numbers (uint8) have `largest`, the number that white has: a network sees 0 as -1 and
    `largest` as 1. Other data, such as latents, are floats with `largest` None, which the network
    sees as they are. Labels are whole numbers `0 ... num_classes - 1`, held as int32; data without
    classes have `np.zeros(n, np.int32)` and `num_classes` 1. The arrays are not copied: do not
    change them.

    Attributes:
        cond: the conditions of the samples by kind, as a network reads them, or None.
        conditions: what these conditions are; None where there are none.
        units: what the data are, and what a network sees of them; for a pytree of arrays, a tree of
            these.
        network_units: whether a run writes its samples as the network gives them, float32 from -1
            to 1, and not in the data's own units.
        stream: where the batches of a run come from that has no end of samples, or None; the
            samples are then those that were measured.

    Raises:
        TypeError: `images` or `labels` are no arrays, or of another dtype; `largest` or
            `num_classes` is no integer.
        ValueError: `images` have another shape than above, no entries, channels in front, entries
            above `largest` or not finite; or there is not one label an image, from 0 to
            `num_classes - 1`.
    """

    name: str
    images: Images
    labels: Labels
    largest: int | None
    num_classes: int
    cond: dict[str, Any] | None = None
    conditions: Conditions | None = None
    units: Any = None
    network_units: bool = False
    stream: Any = None

    def __post_init__(self) -> None:
        if self.units is not None:  # of `Dataset.of`, which has checked
            return
        check_images(self.images)
        largest = None if self.largest is None else whole(self.largest, "largest", most=255)
        check_entries(self.images, largest)
        num_classes = whole(self.num_classes, "num_classes")
        check_labels(self.labels, len(self.images), num_classes)
        units = Units(self.images.shape[1:], self.images.dtype.name)
        if largest is not None:
            half = largest / 2
            units = Units(units.shape, "uint8", "last", "range", half, half, 0, largest)
        # The dataclass is frozen; a narrow dtype could not hold the label for "no class".
        object.__setattr__(self, "labels", self.labels.astype(np.int32))
        object.__setattr__(self, "largest", largest)
        object.__setattr__(self, "num_classes", num_classes)
        object.__setattr__(self, "units", units)

    @classmethod
    def of(
        cls,
        x: PyTree,
        *,
        labels: Arraylike | None = None,
        cond: Given | None = None,
        name: str = "data",
        scale: str = "auto",
        channels: str | None = None,
    ) -> "Dataset":
        """A data set of an array, or a pytree of arrays, with samples on axis 0 of every leaf.

        A sample may have any shape and any real dtype. What a network sees is the data shifted and
        divided by numbers that `scale` chooses: "auto" maps uint8 from 0 to 255, and other whole
        numbers from their least to their greatest, to -1 to 1, and gives floats the mean 0 and the
        standard deviation 1, each coordinate of a vector and each channel of other data for itself;
        "range" maps least and greatest to -1 and 1, "standard" is the rule of floats, and "none"
        leaves the data as they are. The numbers are stored with the weights, and samples are
        written in the data's own units and dtype.

        Args:
            x: the data.
            labels: the class of each sample, whole numbers from 0 on, shape `(n,)`.
            cond: the condition of each sample, with axis 0 of length n: an array, or a dictionary
                with the names `vector` (n, d), `image` (n, height, width, channels), `sequence`
                (n, length, features) and `mask` (n, length), True at the entries of the sequence
                that count. A single array is told by its axes. A network is given them with mean 0
                and standard deviation 1, or as they are with the scale "none".
            name: for messages.
            scale: the rule, as above.
            channels: where samples have their channels: "last", "first", or "none". By default
                last, and none in samples of one number, or of two axes, which are grey images.

        Raises:
            TypeError: a leaf of `x`, `labels` or `cond` is no array of real numbers.
            ValueError: an axis is empty, an entry is not finite, the lengths of axis 0 differ, a
                label is negative, or it cannot be told of which kind a condition is.
        """
        leaves, tree = jax.tree_util.tree_flatten_with_path(x)
        if not leaves:
            raise TypeError(f"{name} holds no arrays, got {describe(x)}.")
        names = [name + jax.tree_util.keystr(path) for path, _ in leaves]
        values = [plain(v, n) for n, (_, v) in zip(names, leaves, strict=True)]
        units = [
            measure(v, n, rule=scale, channels=channels) for v, n in zip(values, names, strict=True)
        ]
        n = len(values[0])
        for other, array in zip(names, values, strict=True):
            if len(array) != n:
                raise ValueError(
                    f"{names[0]} has {n} samples on axis 0, and {other} has {len(array)}: give "
                    "every array one entry a sample."
                )
        num_classes = 0
        if labels is not None:
            labels = np.asarray(plain(labels, f"{name}, the labels,"))
            num_classes = _number_of_classes(labels, n, name)
            labels = labels.astype(np.int32)
        about = None
        if cond is not None:
            own = "none" if scale == "none" else "standard"
            shape = values[0].shape[1:] if len(values) == 1 else ()
            about, cond = measure_conditions(
                cond, n, name, shape=shape, rule=own, channels=channels
            )
        x, units = tree.unflatten(values), tree.unflatten(units)
        return cls(name, x, labels, None, num_classes, cond, about, units)  # pyright: ignore[reportArgumentType]

    def __len__(self) -> int:
        return len(jax.tree.leaves(self.images)[0])

    @property
    def image_shape(self) -> Any:
        """The shape of one sample as a network sees it; of a pytree, a tree of shapes."""
        return jax.tree.map(lambda units: units.net_shape, self.units)

    @property
    def sample_units(self) -> Any:
        """The units in which a run writes its samples; None for those of the network."""
        return None if self.network_units else self.units

    @cached_property
    def widths(self) -> tuple[float, float, float] | None:
        """The three standard deviations of `widths`, of what a network sees."""
        numbers = sum(leaf[0].size for leaf in jax.tree.leaves(self.images))
        seen = self.some(chosen(len(self), numbers))
        return widths([np.asarray(leaf) for leaf in jax.tree.leaves(seen)])

    def hiding(self, hides: bool) -> "Dataset":
        """The same data, of which a network is told whether each condition is there."""
        if self.conditions is None or self.conditions.hides == hides:
            return self
        return replace(self, conditions=replace(self.conditions, hides=hides))

    def tell_absent(self) -> None:
        """Warns of classes that no sample has, for a network that is given classes."""
        if self.stream is not None:
            return
        absent = np.flatnonzero(np.bincount(self.labels, minlength=self.num_classes) == 0)
        if absent.size:
            warnings.warn(
                f"{self.name} has labels from {self.labels.min()} to {self.num_classes - 1}, and "
                f"no sample has the label {absent[0]}{' or others' if absent.size > 1 else ''}: "
                "what is drawn for a class without samples is noise. Number the classes from 0, "
                "one after the other.",
                TrainingWarning,
                stacklevel=3,
            )

    def in_units_of(self, conditions: Conditions) -> "Dataset":
        """The same data, with their conditions as `conditions` says, those of another run.

        `ValueError` where these are of other kinds or shapes, or the data have none.
        """
        if self.conditions is None or self.cond is None:
            raise ValueError(
                f"{self.name}: it has no conditions, and the network was trained with some: pass "
                "data with the array `cond`."
            )
        if self.conditions.describe() == conditions.describe():
            return replace(self, conditions=conditions)
        given = self.conditions.to_data(self.cond)
        arrays = conditions.read(given, f"{self.name}, `cond`,")
        return replace(self, cond=arrays, conditions=conditions)

    def clips(self, clip: bool | None) -> bool:
        """Whether samples are cut to [-1, 1], with `clip` what `sample.clip` says of it."""
        return all(u.whole for u in jax.tree.leaves(self.units)) if clip is None else clip

    def examples(self, *, labels: bool, cond: bool = False) -> Examples:
        """All samples as they wait on the device, with their labels or conditions or without."""
        stored = jax.tree.map(_stored, self.units, self.images)
        return Examples(stored, self.labels if labels else None, self.cond if cond else None)

    def read(self, which: Int[np.ndarray, " k"], *, labels: bool, cond: bool = False) -> Examples:
        """The samples at these indices, as `examples` has all of them."""
        stored = jax.tree.map(lambda u, x: u.stored(x[which]), self.units, self.images)
        beside = (self.labels if labels else None, self.cond if cond else None)
        return Examples(stored, *jax.tree.map(lambda values: values[which], beside))

    @property
    def nbytes(self) -> int:
        """The bytes of all samples as `examples` has them."""
        sizes = jax.tree.map(_stored_size, self.units, self.images)
        return sum(jax.tree.leaves(sizes))

    @property
    def lazy(self) -> bool:
        """Whether samples are read from their files when they are asked for."""
        return any(isinstance(leaf, Rows) for leaf in jax.tree.leaves(self.images))

    def some(self, which: Int[np.ndarray, " k"]) -> PyTree:
        """What a network sees of the samples at these indices."""
        return self.scale(self.read(which, labels=False).images)

    def scale(self, images: PyTree) -> PyTree:
        """What a network sees of samples that wait as `examples` has them, in float32."""
        return jax.tree.map(lambda units, values: units.seen(values), self.units, images)


def _stored_size(units: Units, x: np.ndarray | Rows) -> int:
    return math.prod(x.shape) * (1 if units.as_stored else 4)


def _stored(units: Units, x: np.ndarray | Rows) -> np.ndarray:
    if units.as_stored and not isinstance(x, Rows):
        return units.stored(x)
    return np.concatenate([units.stored(part) for _, part in pieces(x)])


def _number_of_classes(labels: np.ndarray, n: int, name: str) -> int:
    """One more than the greatest label; a sentence where there is not one whole number a sample."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(
            f"{name} has labels of {labels.dtype}, and classes are whole numbers: convert them, or "
            "pass them as a condition, `cond`."
        )
    if labels.shape != (n,):
        raise ValueError(
            f"{name} has {n} samples and labels of shape {labels.shape}: give one label a sample, "
            f"shape ({n},).{one_hot_hint(labels)}"
        )
    low = int(labels.min())
    if low < 0:
        where = int(labels.argmin())
        raise ValueError(
            f"{name} has the label {low} at index {where}: number the classes from 0, and leave "
            "samples without a class out."
        )
    number = int(labels.max()) + 1
    if number > max(n, MOST_CLASSES):
        raise ValueError(
            f"{name} has labels from {low} to {number - 1}, more classes than samples: number "
            "them from 0, np.unique(labels, return_inverse=True)[1], or pass them as a condition, "
            "`cond`."
        )
    return number
