"""What a network is told beside the image and its noise level: which kinds, and how they are given.

One kind is given as an array, several as a dict with the names of `KINDS`. Axis 0 counts samples,
or has length 1 where all samples share the condition.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from edmjax._common.arguments import describe, whole
from edmjax._common.typing import Int as Count

if TYPE_CHECKING:
    Given: TypeAlias = np.ndarray | Array | int
    Condition: TypeAlias = Given | Mapping[str, Given] | None
else:
    Condition = Any  # a wrong one must reach the messages of `Kinds.read`

# The names in a dict of conditions; `mask` says which entries of `sequence` count.
KINDS = ("label", "vector", "image", "sequence", "mask")


class Conditions(NamedTuple):
    """The condition of each sample, kind by kind; None where there is none of a kind."""

    label: Any = None
    vector: Float[Array, "batch features"] | None = None
    image: Float[Array, "batch ..."] | None = None
    sequence: Float[Array, "batch length features"] | None = None
    mask: Bool[Array, "batch length"] | None = None


@dataclass(frozen=True)
class Kinds:
    """Which conditions a network takes; 0 for a kind that it does not take.

    Attributes:
        label: the number of classes.
        vector: the entries of a vector.
        image: the channels of an image, which has as many axes as `x`.
        sequence: the features of each entry of a sequence.
    """

    label: int = 0
    vector: int = 0
    image: int = 0
    sequence: int = 0

    @classmethod
    def of(cls, num_classes: Count = 0, **widths: Count) -> "Kinds":
        """The kinds of a network with these options: `cond_vector`, `cond_image` ..."""
        checked = {k[len("cond_") :]: whole(v, k, least=0) for k, v in widths.items()}
        return cls(whole(num_classes, "num_classes", least=0), **checked)

    def read(self, cond: Condition, batch: Count, axes: int, who: str) -> Conditions:
        """The conditions in `cond` for `batch` samples with `axes` axes, the batch's among them.

        Labels are checked where they are looked up. ValueError where a kind is given that the
        network does not take, or one is missing; a missing label is "no class".
        """
        taken = [kind for kind in KINDS[:-1] if getattr(self, kind)]
        given = self._by_kind(cond, taken, who)
        missing = [kind for kind in taken if kind != "label" and given.get(kind) is None]
        if missing:
            raise ValueError(
                f"This {who} takes {_listed(taken)} as its condition, and there is no "
                f"{missing[0]}: pass it in `cond`."
            )

        def array(kind: str, rest: tuple[int | None, ...]) -> Any:
            return _array(given[kind], kind, batch, rest) if given.get(kind) is not None else None

        sequence = array("sequence", (None, self.sequence))
        mask = None
        if sequence is not None:
            every = np.ones((1, sequence.shape[1]), bool)
            mask = _mask(every if given.get("mask") is None else given["mask"], sequence.shape[:2])
        return Conditions(
            label=given.get("label"),
            vector=array("vector", (self.vector,)),
            image=array("image", (*[None] * (axes - 2), self.image)),
            sequence=sequence,
            mask=mask,
        )

    def _by_kind(self, cond: Condition, taken: list[str], who: str) -> dict[str, Any]:
        if cond is None:
            return {}
        if not taken:
            raise ValueError(
                f"This {who} knows no classes and no other condition: build it with num_classes, "
                "cond_vector or another of its options, or call it without cond."
            )
        if not isinstance(cond, Mapping):
            if len(taken) > 1:
                raise ValueError(
                    f"This {who} takes {_listed(taken)}: pass `cond` as a dict with these names, "
                    f"got {describe(cond)}."
                )
            return {taken[0]: cond}
        odd = [name for name in cond if name not in (*taken, *["mask"] * ("sequence" in taken))]
        if odd:
            raise ValueError(
                f"This {who} takes {_listed(taken)} as its condition, and `cond` has {odd[0]!r}. "
                "What a network takes is decided when it is built."
            )
        return dict(cond)


def resized(image: Float[Array, "batch ..."], x: Float[Array, "batch ..."]) -> Array:
    """`image`, linearly interpolated along each axis to the sides of `x`, in its dtype.

    Pixels are squares around their centres. Where there will be fewer, the kernel is as wide as
    the new ones, so that it averages. `jax.image.resize` is the same, but under x64 in float64.
    """
    image = image.astype(x.dtype)
    for axis in range(1, x.ndim - 1):
        before, after = image.shape[axis], x.shape[axis]
        if before != after:
            matrix = jnp.asarray(_interpolation(before, after), x.dtype)
            y = jnp.tensordot(image, matrix, (axis, 1), precision="highest")
            image = jnp.moveaxis(y, -1, axis)
    return image


def _interpolation(before: int, after: int) -> np.ndarray:
    """The weight of each old place in each new one, shape `(after, before)`."""
    places = (np.arange(after) + 0.5) * before / after - 0.5
    far = np.abs(np.arange(before) - places[:, None]) / max(before / after, 1)
    weights = np.maximum(1 - far, 0)
    return weights / weights.sum(1, keepdims=True)


def _array(value: Any, kind: str, batch: Count, rest: tuple[int | None, ...]) -> Array:
    """`value` as float32 of shape `(batch, *rest)`, None being any size."""
    shape, dtype = np.shape(value), jnp.result_type(value)
    fits = len(shape) == len(rest) + 1 and shape[0] in (1, batch) and 0 not in shape
    fits = fits and all(want in (None, n) for n, want in zip(shape[1:], rest, strict=True))
    if not fits or not jnp.issubdtype(dtype, jnp.floating):
        names = ", ".join("any" if n is None else str(n) for n in (batch, *rest))
        raise ValueError(
            f"The {kind} of a condition must be floats of shape ({names}), or with 1 in front "
            f"where all samples share it, got {dtype} of shape {shape}."
        )
    value = jnp.asarray(value, jnp.float32)
    return jnp.broadcast_to(value, (batch, *shape[1:]))


def _mask(value: Any, shape: tuple[int, ...]) -> Array:
    """`value` as truth values of `shape`."""
    dtype = jnp.result_type(value)
    whole_numbers = jnp.issubdtype(dtype, jnp.bool_) or jnp.issubdtype(dtype, jnp.integer)
    if np.shape(value) not in (shape, (1, *shape[1:])) or not whole_numbers:
        raise ValueError(
            f"The mask of a sequence must be True or False (or 1 or 0) of shape {shape}, got "
            f"{dtype} of shape {np.shape(value)}."
        )
    return jnp.broadcast_to(jnp.asarray(value).astype(bool), shape)


def _listed(kinds: list[str]) -> str:
    return " and ".join(f"a {kind}" for kind in kinds).replace("a image", "an image")
