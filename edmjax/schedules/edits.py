"""Grids made from grids: a part of one, for image-to-image, and one upside down, to encode."""

import math

import numpy as np

from edmjax._common.arguments import number, real
from edmjax._common.typing import Arraylike, Levels, Number


def truncate(sigmas: Arraylike, strength: Number) -> Levels:
    """The last `floor(strength * steps)` steps of a grid, for image-to-image.

    Sampling starts at an image with noise of the first remaining level, `x0 + sigmas[0] * n`;
    `strength = 1` is the whole grid. To run `n` steps at any strength, truncate a grid of
    `round(n / strength)` steps.

    Raises:
        ValueError: strength not in (0, 1], or so low that no step is left; `sigmas` not a strictly
            decreasing grid of at least two levels.
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
    return levels[steps - kept :].copy()


def reverse(sigmas: Arraylike) -> Levels:
    """The positive levels of a grid in ascending order, to encode data to noise.

    A final 0 is left out: an upward grid starts above it. Raises ValueError if `sigmas` is not
    strictly decreasing, or has no positive level.
    """
    levels = _grid(sigmas)
    levels = levels[:-1] if levels[-1] == 0 else levels
    if not len(levels):
        raise ValueError("A grid to reverse has a positive level, got 0 alone.")
    return levels[::-1].copy()


def _grid(sigmas: Arraylike) -> np.ndarray:
    levels = np.asarray(sigmas, np.float64)
    if levels.ndim != 1 or not len(levels):
        raise ValueError(
            f"`sigmas` must be a sequence of noise levels, got an array of shape {levels.shape}."
        )
    if not (np.isfinite(levels) & (levels >= 0)).all():
        raise ValueError(f"Noise levels must be finite and not negative, got {levels}.")
    if not (np.diff(levels) < 0).all():
        raise ValueError(f"Noise levels must be strictly decreasing, got {levels}.")
    return levels
