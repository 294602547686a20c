"""Linear combinations of the vectors a sampler meets: what its `x` is while it is being read.

A basis vector is named by its kind and ordinal: `("x", 0)` the starting point, `("y", k)` the
point at which evaluation `k` was made, `("d", k)` the denoised output of evaluation `k`,
`("r", k)` its raw output, `("z", j)` draw `j` of fresh noise. A combination maps names to weights,
which are Python floats or traced scalars.
"""

import numbers
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from edmjax.scalar import Scalar

Name = tuple[str, int]

_NO_VALUE = (
    "A sampler is read before it runs, so it cannot branch on the value of a point; branch on "
    "levels, or put what is not linear into the denoiser or a corrector."
)


class Combination:
    """A linear combination of points, denoised outputs and noises.

    Supports `+`, `-`, and multiplication and division by scalars; anything else is not linear and
    raises `TypeError`.
    """

    __slots__ = ("weights",)
    # `np.float64(2) * combination` must come to `__rmul__` instead of making an object array.
    __array_ufunc__ = None

    def __init__(self, weights: Mapping[Name, Scalar]):
        self.weights: dict[Name, Scalar] = dict(weights)

    def __add__(self, other: "Combination") -> "Combination":
        if not isinstance(other, Combination):
            raise _not_linear("+", other)
        # The terms stay in the order in which they were added: it is the order of the sums in the
        # loop, so another order would give other bits.
        weights = dict(self.weights)
        for name, weight in other.weights.items():
            weights[name] = weights[name] + weight if name in weights else weight
        return Combination(weights)

    def __radd__(self, other: Any) -> "Combination":
        # `sum(combinations)` starts from the integer 0.
        if isinstance(other, int) and other == 0:
            return self
        raise _not_linear("+", other)

    def __mul__(self, factor: Scalar) -> "Combination":
        factor = _scalar("*", factor)
        return Combination({name: weight * factor for name, weight in self.weights.items()})

    __rmul__ = __mul__

    def __truediv__(self, divisor: Scalar) -> "Combination":
        divisor = _scalar("/", divisor)
        return Combination({name: weight / divisor for name, weight in self.weights.items()})

    def __rtruediv__(self, other: Any) -> "Combination":
        raise _not_linear("/", other)

    def __neg__(self) -> "Combination":
        return self * -1.0

    def __pos__(self) -> "Combination":
        return self

    def __sub__(self, other: "Combination") -> "Combination":
        if not isinstance(other, Combination):
            raise _not_linear("-", other)
        return self + other * -1.0

    # A number minus a point, a power, an absolute value: Python would say "unsupported operand",
    # which does not tell the author of a sampler what to write in its place.
    def __rsub__(self, other: Any) -> "Combination":
        raise _not_linear("-", other)

    def __pow__(self, other: Any) -> "Combination":
        raise _not_linear("**", other)

    def __abs__(self) -> "Combination":
        raise _not_linear("abs", self)

    def __lt__(self, other: Any) -> bool:
        raise TypeError(_NO_VALUE)

    __le__ = __lt__
    __gt__ = __lt__
    __ge__ = __lt__

    def __bool__(self) -> bool:
        raise TypeError(_NO_VALUE)

    def __getattr__(self, name: str) -> Any:
        # `copy`, NumPy and JAX ask for their protocols by attributes, and expect the plain error.
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"A point has no `{name}` while a sampler is read: it is a linear combination of "
            "points, denoised outputs and noises, and knows +, -, and * and / by scalars."
        )

    def __repr__(self) -> str:
        return " ".join(f"{weight:+.4g}*{kind}[{j}]" for (kind, j), weight in self.weights.items())


def _scalar(operation: str, value: Any) -> Scalar:
    if isinstance(value, numbers.Real | np.generic):
        return float(value)
    if isinstance(value, jax.Array | np.ndarray) and value.shape == ():
        return value if isinstance(value, Tracer) else float(value)
    raise _not_linear(operation, value)


def _not_linear(operation: str, other: Any) -> TypeError:
    got = "another point" if isinstance(other, Combination) else repr(other)
    return TypeError(
        f"A sampler forms linear combinations: points are added to points and scaled by scalars, "
        f"got `{operation}` with {got}."
    )
