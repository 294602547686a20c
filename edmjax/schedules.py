"""Schedules: the noise levels to visit, as strictly decreasing NumPy float64 arrays.

A schedule is a curve `sigma(u)` from `sigma(0) = sigma_max` to `sigma(1) = sigma_min`, read at `n`
evenly spaced `u`; with `final_zero` a level 0 follows. The first level is `sigma_max` and the last
positive one `sigma_min`, exactly; `n = 1` gives `sigma_max` alone. Everything runs on the host: the
levels meet JAX first as weights of a plan.
"""

import math
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64

Number: TypeAlias = float | int | np.floating | np.integer
Levels: TypeAlias = Float64[np.ndarray, " levels"]


def karras(
    n: Number,
    sigma_min: Number = 0.002,
    sigma_max: Number = 80.0,
    rho: Number = 7.0,
    *,
    final_zero: bool = True,
) -> Levels:
    """The levels of Karras et al. (2022), equation 5: evenly spaced in `sigma ** (1 / rho)`.

        sigma(u) = (sigma_max^(1/rho) + u (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho

    A larger `rho` puts more levels near `sigma_min`; `rho = 1` is linear and a `rho` without bound
    gives `exponential`. `n` levels, then 0.

    Raises:
        ValueError: n below 1, sigma_min not in (0, sigma_max), rho not positive, anything not
            finite, or so many levels that two of them are equal in float64.
        TypeError: n not an integer.
    """
    n, low, high = _check(n, sigma_min, sigma_max)
    rho = _positive("rho", rho)
    u = np.linspace(0, 1, n)
    # The equation divided by sigma_max: nothing overflows at small rho or cancels at large rho.
    with np.errstate(divide="ignore"):  # log 0 at u = 1 and tiny rho, where sigma_min is put in
        sigmas = high * np.exp(rho * np.log1p(u * math.expm1(math.log(low / high) / rho)))
    return _finish(sigmas, low, high, final_zero)


def exponential(
    n: Number, sigma_min: Number = 0.002, sigma_max: Number = 80.0, *, final_zero: bool = True
) -> Levels:
    """Levels evenly spaced in `log sigma`: `sigma(u) = sigma_max (sigma_min / sigma_max)^u`.

    `n` levels, then 0. Raises as `karras` does.
    """
    return polyexponential(n, sigma_min, sigma_max, final_zero=final_zero)


def polyexponential(
    n: Number,
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
    n, low, high = _check(n, sigma_min, sigma_max)
    ramp = np.linspace(1, 0, n) ** _positive("rho", rho)
    return _finish(low * np.exp(ramp * math.log(high / low)), low, high, final_zero)


def _check(n: Number, sigma_min: Number, sigma_max: Number) -> tuple[int, float, float]:
    """`(n, sigma_min, sigma_max)` as plain numbers, or a sentence about what is wrong with them."""
    if not isinstance(n, int | np.integer):
        raise TypeError(f"The number of levels n must be an integer, got {n!r}.")
    count = int(n)
    if count < 1:
        raise ValueError(f"A schedule has at least n = 1 positive level, got n = {count}.")
    low, high = _positive("sigma_min", sigma_min), _positive("sigma_max", sigma_max)
    if low >= high:
        raise ValueError(f"sigma_min must be below sigma_max, got {low} and {high}.")
    return count, low, high


def _positive(name: str, value: Number) -> float:
    number = float(value)
    if not 0 < number < math.inf:  # false for NaN too
        raise ValueError(f"{name} must be positive and finite, got {number}.")
    return number


def _finish(sigmas: np.ndarray, low: float, high: float, final_zero: bool) -> Levels:
    """`sigmas` with exact end points and, if asked, 0 at the end; every schedule ends here."""
    if len(sigmas) > 1:  # a single level is sigma_max
        sigmas[-1] = low
    sigmas[0] = high
    if not (np.diff(sigmas) < 0).all():
        raise ValueError(
            f"{len(sigmas)} levels from {high} to {low} are not all different in float64: "
            "ask for fewer levels, a wider range, or a milder rho."
        )
    return np.append(sigmas, 0.0) if final_zero else sigmas
