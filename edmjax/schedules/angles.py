"""Schedules evenly spaced in the angle between data and noise: theta, cosine, KL-optimal."""

import numpy as np

from edmjax._common.arguments import positive
from edmjax._common.typing import Levels, Number
from edmjax.schedules._ends import check, finish


def theta(
    n: Number,
    sigma_min: Number = 0.002,
    sigma_max: Number = 80.0,
    sigma_data: Number = 0.5,
    *,
    final_zero: bool = True,
) -> Levels:
    """Levels evenly spaced in `theta = arctan(sigma / sigma_data)`.

        sigma(u) = sigma_data tan((1 - u) theta_max + u theta_min)

    The angle of the noise against data of standard deviation `sigma_data`: it moves most where
    the data takes shape. `n` levels, then 0. Raises as `karras` does. Source: the time of TrigFlow,
    Lu and Song (2024).
    """
    n, low, high = check(n, sigma_min, sigma_max)
    data = positive("sigma_data", sigma_data)
    u = np.linspace(0, 1, n)
    angle = (1 - u) * np.arctan(high / data) + u * np.arctan(low / data)
    # The angle to the other axis: tan would lose the digits of a level far above sigma_data.
    other = (1 - u) * np.arctan(data / high) + u * np.arctan(data / low)
    sigmas = data * np.where(angle < other, np.tan(angle), 1 / np.tan(other))
    return finish(sigmas, low, high, final_zero)


def cosine(
    n: Number, sigma_min: Number = 0.002, sigma_max: Number = 80.0, *, final_zero: bool = True
) -> Levels:
    """Levels evenly spaced in the time of the cosine process, `sigma = tan(pi t / 2)`.

    `theta` with `sigma_data = 1`: the scale is `cos theta`, and time is an angle. Source: Nichol
    and Dhariwal (2021) without their offset, as in Salimans and Ho (2022). For the levels of the
    discrete model with the offset, see `iddpm`.
    """
    return theta(n, sigma_min, sigma_max, 1.0, final_zero=final_zero)


def kl_optimal(
    n: Number,
    sigma_min: Number = 0.002,
    sigma_max: Number = 80.0,
    sigma_data: Number = 1.0,
    *,
    final_zero: bool = True,
) -> Levels:
    """The levels that minimise a bound on the KL divergence for Gaussian data.

    They are those of `theta`, and at the default `sigma_data = 1`, the one in common use, those of
    `cosine`. Source: Sabour et al. (2024), "Align Your Steps".
    """
    return theta(n, sigma_min, sigma_max, sigma_data, final_zero=final_zero)
