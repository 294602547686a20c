"""Schedules evenly spaced in a function of sigma: a power, the logarithm, or an angle.

The angle is the one between data and noise, for `theta`, `cosine` and `kl_optimal`.
"""

import math

import numpy as np

from edmjax._common.arguments import positive, whole
from edmjax._common.deprecation import dropped, now_keywords
from edmjax._common.typing import Int, Levels, Number
from edmjax.schedules._ends import check, finish


def karras(
    n: Int,
    sigma_min: Number = 0.002,
    sigma_max: Number = 80.0,
    rho: Number = 7.0,
    *,
    final_zero: bool = True,
) -> Levels:
    """The levels of Karras et al. (2022), equation 5: evenly spaced in `sigma ** (1 / rho)`.

        sigma(u) = (sigma_max^(1/rho) + u (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho

    A larger `rho` puts more levels near `sigma_min`; `rho = 1` is `linear`, and the limit of large
    `rho` is `exponential`. `n` levels, then 0.

    Raises:
        ValueError: n below 1, sigma_min not in (0, sigma_max), rho not positive, anything not
            finite, or so many levels that two of them are equal in float64.
        TypeError: n not an integer.
    """
    n, low, high = check(n, sigma_min, sigma_max)
    rho = positive(rho, "rho")
    u = np.linspace(0, 1, n)
    # The equation divided by sigma_max, so that nothing overflows at small rho or cancels at large.
    with np.errstate(divide="ignore"):  # log 0 at u = 1 and tiny rho, where sigma_min is put in
        sigmas = high * np.exp(rho * np.log1p(u * math.expm1(math.log(low / high) / rho)))
    return finish(sigmas, low, high, final_zero)


def linear(
    n: Int, sigma_min: Number = 0.002, sigma_max: Number = 80.0, *, final_zero: bool = True
) -> Levels:
    """Levels evenly spaced in sigma itself, the time of the package's frame.

        sigma(u) = sigma_max + u (sigma_min - sigma_max)

    `karras` with `rho = 1`; for even spacing in the time of another process, see `uniform`. `n`
    levels, then 0. Raises as `karras` does.
    """
    n, low, high = check(n, sigma_min, sigma_max)
    return finish(np.linspace(high, low, n), low, high, final_zero)


def exponential(
    n: Int, sigma_min: Number = 0.002, sigma_max: Number = 80.0, *, final_zero: bool = True
) -> Levels:
    """Levels evenly spaced in `log sigma`: `sigma(u) = sigma_max (sigma_min / sigma_max)^u`.

    `n` levels, then 0. They are even in the DPM-Solver papers' `lambda = -log sigma` too. Raises as
    `karras` does.
    """
    return polyexponential(n, sigma_min, sigma_max, final_zero=final_zero)


def ve(
    n: Int, sigma_min: Number = 0.02, sigma_max: Number = 100.0, *, final_zero: bool = True
) -> Levels:
    """The levels of the variance-exploding SDE: evenly spaced in `log sigma^2`.

        sigma(u)^2 = sigma_max^2 (sigma_min^2 / sigma_max^2)^u

    The levels of `exponential` with the ends of that process. Source: Karras et al. (2022), Table
    1, whose time is the variance; Song et al. (2021) use 0.01 and 50.
    """
    return exponential(n, sigma_min, sigma_max, final_zero=final_zero)


def polyexponential(
    n: Int,
    sigma_min: Number = 0.002,
    sigma_max: Number = 80.0,
    rho: Number = 1.0,
    *,
    final_zero: bool = True,
) -> Levels:
    """Levels polynomial in `log sigma`.

        sigma(u) = sigma_min (sigma_max / sigma_min)^((1 - u)^rho)

    A larger `rho` puts more levels near `sigma_min`; `rho = 1` is `exponential`. `n` levels, then
    0. Raises as `karras` does. Source: k-diffusion, `get_sigmas_polyexponential`.
    """
    n, low, high = check(n, sigma_min, sigma_max)
    ramp = np.linspace(1, 0, n) ** positive(rho, "rho")
    return finish(low * np.exp(ramp * math.log(high / low)), low, high, final_zero)


def dpm_fast(
    nfe: Int,
    sigma_min: Number = 0.002,
    sigma_max: Number = 80.0,
    *,
    final_zero: bool = False,
) -> Levels:
    """The levels of DPM-Solver-fast with `nfe` evaluations: `nfe // 3 + 2`, even in `log sigma`.

    The grid of `ej.samplers.dpm_fast(nfe)`, which makes `nfe // 3 + 1` steps of order 3, the last
    ones of order 2 or 1, so that the orders add up to `nfe`. It works in `log sigma` and ends at
    `sigma_min`: so this is the one schedule whose first argument counts evaluations, and where
    `final_zero` is False by default. Raises as `karras` does. Source: Lu et al. (2022);
    k-diffusion, `sample_dpm_fast`.
    """
    steps = whole(nfe, "nfe") // 3 + 1
    return exponential(steps + 1, sigma_min, sigma_max, final_zero=final_zero)


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
