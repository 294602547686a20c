"""Between the data, in their own units and shape, and what a network sees of them.

A network sees float32 numbers of size 1, with the channels last. A `Units` holds the way there, by
a rule and the numbers that the data gave it, and the way back. It is stored with the weights.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from edmjax._common.arguments import describe, one_of
from edmjax.training.data.rows import Rows

RULES = ("auto", "none", "range", "standard")
CHANNELS = ("last", "none", "first")
NUMBERS_AT_ONCE = 2**22  # in float64, 32 MiB
LARGEST = 1e150


@dataclass(frozen=True, eq=False)
class Units:
    """What one array of the data is, and what a network sees of it: `(x - shift) / width`.

    Attributes:
        shape: of one sample of the data.
        dtype: of the data, such as "uint8".
        channels: where a sample has its channels: "last"; "first", and they are moved; or "none",
            and a last axis of length 1 is added.
        rule: "none", "range" (least and greatest go to -1 and 1) or "standard" (mean 0, standard
            deviation 1).
        shift: a number, or one for each entry of the last axis; float64.
        width: likewise. It is 0 where all data are equal: a network sees 0 there, and samples have
            the data's value.
        low: of whole numbers, the least that samples are cut to; None for floats.
        high: the greatest.
    """

    shape: tuple[int, ...]
    dtype: str
    channels: str = "last"
    rule: str = "none"
    shift: Any = 0.0
    width: Any = 1.0
    low: int | None = None
    high: int | None = None

    def __str__(self) -> str:
        how = {"range": f"{self.low} to {self.high}" if self.whole else "least and greatest"}
        how |= {"standard": "mean 0, standard deviation 1", "none": "as they are"}
        seen = " (seen from -1 to 1)" if self.rule == "range" else ""
        text = f"{self.dtype} of shape {self.shape}, {how[self.rule]}{seen}"
        constant = constant_entries(self)
        return text if not constant else f"{text}, {constant} constant and kept as they are"

    @property
    def net_shape(self) -> tuple[int, ...]:
        """The shape of one sample as a network sees it."""
        if self.channels == "none":
            return (*self.shape, 1)
        return self.shape if self.channels == "last" else (*self.shape[1:], self.shape[0])

    @property
    def whole(self) -> bool:
        """Whether the data are whole numbers: samples are then rounded, and cut to their range."""
        return self.high is not None

    @property
    def ends(self) -> tuple[float, float]:
        """The range of whole numbers as float64, within their dtype.

        2^63 - 1 would be 2^63 in float64, which is no int64.
        """
        assert self.low is not None and self.high is not None
        low, high = float(self.low), float(self.high)
        if low < self.low:
            low = math.nextafter(low, math.inf)
        return low, math.nextafter(high, -math.inf) if high > self.high else high

    @property
    def as_stored(self) -> bool:
        """Whether data wait on the device as they were stored, and are scaled there."""
        return self.dtype == "uint8" and self.rule == "range" and self.low == 0

    def stored(self, x: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "n ..."]:
        """Samples as they wait on the device: uint8, or what the network sees, in float32."""
        x = _channels_last(np.asarray(x), self.channels)
        if self.as_stored:
            return x
        values = x.astype(np.float64)
        return ((values - self.shift) / np.where(self.width, self.width, 1.0)).astype(np.float32)

    def traced(self, x: Shaped[Array, "n ..."]) -> Float[Array, "n ..."]:
        """What the network sees of samples in the data's units, in float32; it may be traced."""
        values = jnp.asarray(x).astype(jnp.float32)
        if self.channels == "none":
            values = values[..., None]
        elif self.channels == "first":
            values = jnp.moveaxis(values, 1, -1)
        shift, width = (jnp.asarray(v, jnp.float32) for v in (self.shift, self.width))
        return (values - shift) / jnp.where(width == 0, 1, width)

    def seen(self, x: Shaped[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
        """What the network sees of `stored` samples; it may be traced."""
        values = jnp.asarray(x).astype(jnp.float32)
        return values * (2 / self.high) - 1 if self.as_stored and self.high else values

    def to_data(self, samples: Float[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "n ..."]:
        """Samples of a network in the data's units, shape and dtype.

        Whole numbers are rounded and cut to their range, floats are not cut.
        """
        values = np.asarray(samples, np.float64) * self.width + self.shift
        if self.whole:
            values = np.clip(np.rint(values), *self.ends)
        if self.channels == "first":
            values = np.moveaxis(values, -1, 1)
        return values.reshape(len(values), *self.shape).astype(_dtype(self.dtype))

    def describe(self) -> dict[str, Any]:
        """As JSON holds it; `Units.read` reads it back."""
        return {
            "shape": list(self.shape),
            "dtype": self.dtype,
            "channels": self.channels,
            "rule": self.rule,
            "shift": np.asarray(self.shift).tolist(),
            "width": np.asarray(self.width).tolist(),
            "low": self.low,
            "high": self.high,
        }

    @classmethod
    def read(cls, about: Mapping[str, Any]) -> "Units":
        """The units that `describe` has written; `KeyError`, `TypeError` or `ValueError` if not."""
        shape = tuple(int(side) for side in about["shape"])
        shift, width = (np.asarray(about[name], np.float64) for name in ("shift", "width"))
        _dtype(about["dtype"])
        one_of(about["channels"], "channels", CHANNELS)
        low, high = about["low"], about["high"]
        last = None if shift.ndim == 0 else len(shift)
        units = cls(
            shape, about["dtype"], about["channels"], about["rule"], shift, width, low, high
        )
        if not (np.isfinite(shift).all() and np.isfinite(width).all() and (width >= 0).all()):
            raise ValueError("numbers in `units` that are not finite, or below 0")
        if shift.shape != width.shape or last not in (None, units.net_shape[-1]):
            raise ValueError("numbers in `units` for data of another shape")
        if (low is None) != (high is None) or (high is not None and not int(low) <= int(high)):
            raise ValueError(f"a range in `units` from {low} to {high}")
        return units


def measure(x: object, name: str, *, rule: str = "auto", channels: str | None = None) -> Units:
    """The units of an array with samples on axis 0, measured by `rule`.

    "auto" is the range 0 to 255 for uint8, the range of the data for other whole numbers, and
    "standard" for floats: the mean and the standard deviation of each coordinate of a vector, and
    of each channel of other data. `channels` is "last" unless a sample has one or two axes; one of
    two axes is a grey image, "none".

    Raises:
        TypeError: `x` is no array of numbers, or its numbers are complex.
        ValueError: an axis is empty, an entry is not finite, or `channels` does not fit.
    """
    x = _numbers(x, name)
    rule = one_of(rule, "data_scale", RULES)
    shape = x.shape[1:]
    channels = _where(shape, channels, name)
    whole = not jnp.issubdtype(x.dtype, jnp.floating)
    if rule == "auto" and x.dtype == np.uint8:  # known without a look at the data
        half = np.float64(127.5)
        return Units(shape, "uint8", channels, "range", half, half, 0, 255)
    found = Units(shape, x.dtype.name, channels)
    least, greatest, mean, std = _moments(x, found, name)
    ends: tuple[Any, Any] = (None, None)
    if whole:
        ends = _within(int(least.min()), x.dtype), _within(int(greatest.max()), x.dtype)
    if rule == "auto":
        rule = "range" if whole else "standard"
    shift, width = np.float64(0.0), np.float64(1.0)
    if rule == "range":
        low, high = ends if ends[1] is not None else (least.min(), greatest.max())
        shift, width = np.float64(low + high) / 2, np.float64(high - low) / 2
    elif rule == "standard":
        constant = least == greatest
        shift, width = np.where(constant, least, mean), np.where(constant, 0.0, std)
    return Units(shape, x.dtype.name, channels, rule, shift, width, *ends)


def _within(value: int, dtype: np.dtype) -> int:
    """`value`, which float64 may have rounded to a number that the dtype does not have."""
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    return value if limits is None else min(max(value, int(limits.min)), int(limits.max))


def constant_entries(units: Units) -> int:
    """How many entries of the last axis are equal in all data."""
    return int(np.sum(np.asarray(units.width) == 0))


def _dtype(name: str) -> np.dtype:
    dtype = jnp.dtype(name)  # bfloat16 and its like too
    if not (jnp.issubdtype(dtype, jnp.number) or dtype.kind == "b"):
        raise ValueError(f"the dtype {name!r} in `units`")
    return dtype


def plain(x: Any, name: str) -> Any:
    """Arrays of JAX and of NumPy's older kinds as `numpy.ndarray`, and all else as it is.

    `ValueError` where entries are masked.
    """
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        where = int(np.argwhere(np.ma.getmaskarray(x))[0][0])
        raise ValueError(
            f"{name} has masked entries, the first in sample {where} on axis 0, and a network has "
            "no place for them: leave such samples out, or replace what is missing."
        )
    older = isinstance(x, np.matrix | np.ma.MaskedArray)
    return np.asarray(x) if older or isinstance(x, jax.Array) else x


def _numbers(x: object, name: str) -> np.ndarray | Rows:
    """`x` as an array of numbers with at least one sample, or a sentence."""
    x = plain(x, name)
    if not isinstance(x, np.ndarray | Rows):
        raise TypeError(
            f"{name} must be an array with samples on axis 0, got {describe(x)}: convert it with "
            "np.asarray."
        )
    if x.dtype.kind == "c":
        raise TypeError(
            f"{name} holds complex numbers, {x.dtype}: put the real and the imaginary parts side "
            "by side as channels, np.stack([x.real, x.imag], axis=-1)."
        )
    if not (jnp.issubdtype(x.dtype, jnp.number) or x.dtype == bool):
        raise TypeError(
            f"{name} must hold numbers, got {x.dtype}: arrays of objects or of text are no samples."
        )
    if not x.ndim or 0 in x.shape:
        raise ValueError(
            f"{name} must have samples on axis 0, and no axis may be empty, got the shape "
            f"{x.shape}."
        )
    return x


def _where(shape: tuple[int, ...], channels: str | None, name: str) -> str:
    if channels is None:
        return "none" if len(shape) in (0, 2) else "last"
    channels = one_of(channels, "data_channels", CHANNELS)
    if (channels == "first" and len(shape) < 2) or (channels == "last" and not shape):
        raise ValueError(
            f"{name} has samples of shape {shape}, which have no axis for channels: leave "
            "data_channels null."
        )
    return channels


def _channels_last(x: np.ndarray, channels: str) -> np.ndarray:
    if channels == "none":
        return x[..., None]
    return np.moveaxis(x, 1, -1) if channels == "first" else x


def pieces(x: np.ndarray | Rows) -> Iterator[tuple[int, np.ndarray]]:
    """`x` in parts along axis 0 that are small in memory, each with its first index."""
    rows = max(1, NUMBERS_AT_ONCE // max(1, math.prod(x.shape[1:])))
    for first in range(0, len(x), rows):
        yield first, x[first : first + rows]


def _moments(x: np.ndarray | Rows, units: Units, name: str) -> tuple[np.ndarray, ...]:
    """Least, greatest, mean and standard deviation for each entry of the last axis, in float64."""
    least, greatest, parts = np.inf, -np.inf, []
    for first, part in pieces(x):
        values = _channels_last(part, units.channels).astype(np.float64)
        rows = values.reshape(-1, values.shape[-1])
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{name} must be finite, and sample {first + int(bad.argmax())} on axis 0 is not: "
                "leave such samples out, or replace what is missing."
            )
        least = np.minimum(least, rows.min(axis=0))
        greatest = np.maximum(greatest, rows.max(axis=0))
        if max(-np.min(least), np.max(greatest)) > LARGEST:
            raise ValueError(
                f"{name} holds numbers as large as {max(-np.min(least), np.max(greatest)):.3g}, "
                "whose squares float64 cannot hold: divide the data by a number."
            )
        mean = rows.mean(axis=0)
        parts.append((len(rows), mean, np.sum((rows - mean) ** 2, axis=0)))
    # Chan, Golub and LeVeque (1983), Eq. 1.5: sums of squares about the means of parts.
    count, total = sum(part[0] for part in parts), sum(part[0] * part[1] for part in parts)
    mean = total / count
    squares = sum(part[2] + part[0] * (part[1] - mean) ** 2 for part in parts)
    return np.asarray(least), np.asarray(greatest), np.asarray(mean), np.sqrt(squares / count)
