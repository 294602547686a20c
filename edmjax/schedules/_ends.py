"""What every schedule shares: checked arguments, exact end points, strict decrease."""

import math
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64

from edmjax.scalar import flag

Number: TypeAlias = float | int | np.floating | np.integer
Levels: TypeAlias = Float64[np.ndarray, " levels"]


def count(n: Any, name: str = "The number of levels n", *, least: int = 1) -> int:
    """`n` as an int of at least `least`, or a sentence."""
    if not isinstance(n, int | np.integer) or isinstance(n, bool):
        raise TypeError(f"{name} must be an integer, got {n!r}.")
    if n < least:
        if least == 1 and name.endswith(" n"):
            raise ValueError(f"A schedule has at least n = 1 positive level, got n = {n}.")
        raise ValueError(f"{name} must be {least} at least, got {n}.")
    return int(n)


def number(name: str, value: Any) -> float:
    """`value` as a float, or a sentence; a traced value has no place in a host computation."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError) as err:
        raise TypeError(
            f"{name} must be a number, got {value!r:.80}: schedules are computed on the host; to "
            "trace a grid, write its formula in jax.numpy and give `make_plan` the levels."
        ) from err


def positive(name: str, value: Any) -> float:
    found = number(name, value)
    if not 0 < found < math.inf:  # false for NaN too
        raise ValueError(f"{name} must be positive and finite, got {found}.")
    return found


def ordered(sigma_min: Any, sigma_max: Any) -> tuple[float, float]:
    low, high = positive("sigma_min", sigma_min), positive("sigma_max", sigma_max)
    if low >= high:
        raise ValueError(f"sigma_min must be below sigma_max, got {low} and {high}.")
    return low, high


def check(n: Any, sigma_min: Any, sigma_max: Any) -> tuple[int, float, float]:
    """`(n, sigma_min, sigma_max)` as plain numbers, or a sentence about what is wrong with them."""
    return count(n), *ordered(sigma_min, sigma_max)


def finish(sigmas: np.ndarray, low: float, high: float, final_zero: bool) -> Levels:
    """`sigmas` with exact end points and, if asked, 0 at the end: how a continuous one ends."""
    if len(sigmas) > 1:  # a single level is sigma_max
        sigmas[-1] = low
    sigmas[0] = high
    if not (np.diff(sigmas) < 0).all():
        raise ValueError(
            f"{len(sigmas)} levels from {high} to {low} are not all different in float64: "
            "ask for fewer levels, a wider range, or a milder shape."
        )
    return close(sigmas, final_zero)


def close(sigmas: np.ndarray, final_zero: bool) -> Levels:
    return np.append(sigmas, 0.0) if flag(final_zero, "final_zero") else sigmas
