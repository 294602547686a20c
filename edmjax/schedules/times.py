"""Schedules evenly spaced in the time of a process, or along a curve in its time."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edmjax._common.arguments import number, ordered, positive, real, whole
from edmjax._common.deprecation import dropped
from edmjax._common.typing import Int, Levels, Number, Scalar
from edmjax.processes.process import Process
from edmjax.schedules._ends import check, finish


def uniform(
    n: Int,
    process: Process | Callable[[float], Scalar],
    t_min: Number = 1e-3,
    t_max: Number | None = None,
    rho: Number = 1.0,
    *,
    final_zero: bool = True,
) -> Levels:
    """The levels of a process at evenly spaced times: `sigma(t_max)` to `sigma(t_min)`.

        t(u) = (t_max^(1/rho) + u (t_min^(1/rho) - t_max^(1/rho)))^rho

    `process` is an `edmjax.processes` process, or the function `sigma(t)` alone. `t_max` is by
    default the process's own (1 for a function). `rho = 2` is the quadratic spacing of DEIS (Zhang
    and Chen, 2022). `n` levels, then 0. To give a sampler the times as well, pass
    `process.levels(times)` to `make_plan`.

    Raises:
        ValueError: t_min not in [0, t_max), rho not positive, or levels that are not positive,
            finite and strictly decreasing at these times.
        TypeError: n not an integer, or a process that is neither.
    """
    n, rho = whole(n, "n"), positive(rho, "rho")
    given = getattr(process, "sigma", process)
    if not callable(given):
        raise TypeError(
            f"`process` must be a process or its function sigma(t), got {process!r:.80}: "
            "take one from edmjax.processes."
        )
    sigma: Callable[[float], Any] = given
    start = positive(getattr(process, "t_max", 1.0) if t_max is None else t_max, "t_max")
    stop = real(number(t_min, "t_min"), "t_min", least=0, below=start)
    times = np.linspace(start ** (1 / rho), stop ** (1 / rho), n) ** rho
    times[0] = start
    if n > 1:
        times[-1] = stop
    # One time at a time, so that scalar functions work and each level is exactly sigma(t).
    levels = np.array([float(sigma(float(t))) for t in times])
    if not (np.isfinite(levels) & (levels > 0)).all():
        i = int(np.argmin(np.isfinite(levels) & (levels > 0)))
        raise ValueError(
            f"sigma({times[i]}) = {levels[i]} is not a positive, finite level: keep t_min above "
            "the time without noise and t_max below the time without data."
        )
    return finish(levels, float(levels[-1]), float(levels[0]), final_zero)


def _vp_of_beta_d(*args: Any, beta_d: Number, beta_min: Number = 0.1, **options: Any) -> Levels:
    return vp(*args, beta_min=beta_min, beta_max=beta_d + beta_min, **options)


@dropped("beta_d", _vp_of_beta_d, "beta_max = beta_d + beta_min, as in `ej.processes.vp`")
def vp(
    n: Int,
    sigma_min: Number | None = None,
    sigma_max: Number | None = None,
    *,
    beta_min: Number = 0.1,
    beta_max: Number = 20.0,
    eps_s: Number = 1e-3,
    final_zero: bool = True,
) -> Levels:
    """Levels evenly spaced in the time of the variance-preserving SDE, from `t = 1` to `eps_s`.

        sigma(t) = sqrt(exp((beta_max - beta_min) t^2 / 2 + beta_min t) - 1)

    The process is `ej.processes.vp(beta_min, beta_max)`. With `sigma_min` or `sigma_max` the times
    run from the time of `sigma_max` to the time of `sigma_min`; the defaults run from 152.17 to
    0.0105. `n` levels, then 0. Raises as `karras` does, and ValueError unless
    `0 < beta_min < beta_max`. Source: Karras et al. (2022), Table 1, where `beta_max - beta_min` is
    beta_d; Song et al. (2021).
    """
    n = whole(n, "n")
    offset, slope = positive(beta_min, "beta_min"), positive(beta_max, "beta_max") - beta_min
    if slope <= 0:
        raise ValueError(f"`beta_max` must be above `beta_min`, got {beta_max} and {beta_min}.")
    stop = positive(eps_s, "eps_s")
    if sigma_min is None and stop >= 1:
        raise ValueError(f"`eps_s` must be below 1, where the times start, got {stop}.")

    def sigma(t):
        with np.errstate(over="ignore"):  # `ordered` refuses an infinite level, below
            return np.sqrt(np.expm1((slope * t / 2 + offset) * t))

    def time(level):
        exponent = np.log1p(level**2)
        return 2 * exponent / (offset + math.sqrt(offset**2 + 2 * slope * exponent))

    low, high = ordered(
        sigma(stop) if sigma_min is None else sigma_min,
        sigma(1.0) if sigma_max is None else sigma_max,
    )
    times = np.linspace(
        1.0 if sigma_max is None else time(high), stop if sigma_min is None else time(low), n
    )
    return finish(sigma(times), low, high, final_zero)


def linear_quadratic(
    n: Int,
    sigma_min: Number = 0.002,
    sigma_max: Number = 80.0,
    threshold_noise: Number = 0.025,
    linear_steps: Int | None = None,
    *,
    final_zero: bool = True,
) -> Levels:
    """Small even steps first, then steps that grow linearly, with a continuous slope.

        sigma_i = sigma_min + (sigma_max - sigma_min) (1 - y_i),    i = 0 ... N
        y_i = threshold i / L                                       up to i = L = linear_steps
        y_i = threshold i / L + c (i - L)^2                         from there, c such that y_N = 1

    `linear_steps` is by default half of the `N` steps. `N` is `n - 1`, or `n` with `sigma_min = 0`:
    that is the schedule as published, which runs down to 0 by itself. It was made for models whose
    level is the time of a flow in [0, 1] (`sigma_max = 1`); such a time is the level `t / (1 - t)`
    of this package, for which see `uniform`. `n` levels, then 0.

    Raises:
        ValueError: as `karras` does, or a threshold not in (0, 1), linear steps not in 1 ... N - 1,
            or a combination whose curve turns back.

    Source: Polyak et al. (2024), "Movie Gen", in the form of Genmo's Mochi.
    """
    n, threshold = whole(n, "n"), number(threshold_noise, "threshold_noise")
    threshold = real(threshold, "threshold_noise", above=0, below=1)
    to_zero = number(sigma_min, "sigma_min") == 0
    high = positive(sigma_max, "sigma_max")
    low = 0.0 if to_zero else check(n, sigma_min, high)[1]
    steps = n if to_zero else n - 1
    if steps < 2:
        if linear_steps is not None:
            raise ValueError(
                f"With {steps} step there is nothing to choose, got linear_steps = {linear_steps}: "
                "leave it out."
            )
        return finish(np.linspace(high, low, n), low or high, high, final_zero)
    flat = steps // 2 if linear_steps is None else whole(linear_steps, "linear_steps")
    if flat >= steps:
        raise ValueError(f"`linear_steps` must be below the {steps} steps, got {flat}.")
    i = np.arange(n)
    bend = (1 - threshold * steps / flat) / (steps - flat) ** 2
    y = threshold / flat * i + bend * np.maximum(i - flat, 0) ** 2
    sigmas = low + (high - low) * (1 - y)
    if not to_zero:
        sigmas[-1] = low
    if not (np.diff(sigmas) < 0).all() or sigmas[-1] <= 0:
        raise ValueError(
            f"A threshold of {threshold} in {flat} of {steps} steps leaves too little for the "
            "others, and the curve turns back: take a lower threshold_noise or more linear_steps."
        )
    return finish(sigmas, float(sigmas[-1]), high, final_zero)
