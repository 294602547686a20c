"""A grid of noise levels, checked as far as its levels are numbers."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from edmjax.scalar import Scalar, host, is_traced


def levels_of(sigmas: Any) -> tuple[Scalar, ...]:
    """The levels as floats or traced scalars, checked as far as they are numbers."""
    if getattr(sigmas, "ndim", 1) != 1 or not isinstance(sigmas, Sequence | np.ndarray | jax.Array):
        shape = getattr(sigmas, "shape", None)
        got = repr(sigmas) if shape is None else f"an array of shape {shape}"
        raise ValueError(f"`sigmas` must be a sequence of noise levels, got {got}.")
    if isinstance(sigmas, jax.Array) and not isinstance(sigmas, Tracer):
        sigmas = np.asarray(sigmas)
    levels = tuple(host(sigma, f"sigmas[{i}]") for i, sigma in enumerate(sigmas))
    if len(levels) < 2:
        raise ValueError(f"A grid needs at least two noise levels, got {len(levels)}: {levels}.")
    upward = goes_up(levels)
    for i, sigma in enumerate(levels):
        if is_traced(sigma):
            continue
        if not 0 <= sigma < np.inf:  # also refuses NaN
            raise ValueError(
                f"Noise levels must be finite and not negative, got sigmas[{i}] = {sigma}."
            )
        if sigma == 0 and (i < len(levels) - 1):
            raise ValueError(
                f"Only the last level of a grid that goes down may be 0, got sigmas[{i}] = 0 of "
                f"{len(levels)} levels" + ("; start encoding above 0." if upward else ".")
            )
        before = levels[i - 1] if i else None
        if (
            before is not None
            and not is_traced(before)
            and (sigma <= before if upward else sigma >= before)
        ):
            raise ValueError(
                "Noise levels must be strictly decreasing (or, to encode, strictly increasing), "
                f"got sigmas[{i - 1}] = {before}, sigmas[{i}] = {sigma}."
            )
    return levels


def goes_up(levels: tuple[Scalar, ...]) -> bool:
    """Whether the grid goes up, by its first two neighbours that are numbers."""
    for before, after in itertools.pairwise(levels):
        if not is_traced(before, after):
            return after > before
    return False


def last_is_zero(levels: tuple[Scalar, ...], given: bool | None) -> bool:
    if is_traced(levels[-1]):
        if given is None:
            raise ValueError(
                "The last level is traced, so `make_plan` cannot see whether it is 0: pass "
                "`ends_at_zero=True` or `ends_at_zero=False`."
            )
        return bool(given)
    found = levels[-1] == 0
    if given is not None and bool(given) != found:
        wanted = "be 0" if given else "not be 0"
        raise ValueError(
            f"With ends_at_zero={given} the last level must {wanted}, got {levels[-1]}."
        )
    return found
