"""The processes of continuous time.

Times run from 0, the data, to 1 (`edm`: to `sigma_max`). The formulas stand at the end of the file,
each written once for NumPy and for JAX (`array_module`); a trailing `[()]` makes a scalar of what
`where` and others would return as an array without axes.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jax.tree_util import Partial

from edmjax._common.arguments import positive_leaf
from edmjax._common.arrays import check_sigma, has_no_value
from edmjax._common.typing import Scalar
from edmjax.processes.process import Process, array_module, root


def edm(sigma_max: Scalar = 80.0) -> Process:
    """The package's own frame as a process: `sigma(t) = t`, `scale(t) = 1`, up to `sigma_max`.

    Source: Karras et al. (2022), Table 1.
    """
    return Process(_one, _same, _same_time, _plain_square, positive_leaf(sigma_max, "sigma_max"))


def ve(sigma_min: Scalar = 0.02, sigma_max: Scalar = 100.0) -> Process:
    """The geometric variance-exploding SDE: `sigma(t) = sigma_min (sigma_max / sigma_min)^t`.

        f = 0,    g = sigma(t) sqrt(2 log(sigma_max / sigma_min))

    Noise never vanishes: `sigma(0) = sigma_min`. Raises ValueError unless
    `0 < sigma_min < sigma_max`. Source: Song et al. (2021), equation 30, with the defaults
    of Karras et al. (2022).
    """
    low, high = positive_leaf(sigma_min, "sigma_min"), positive_leaf(sigma_max, "sigma_max")
    if not (has_no_value(low) or has_no_value(high)) and low >= high:
        raise ValueError(f"`sigma_min` must be below `sigma_max`, got {low} and {high}.")
    return Process(_one, Partial(_ve_sigma, low, high), Partial(_ve_time, low, high))


def song_ve(sigma: Scalar = 25.0) -> Process:
    """The SDE `dx = sigma^t dw` of Song's tutorial.

        sigma(t) = sqrt((sigma^(2t) - 1) / (2 log sigma)),    f = 0,    g = sigma^t

    Raises ValueError where the base `sigma` is not above 1. Source: "Generative modeling by
    estimating gradients of the data distribution", the tutorial's code.
    """
    base = positive_leaf(sigma, "sigma")
    if not has_no_value(base) and base <= 1:
        raise ValueError(f"`sigma` must be above 1, so that sigma^t grows, got {base}.")
    variance = Partial(_song_variance, base)
    return Process(_one, Partial(_root_of, variance), Partial(_song_time, base), variance)


def vp(beta_min: Scalar = 0.1, beta_max: Scalar = 20.0) -> Process:
    """The continuous variance-preserving SDE, with `beta(t)` linear from `beta_min` to `beta_max`.

        f = -beta / 2,    g = sqrt(beta),    B(t) = beta_min t + (beta_max - beta_min) t^2 / 2
        scale = exp(-B / 2),    sigma = sqrt(exp(B) - 1),    scale^2 (1 + sigma^2) = 1

    Raises ValueError unless `0 < beta_min <= beta_max`. Source: Song et al. (2021), equations 11
    and 33.
    """
    return _with_betas(beta_min, beta_max, _vp_scale, _vp_sigma, _vp_time, _vp_variance)


def sub_vp(beta_min: Scalar = 0.1, beta_max: Scalar = 20.0) -> Process:
    """The sub-VP SDE: the scale of `vp`, with less noise at every time.

        f = -beta / 2,    g = sqrt(beta (1 - exp(-2 B))),    beta and B as in `vp`
        scale = exp(-B / 2),    scale sigma = 1 - exp(-B),    sigma = 2 sinh(B / 2)

    Raises as `vp` does. Source: Song et al. (2021), equation 29 for the marginal.
    """
    return _with_betas(beta_min, beta_max, _vp_scale, _sub_vp_sigma, _sub_vp_time, _sub_vp_variance)


def cosine() -> Process:
    """The cosine process: `scale = cos(pi t / 2)`, `sigma = tan(pi t / 2)`.

        f = -(pi / 2) tan(pi t / 2),    g^2 = pi tan(pi t / 2)

    Variance preserving; at `t = 1` the scale is 0 and the level infinite. It is the schedule of
    Nichol and Dhariwal (2021), equation 17, without its offset s, as in Salimans and Ho (2022).
    """
    return Process(_cosine_scale, _cosine_sigma, _cosine_time, _cosine_variance)


def _with_betas(beta_min: Scalar, beta_max: Scalar, *functions: Callable[..., Any]) -> Process:
    """The process of functions of `(beta_min, beta_max, t)`, once the two are in order."""
    low, high = positive_leaf(beta_min, "beta_min"), positive_leaf(beta_max, "beta_max")
    if not (has_no_value(low) or has_no_value(high)) and low > high:
        raise ValueError(f"`beta_min` must not be above `beta_max`, got {low} and {high}.")
    scale, sigma, time, variance = (Partial(function, low, high) for function in functions)
    return Process(scale, sigma, time, variance)


def _plain_square(t):
    _, t = array_module(t)
    return t**2


def _one(t):
    xp, t = array_module(t)
    return xp.ones_like(t)[()]


def _same(t):
    return array_module(t)[1][()]


def _same_time(sigma):
    return _of_level(sigma)[1][()]


def _of_level(sigma, *numbers):
    """`array_module` of a level; a negative one has the square, and so the time, of another."""
    check_sigma(sigma)
    return array_module(sigma, *numbers)


def _root_of(variance, t):
    return root(variance(t))


def _ve_sigma(low, high, t):
    xp, t, low, high = array_module(t, low, high)
    return low * xp.exp(t * xp.log(high / low))  # exact at t = 0, where the exponential is 1


def _ve_time(low, high, sigma):
    xp, sigma, low, high = _of_level(sigma, low, high)
    with np.errstate(divide="ignore"):  # a level of 0 is at time -inf
        return xp.log(sigma / low) / xp.log(high / low)


def _song_variance(base, t):
    xp, t, base = array_module(t, base)
    # expm1: near t = 0 the difference base^(2t) - 1 would lose its digits.
    return xp.expm1(2 * t * xp.log(base)) / (2 * xp.log(base))


def _song_time(base, sigma):
    xp, sigma, base = _of_level(sigma, base)
    return xp.log1p(2 * xp.log(base) * sigma**2) / (2 * xp.log(base))


def _vp_exponent(low, high, t):
    # B(t), the integral of beta from 0 to t.
    xp, t, low, high = array_module(t, low, high)
    return xp, (low + (high - low) * t / 2) * t


def _vp_scale(low, high, t):
    xp, b = _vp_exponent(low, high, t)
    return xp.exp(-b / 2)


def _vp_sigma(low, high, t):
    xp, b = _vp_exponent(low, high, t)
    return root(xp.expm1(b))  # sigma^2 = e^B - 1, again without a difference


def _vp_variance(low, high, t):
    xp, b = _vp_exponent(low, high, t)
    return -xp.expm1(-b)


def _vp_time(low, high, sigma):
    xp, sigma, low, high = _of_level(sigma, low, high)
    return _vp_time_of(xp, low, high, xp.log1p(sigma**2))


def _vp_time_of(xp, low, high, b):
    # The t of which B(t) = b: the root of a quadratic, in the form that does not cancel at small b.
    return 2 * b / (low + xp.sqrt(low**2 + 2 * (high - low) * b))


def _sub_vp_sigma(low, high, t):
    xp, b = _vp_exponent(low, high, t)
    return 2 * xp.sinh(b / 2)  # (1 - e^-B) / e^(-B/2)


def _sub_vp_variance(low, high, t):
    xp, b = _vp_exponent(low, high, t)
    return xp.expm1(-b) ** 2


def _sub_vp_time(low, high, sigma):
    xp, sigma, low, high = _of_level(sigma, low, high)
    return _vp_time_of(xp, low, high, 2 * xp.arcsinh(sigma / 2))


def _cosine_scale(t):
    xp, t = array_module(t)
    # The cosine of a rounded pi / 2 is not 0, and negative in float32.
    return xp.where(t == 1, 0.0, xp.cos(math.pi / 2 * t))[()]


def _cosine_sigma(t):
    xp, t = array_module(t)
    # A rounded pi / 2 has a tangent of 1.6e16 in float64, and of -2.3e7 in float32.
    return xp.where(t == 1, math.inf, xp.tan(math.pi / 2 * t))[()]


def _cosine_time(sigma):
    xp, sigma = _of_level(sigma)
    return 2 / math.pi * xp.arctan(sigma)


def _cosine_variance(t):
    xp, t = array_module(t)
    return xp.sin(math.pi / 2 * t) ** 2
