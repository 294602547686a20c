"""Schedules that are quantiles of a distribution: levels lie densely where it puts its mass.

The distribution is truncated to `[sigma_min, sigma_max]` and read at `n` evenly spaced
probabilities, both ends included; without that the first level would be infinite and the last 0.
"""

import math

import numpy as np

from edmjax._common.arguments import number, positive
from edmjax._common.typing import Int, Levels, Number
from edmjax.scalar import flag
from edmjax.schedules._ends import check, close, finish


def logistic(
    n: Int,
    sigma_min: Number = 0.002,
    sigma_max: Number = 80.0,
    center: Number | None = None,
    scale: Number = 1.2,
    *,
    sigma_data: Number = 0.5,
    final_zero: bool = True,
) -> Levels:
    """Quantiles of a logistic distribution of `log sigma`.

        F(sigma) = 1 / (1 + exp(-(log sigma - center) / scale))

    `center` is by default `log(sigma_data / 2)`; for large `scale` the levels tend to
    `exponential`. `n` levels, then 0. Raises as `karras` does.
    """
    n, low, high = check(n, sigma_min, sigma_max)
    middle = math.log(positive(sigma_data, "sigma_data") / 2)
    center = middle if center is None else number(center, "center")
    scale = positive(scale, "scale")
    z = (np.log([high, low]) - center) / scale
    below, above = _between(n, np.exp(-np.logaddexp(0, -z)), np.exp(-np.logaddexp(0, z)))
    with np.errstate(divide="ignore", invalid="ignore"):  # a tail below the smallest float
        sigmas = np.exp(center + scale * (np.log(below) - np.log(above)))
    return finish(sigmas, low, high, final_zero)


def laplace(
    n: Int,
    sigma_min: Number = 0.002,
    sigma_max: Number = 80.0,
    mu: Number = 0.0,
    beta: Number = 0.5,
    *,
    clipped: bool = False,
    final_zero: bool = True,
) -> Levels:
    """Quantiles of a Laplace distribution of `log sigma`, with mean `mu` and width `beta`.

        sigma = exp(mu - beta sign(1/2 - v) log(1 - 2 |1/2 - v|)),    v falling evenly

    `v` runs over the probabilities of `[sigma_min, sigma_max]`. With `clipped` it runs over [0, 1],
    1e-5 is added under the logarithm, and levels beyond an end are put there: ComfyUI's
    `get_sigmas_laplace`, which ends above 0, `final_zero=False`. `n` levels, then 0.

    Raises as `karras` does, and ValueError where `clipped` puts two levels on one end. Source: Hang
    et al. (2024).
    """
    n, low, high = check(n, sigma_min, sigma_max)
    mu, beta = number(mu, "mu"), positive(beta, "beta")
    if flag(clipped, "clipped"):
        v = np.linspace(1, 0, n) - 0.5
        log_sigma = mu - beta * np.sign(v) * np.log(1 - 2 * np.abs(v) + 1e-5)
        sigmas = np.clip(np.exp(log_sigma), low, high)
        if not (np.diff(sigmas) < 0).all():
            raise ValueError(
                f"{n} levels clipped to [{low}, {high}] are not all different: ask for fewer, "
                "widen the range, or leave `clipped` out."
            )
        return close(sigmas, final_zero)
    z = (np.log([high, low]) - mu) / beta
    tail = np.exp(-np.abs(z)) / 2
    below, above = _between(n, np.where(z < 0, tail, 1 - tail), np.where(z < 0, 1 - tail, tail))
    with np.errstate(divide="ignore"):  # a tail below the smallest float
        log_sigma = mu + beta * np.where(below < above, np.log(2 * below), -np.log(2 * above))
        return finish(np.exp(log_sigma), low, high, final_zero)


def beta(
    n: Int,
    sigma_min: Number = 0.002,
    sigma_max: Number = 80.0,
    alpha: Number = 0.6,
    beta: Number = 0.6,
    *,
    final_zero: bool = True,
) -> Levels:
    """Quantiles of a Beta distribution of sigma itself between its ends.

        sigma(u) = sigma_min + (sigma_max - sigma_min) Q(1 - u),    Q the quantile function

    `alpha` and `beta` below 1 put levels near both ends; at 1 it is `linear`. `beta_discrete` has
    the quantiles of a model's step index instead. `n` levels, then 0. Raises as `karras` does.
    Source: Lee et al. (2024), "Beta Sampling is All You Need"; on sigma as in diffusers.
    """
    from scipy.special import betaincinv  # loaded when it is first used

    n, low, high = check(n, sigma_min, sigma_max)
    alpha, beta = positive(alpha, "alpha"), positive(beta, "beta")
    share = betaincinv(alpha, beta, 1 - np.linspace(0, 1, n))
    return finish(low + (high - low) * share, low, high, final_zero)


def _between(n: int, below: np.ndarray, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities below and above each level, even between those of the two ends.

    Both are kept, as `1 -` one of them has lost the digits of a small tail.
    """
    u = np.linspace(0, 1, n)
    return (1 - u) * below[0] + u * below[1], (1 - u) * above[0] + u * above[1]
