"""Grids made from grids: a part of one, for image-to-image, and one upside down, to encode.

Levels of a process stay levels of that process, with their times.
"""

import math
from typing import overload

import numpy as np

from edmjax import processes
from edmjax._common.arguments import number, real
from edmjax._common.arrays import has_tracers
from edmjax._common.typing import Arraylike, Levels, Number


@overload
def truncate(sigmas: processes.Levels, strength: Number) -> processes.Levels: ...
@overload
def truncate(sigmas: Arraylike, strength: Number) -> Levels: ...
def truncate(sigmas: Arraylike | processes.Levels, strength: Number) -> Levels | processes.Levels:
    """The last `floor(strength * steps)` steps of a grid, for image-to-image.

    Sampling starts at an image with noise of the first remaining level, `x0 + sigmas[0] * n`;
    `strength = 1` is the whole grid. To run `n` steps at any strength, truncate a grid of
    `round(n / strength)` steps.

    Levels of a process stay in its scale, so that sampling starts at
    `process.add_noise(x0, n, levels.times[0])`.

    Raises:
        ValueError: strength not in (0, 1], or so low that no step is left; `sigmas` not a strictly
            decreasing grid of at least two levels.
        TypeError: the levels are traced.
    """
    levels = _grid(sigmas)
    share = real(number(strength, "strength"), "strength", above=0, most=1)
    steps = len(levels) - 1
    if steps < 1:
        raise ValueError("A grid to truncate has at least two levels, got one.")
    # The margin is for products such as 0.29 * 100, which is a rounding below the whole number.
    kept = math.floor(share * steps * (1 + 1e-12))
    if kept < 1:
        raise ValueError(
            f"strength {share} leaves none of the {steps} steps: take at least {1 / steps:.3g}, or "
            "a grid with more levels."
        )
    return _part(sigmas, levels, slice(steps - kept, None))


@overload
def reverse(sigmas: processes.Levels) -> processes.Levels: ...
@overload
def reverse(sigmas: Arraylike) -> Levels: ...
def reverse(sigmas: Arraylike | processes.Levels) -> Levels | processes.Levels:
    """The positive levels of a grid in ascending order, to encode data to noise.

    A final 0 is left out: an upward grid starts above it. Levels of a process stay in its scale.

    Raises:
        ValueError: `sigmas` is not strictly decreasing, has no positive level, or starts at an
            infinite one.
        TypeError: the levels are traced.
    """
    levels = _grid(sigmas)
    positive = len(levels) - (levels[-1] == 0)
    if not positive:
        raise ValueError("A grid to reverse has a positive level, got 0 alone.")
    if levels[0] == math.inf:
        raise ValueError(
            "A grid to encode on ends at a finite level, and this one starts at infinity: leave "
            "that level out, `reverse(levels[1:])`."
        )
    return _part(sigmas, levels, np.arange(positive)[::-1])


def _part(
    given: Arraylike | processes.Levels, levels: np.ndarray, index: slice | np.ndarray
) -> Levels | processes.Levels:
    """`given[index]`, a copy: levels of a process keep it."""
    return given[index] if isinstance(given, processes.Levels) else levels[index].copy()


def _grid(sigmas: Arraylike | processes.Levels) -> np.ndarray:
    """The levels of a grid that goes down; the first level of a process may be infinite."""
    if has_tracers(getattr(sigmas, "sigmas", sigmas)):
        raise TypeError(
            "Levels are traced, and which of them stay depends on their values: take a part of "
            "the grid, as in `sigmas[k:]`."
        )
    levels = np.asarray(sigmas, np.float64)
    if levels.ndim != 1 or not len(levels):
        raise ValueError(
            f"`sigmas` must be a sequence of noise levels, got an array of shape {levels.shape}."
        )
    finite = np.isfinite(levels)
    if isinstance(sigmas, processes.Levels):
        finite[0] |= levels[0] == math.inf
    if not (finite & (levels >= 0)).all():
        raise ValueError(f"Noise levels must be finite and not negative, got {levels}.")
    if not (np.diff(levels) < 0).all():
        raise ValueError(f"Noise levels must be strictly decreasing, got {levels}.")
    return levels
