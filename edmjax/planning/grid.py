"""A grid of noise levels, checked as far as its levels are numbers."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.core import Tracer

from edmjax._common.typing import Grid
from edmjax.scalar import Scalar, flag, host, is_traced

# Levels whose relative difference is smaller are one level, of which one copy was rounded.
_APART = 1e-12
_SMALLEST = 1e-150


def levels_of(sigmas: Grid, *, infinite: bool = False) -> tuple[Scalar, ...]:
    """The levels as floats or traced scalars, checked as far as they are numbers.

    With `infinite`, the first may be infinity.
    """
    sequence = isinstance(sigmas, Sequence | np.ndarray | jax.Array)
    sequence = sequence and not isinstance(sigmas, str | bytes)
    if getattr(sigmas, "ndim", 1) != 1 or not sequence:
        shape = getattr(sigmas, "shape", None)
        got = f"{sigmas!r:.80}" if shape is None else f"an array of shape {shape}"
        if callable(sigmas):
            given = getattr(sigmas, "__name__", repr(sigmas))
            got = f"the function `{given}`: pass what it returns, such as `{given}(18)`"
        raise ValueError(f"`sigmas` must be a sequence of noise levels, got {got}.")
    # To the host at once, and not a transfer for each level.
    if isinstance(sigmas, jax.Array) and not isinstance(sigmas, Tracer):
        sigmas = np.asarray(sigmas)
    levels = tuple(host(sigma, f"sigmas[{i}]") for i, sigma in enumerate(sigmas))
    if len(levels) < 2:
        raise ValueError(f"A grid needs at least two noise levels, got {len(levels)}: {levels}.")
    # `last` is the last level that is a number: traced ones between two numbers are not compared.
    upward, last = goes_up(levels), None
    for i, sigma in enumerate(levels):
        if is_traced(sigma):
            continue
        if not 0 <= sigma < np.inf and not (infinite and i == 0 and sigma > 0):  # refuses NaN
            raise ValueError(
                f"Noise levels must be finite and not negative, got sigmas[{i}] = {sigma}"
                + ("; only the first may be infinite." if infinite else ".")
            )
        if not (sigma in (0, np.inf) or _SMALLEST <= sigma <= 1 / _SMALLEST):
            raise ValueError(
                f"sigmas[{i}] = {sigma} has a square that is 0 or infinity as a number: choose "
                f"levels from {_SMALLEST:g} to {1 / _SMALLEST:g}, or 0."
            )
        if sigma == 0 and (i < len(levels) - 1):
            raise ValueError(
                f"Only the last level of a grid that goes down may be 0, got sigmas[{i}] = 0 of "
                f"{len(levels)} levels" + ("; start encoding above 0." if upward else ".")
            )
        if last is not None and (sigma <= levels[last] if upward else sigma >= levels[last]):
            raise ValueError(
                "Noise levels must be strictly decreasing (or, to encode, strictly increasing), "
                f"got sigmas[{last}] = {levels[last]}, sigmas[{i}] = {sigma}."
            )
        if last is not None and abs(sigma - levels[last]) <= _APART * min(sigma, levels[last]):
            raise ValueError(
                f"sigmas[{last}] = {levels[last]} and sigmas[{i}] = {sigma} differ by a rounding, "
                "where weights of a step would be differences of equal numbers: leave one out."
            )
        last = i
    return levels


def goes_up(levels: tuple[Scalar, ...]) -> bool:
    """Whether the grid goes up, by its first two levels that are numbers."""
    concrete = [sigma for sigma in levels if not is_traced(sigma)]
    return len(concrete) > 1 and bool(concrete[1] > concrete[0])


def last_is_zero(levels: tuple[Scalar, ...], given: bool | None) -> bool:
    # The step to zero is another formula, so the sampler has to know while it is read.
    if is_traced(levels[-1]):
        if given is None:
            raise ValueError(
                "The last level is traced, so `make_plan` cannot see whether it is 0: pass "
                "`ends_at_zero=True` or `ends_at_zero=False`."
            )
        return flag(given, "ends_at_zero")
    found = bool(levels[-1] == 0)
    if given is not None and flag(given, "ends_at_zero") != found:
        wanted = "be 0" if given else "not be 0"
        raise ValueError(
            f"With ends_at_zero={given} the last level must {wanted}, got {levels[-1]}."
        )
    return found
