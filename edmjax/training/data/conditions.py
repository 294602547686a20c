"""Conditions of samples: of which kind each is, what a network is given, and how it is hidden.

A network is given float32 numbers with mean 0 and standard deviation 1. Where conditions are hidden
now and then, as classifier-free guidance needs, it must be able to tell a hidden one: a vector has
one more entry, and an image one more channel, which is 1, and 0 with all others where it is hidden;
of a hidden sequence the mask is False throughout.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from edmjax._common.arguments import describe
from edmjax._common.typing import Arraylike, PyTree
from edmjax.training.data.units import Units, measure, plain

# Conditions by kind, and `mask`, which says which entries of a sequence count.
KINDS = ("vector", "image", "sequence")
if TYPE_CHECKING:
    Given: TypeAlias = Arraylike | Mapping[str, Arraylike]
else:
    Given = Any  # a wrong one must reach the messages below


@dataclass(frozen=True)
class Conditions:
    """What the conditions of some data are: for each kind, its units.

    Attributes:
        units: of each kind, by its name in `KINDS`.
        hides: whether a network is told of each condition that it is there.
    """

    units: Mapping[str, Units]
    hides: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of one sample's conditions, as a network is given them."""
        more = int(self.hides)
        found = {}
        for kind, units in self.units.items():
            *rest, last = units.net_shape
            found[kind] = (*rest, last + (0 if kind == "sequence" else more))
        return found

    def read(self, cond: Given, name: str = "`cond`") -> dict[str, np.ndarray]:
        """Conditions in the units of the data, as `given` takes them; axis 0 counts samples.

        Raises:
            TypeError: they are no arrays of real numbers.
            ValueError: a kind is missing or unknown, an entry is not finite, or a shape is another
                than that of the data that the network was trained on.
        """
        arrays = _by_kind(cond, name, [*self.units])
        found: dict[str, np.ndarray] = {}
        for kind, units in self.units.items():
            if kind not in arrays:
                raise ValueError(f"{name} has no {kind}: the network was trained with one.")
            mask = arrays.pop("mask", None) if kind == "sequence" else None
            found |= _stored(arrays.pop(kind), units, mask, kind, name)
        if arrays:
            raise ValueError(
                f"{name} holds {', '.join(arrays)}, and the network was trained with "
                f"{' and '.join(self.units)} alone: leave it out."
            )
        if len({len(value) for value in found.values()}) > 1:
            raise ValueError(f"{name} must have as many entries on axis 0 of each of its arrays.")
        return found

    @property
    def raw(self) -> PyTree:
        """One sample's conditions in the units of the data, as `jax.ShapeDtypeStruct`s.

        They are float32, by kind where there are several; a sequence has its mask.
        """
        found = {k: jax.ShapeDtypeStruct(u.shape, jnp.float32) for k, u in self.units.items()}
        if "sequence" in found:
            found["mask"] = jax.ShapeDtypeStruct(found["sequence"].shape[:1], jnp.bool_)
        return found if len(found) > 1 else next(iter(found.values()))

    def traced(self, raw: PyTree) -> dict[str, Any]:
        """What `read` returns of conditions like `raw`, which may be traced."""
        arrays = raw if isinstance(raw, Mapping) else {next(iter(self.units)): raw}
        found = {kind: units.traced(arrays[kind]) for kind, units in self.units.items()}
        return found | {"mask": arrays["mask"]} if "mask" in arrays else found

    def to_data(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What `read` was given, by kind."""
        found = {kind: units.to_data(arrays[kind]) for kind, units in self.units.items()}
        return found | {"mask": arrays["mask"]} if "mask" in arrays else found

    def given(
        self,
        arrays: Mapping[str, Any],
        labels: Int[Array | np.ndarray, " n"] | None = None,
        hidden: Bool[Array | np.ndarray, " n"] | None = None,
    ) -> PyTree:
        """What a network is given: one array, or a dictionary where there are several kinds.

        `arrays` are those of `read`; `hidden` says whose conditions are hidden. May be traced.
        """
        found: dict[str, Any] = {} if labels is None else {"label": labels}
        for kind in self.units:
            value = jnp.asarray(arrays[kind])
            there = jnp.ones(value.shape[0], bool) if hidden is None else ~jnp.asarray(hidden)
            if kind == "sequence":
                mask = arrays.get("mask")
                mask = jnp.ones(value.shape[:2], bool) if mask is None else jnp.asarray(mask)
                found |= {kind: value, "mask": mask & there[:, None]}
            elif self.hides:
                there = there.reshape(-1, *(1,) * (value.ndim - 1))
                one = jnp.ones((*value.shape[:-1], 1), value.dtype)
                found[kind] = jnp.where(there, jnp.concatenate([value, one], axis=-1), 0)
            else:
                found[kind] = value
        return found if len(found) > 1 else next(iter(found.values()))

    def hidden(self, num_classes: int = 0) -> PyTree:
        """The condition of one sample that stands for none; `num_classes` with a class."""
        zeros = {
            kind: np.zeros((1, *units.net_shape), np.float32) for kind, units in self.units.items()
        }
        label = np.full(1, num_classes, np.int32) if num_classes else None
        return self.given(zeros, label, np.ones(1, bool))

    def describe(self) -> dict[str, Any]:
        """As JSON holds it; `Conditions.stored` reads it back."""
        return {kind: units.describe() for kind, units in self.units.items()}

    @classmethod
    def stored(cls, about: Mapping[str, Any], hides: bool) -> "Conditions":
        """The conditions that `describe` has written; errors as those of `Units.read`."""
        if not about or set(about) - set(KINDS):
            raise ValueError(f"conditions of the kinds {sorted(about)}")
        return cls({kind: Units.read(value) for kind, value in about.items()}, hides)


def measure_conditions(
    cond: Given,
    n: int,
    name: str,
    *,
    shape: Sequence[int],
    rule: str = "standard",
    channels: str | None = None,
) -> tuple[Conditions, dict[str, np.ndarray]]:
    """What the conditions of `n` samples of this `shape` are, and they themselves.

    An array with one number or one axis a sample is a vector, one with as many axes as an image of
    the data is an image, and one with two axes is a sequence, (length, features); others go into a
    dictionary by the names `vector`, `image`, `sequence` and `mask`.

    Raises:
        TypeError: they are no arrays of real numbers.
        ValueError: there is not one condition a sample, an entry is not finite, or it cannot be
            told of which kind an array is.
    """
    says = f"{name}, `cond`,"
    arrays = _by_kind(cond, says, None, shape)
    mask = arrays.pop("mask", None)
    units: dict[str, Units] = {}
    found: dict[str, np.ndarray] = {}
    for kind, value in arrays.items():
        if len(value) != n:
            raise ValueError(
                f"{name} has {n} samples and {len(value)} conditions: give one entry of `cond` a "
                "sample."
            )
        if kind == "sequence" and mask is not None:
            rows = value[_mask(mask, value.shape[:2], says)]
            units[kind] = dataclasses.replace(
                measure(rows, says, rule=rule, channels="last"), shape=value.shape[1:]
            )
        else:
            own = channels if kind == "image" and value.ndim == len(shape) + 1 else "last"
            units[kind] = measure(value, says, rule=rule, channels=own)
        found |= _stored(value, units[kind], mask if kind == "sequence" else None, kind, says)
    if mask is not None and "sequence" not in units:
        raise ValueError(f"{says} has a mask and no sequence that it could be of.")
    return Conditions(units), found


def _by_kind(
    cond: Given, name: str, kinds: Sequence[str] | None, shape: Sequence[int] = ()
) -> dict[str, Any]:
    """The arrays of `cond` by kind, a single one by `kinds`, or else by its axes."""
    if isinstance(cond, Mapping):
        arrays: dict[str, Any] = {k: np.asarray(plain(v, name)) for k, v in cond.items()}
        odd = set(arrays) - {*KINDS, "mask"}
        if odd or not set(arrays) & set(KINDS):
            raise ValueError(
                f"{name} is a dictionary with the names vector, image, sequence and mask, got "
                f"{', '.join(map(str, arrays)) or 'an empty one'}."
            )
    else:
        value = np.asarray(plain(cond, name))
        if kinds is not None and len(kinds) > 1:
            raise ValueError(
                f"{name} must be a dictionary with {' and '.join(kinds)}, got {describe(cond)}."
            )
        arrays = {kinds[0] if kinds else _kind(value, shape, name): value}
    if "vector" in arrays and arrays["vector"].ndim == 1:
        arrays["vector"] = arrays["vector"][:, None]
    return arrays


def _kind(value: np.ndarray, shape: Sequence[int], name: str) -> str:
    axes = value.ndim - 1
    if axes in (0, 1):
        return "vector"
    # Grey images have two axes, or three with one channel.
    image = len(shape) >= 3 or (len(shape) == 2 and tuple(value.shape[1:]) == tuple(shape))
    if image and axes == len(shape):
        return "image"
    if axes == 2:
        return "sequence"
    raise ValueError(
        f"{name} has conditions of shape {value.shape[1:]} for samples of shape {tuple(shape)}: "
        "say what they are, with a dictionary of the names vector, image and sequence."
    )


def _stored(
    value: np.ndarray, units: Units, mask: Any, kind: str, name: str
) -> dict[str, np.ndarray]:
    """One kind of condition in a network's units, with its mask where it has one."""
    if not (jnp.issubdtype(value.dtype, jnp.number) or value.dtype == bool):
        raise TypeError(f"{name} must hold real numbers, got {value.dtype}.")
    sides = [*value.shape[1:]]
    if kind == "sequence":
        sides = sides[1:]
    wanted = units.shape[1:] if kind == "sequence" else units.shape
    # Images are resized by the network, so that their channels alone must be those of the data.
    if kind == "image" and len(sides) == len(wanted) and units.channels != "none":
        at = 0 if units.channels == "first" else -1
        sides, wanted = [sides[at]], (wanted[at],)
    elif kind == "image" and len(sides) == len(wanted):
        sides, wanted = [], ()
    if tuple(sides) != tuple(wanted):
        raise ValueError(
            f"{name} must have the shape (n, {', '.join(map(str, units.shape))}) of the conditions "
            f"that the network was trained with, got {value.shape}."
        )
    found = {}
    if mask is not None and kind == "sequence":
        mask = _mask(mask, value.shape[:2], name)
        value = np.where(mask[..., None], value, np.asarray(units.shift).astype(value.dtype))
        found["mask"] = mask
    bad = ~np.isfinite(value.astype(np.float64)).reshape(len(value), -1).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{name} must be finite, and entry {int(bad.argmax())} on axis 0 is not: leave such "
            "samples out, or replace what is missing."
        )
    return {kind: units.stored(value), **found}


def _mask(mask: Any, shape: Sequence[int], name: str) -> np.ndarray:
    mask = np.asarray(mask)
    whole = mask.dtype == bool or np.issubdtype(mask.dtype, np.integer)
    if mask.shape != tuple(shape) or not whole or not np.isin(mask, (0, 1)).all():
        raise ValueError(
            f"{name} must have a mask of True and False (or 1 and 0) of shape {tuple(shape)}, got "
            f"{mask.dtype} of shape {mask.shape}."
        )
    return mask.astype(bool)
