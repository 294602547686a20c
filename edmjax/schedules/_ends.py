"""The beginning and the end of every schedule: checked arguments, exact end points, a final 0."""

import numpy as np

from edmjax._common.arguments import ordered, whole
from edmjax._common.typing import Int, Levels, Number
from edmjax.scalar import flag


def check(n: Int, sigma_min: Number, sigma_max: Number) -> tuple[int, float, float]:
    """`(n, sigma_min, sigma_max)` as plain numbers; TypeError or ValueError if they are not."""
    return whole(n, "n"), *ordered(sigma_min, sigma_max)


def finish(sigmas: np.ndarray, low: float, high: float, final_zero: bool) -> Levels:
    """`sigmas` of a continuous schedule with exact end points and, if asked, 0 at the end."""
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
