"""Schedules evenly spaced in the angle between data and noise: theta, cosine, KL-optimal."""

import numpy as np

from edmjax._common.arguments import positive
from edmjax._common.deprecation import dropped, now_keywords
from edmjax._common.typing import Int, Levels, Number
from edmjax.schedules._ends import check, finish


@now_keywords("sigma_data")
def theta(
    n: Int,
    sigma_min: Number = 0.002,
    sigma_max: Number = 80.0,
    *,
    sigma_data: Number = 0.5,
    final_zero: bool = True,
) -> Levels:
    """Levels evenly spaced in `theta = arctan(sigma / sigma_data)`.

        sigma(u) = sigma_data tan((1 - u) theta_max + u theta_min)

    The angle between noise and data of standard deviation `sigma_data` changes most at the levels
    where samples take shape. `n` levels, then 0. Raises as `karras` does. Source: the time of
    TrigFlow, Lu and Song (2024).
    """
    n, low, high = check(n, sigma_min, sigma_max)
    data = positive(sigma_data, "sigma_data")
    u = np.linspace(0, 1, n)
    angle = (1 - u) * np.arctan(high / data) + u * np.arctan(low / data)
    # The angle to the other axis, as tan loses the digits of a level far above sigma_data.
    other = (1 - u) * np.arctan(data / high) + u * np.arctan(data / low)
    sigmas = data * np.where(angle < other, np.tan(angle), 1 / np.tan(other))
    return finish(sigmas, low, high, final_zero)


def cosine(
    n: Int, sigma_min: Number = 0.002, sigma_max: Number = 80.0, *, final_zero: bool = True
) -> Levels:
    """Levels evenly spaced in the time of the cosine process, `sigma = tan(pi t / 2)`.

    `theta` with `sigma_data = 1`: the scale is `cos theta`, and time is an angle. Source: Nichol
    and Dhariwal (2021) without their offset, as in Salimans and Ho (2022). The levels of the
    discrete model with the offset are `iddpm`.
    """
    return theta(n, sigma_min, sigma_max, sigma_data=1.0, final_zero=final_zero)


@dropped("sigma_data", theta, "theta(..., sigma_data=...)", place=3)
def kl_optimal(
    n: Int, sigma_min: Number = 0.002, sigma_max: Number = 80.0, *, final_zero: bool = True
) -> Levels:
    """The levels that minimise a bound on the KL divergence for Gaussian data of variance 1.

    They are `theta` with `sigma_data = 1`, as the formula was published and as ComfyUI and A1111
    have it, and so equal `cosine`; for data of another width take `theta`. Source: Sabour et al.
    (2024), "Align Your Steps".
    """
    return theta(n, sigma_min, sigma_max, sigma_data=1.0, final_zero=final_zero)
