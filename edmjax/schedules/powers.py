"""Schedules evenly spaced in a power of sigma or of log sigma: Karras, exponential, linear."""

import math

import numpy as np

from edmjax._common.arguments import positive, whole
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

    `n` levels, then 0. Raises as `karras` does.
    """
    return polyexponential(n, sigma_min, sigma_max, final_zero=final_zero)


def log_snr(
    n: Int, sigma_min: Number = 0.002, sigma_max: Number = 80.0, *, final_zero: bool = True
) -> Levels:
    """Levels evenly spaced in the log signal-to-noise ratio `lambda = -log sigma`.

    The levels of `exponential`, by the name in the DPM-Solver papers. They are the same for every
    process, as the ratio does not depend on the scale. Source: Lu et al. (2022), section 3.3, on
    step sizes.
    """
    return exponential(n, sigma_min, sigma_max, final_zero=final_zero)


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
