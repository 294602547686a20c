"""ER-SDE: a family of reverse SDEs named by how much noise they inject, solved in sigma.

For a function `phi(sigma) = sigma g(sigma)`, with g positive and not decreasing,

    dx = phi' / phi (x - D) dsigma + noise

has the marginals of the data for every g: g = 1 is the probability flow, g = sigma the reversed
diffusion. A step is, with the ratio `phi_next / phi`,

    x_next = phi_next / phi x - phi_next int phi' / phi^2 D dsigma
             + sigma_next sqrt(1 - (g_next / g)^2) noise
"""

from collections.abc import Callable

import numpy as np

from edmjax._common.arguments import whole
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._parts import interpolated, to_denoised
from edmjax.scalar import exp, is_traced, is_zero, log, not_negative, sqrt


def _published(sigma: Scalar) -> Scalar:
    return exp(sigma**0.3) + 10


SCALERS: dict[str, Callable[[Scalar], Scalar]] = {
    "er_sde": _published,
    "sde": lambda sigma: sigma,
    "ode": lambda sigma: 1.0,
}


def er_sde(
    order: int = 3, s_noise: Scalar = 1.0, scaler: str | Callable[[Scalar], Scalar] = "er_sde"
) -> Sampler:
    """ER-SDE-Solver in the variance-exploding frame, on the denoised output.

        x_next = p x + (1 - p) D + s_noise sigma_next sqrt(1 - (g_next / g)^2) noise
                 + D'  int (phi_next / phi - 1) dsigma                        from order 2
                 + D'' int (phi_next / phi - 1) (sigma' - sigma) dsigma'      at order 3,
        p = phi_next / phi,   D' = (D - D_1) / (sigma - sigma_1),
        D'' = (D' - D'_1) / ((sigma - sigma_2) / 2)

    with integrals from `sigma_next` to `sigma` (Gauss-Legendre, to rounding up to levels of 1e8 and
    from 3e9; between, to 1e-4). As published, D' is a
    backward quotient at `order=3` too, so `order` 2 and 3 are both of second order, weakly and
    along the flow, and 1 of first. One evaluation and one draw a step; order 1 on the first step
    and 2 on the second; the denoiser on the step to zero. `er_sde(1, scaler="ode")` is `euler()`.
    Cui et al. (2023, ER-SDE-Solver), Proposition 3 and Algorithms 1 to 3.

    Args:
        order: 1, 2 or 3.
        s_noise: the factor on the noise, at least 0; may be traced.
        scaler: the function g: "er_sde", `exp(sigma^0.3) + 10`, the paper's ER-SDE 5; "sde", sigma;
            "ode", 1, which draws nothing; or a function of sigma, written with `edmjax.scalar`.

    Raises:
        TypeError: if `order` is not an integer.
        ValueError: if `order` or `scaler` is something else, `s_noise` is negative or NaN, or g
            decreases from a level to a higher one.
    """
    order = whole(order, "order", most=3)
    s_noise = not_negative(s_noise, "s_noise")
    if not callable(scaler) and not (isinstance(scaler, str) and scaler in SCALERS):
        raise ValueError(f"`scaler` must be a function or one of {[*SCALERS]}, got {scaler!r}.")
    g = scaler if callable(scaler) else SCALERS[scaler]

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        kept = _times_ratio(1.0, g, at.sigma_next, at.sigma)
        mean = interpolated(x, denoised, at.sigma_next / at.sigma * kept)
        points = at.past[: order - 1]
        if points:
            one = points[0]
            slope = (denoised - one.denoised) / (at.sigma - one.sigma)
            first, second = _integrals(g, at.sigma, at.sigma_next)
            mean += first * slope
            if len(points) > 1:
                two = points[1]
                slope_1 = (one.denoised - two.denoised) / (one.sigma - two.sigma)
                mean += second * 2 / (at.sigma - two.sigma) * (slope - slope_1)
        if is_zero(s_noise) or is_zero(1 - kept):
            return mean
        # Before the check: on a grid that goes up g is larger too, and `noise` says what is wrong.
        noise = at.noise(at.sigma, at.sigma_next)
        if not is_traced(kept) and kept > 1:
            raise ValueError(
                "`scaler` must not be larger at a lower level, got "
                f"{g(at.sigma_next)} at {at.sigma_next} and {g(at.sigma)} at {at.sigma}."
            )
        return mean + s_noise * at.sigma_next * sqrt(1 - kept**2) * noise

    return step


_FAR = 680  # up to this exponent, `sigma exp(sigma^0.3)` is a float64 number


def _is_far(g: Callable[[Scalar], Scalar], sigma: Scalar) -> bool:
    """Whether the published scaler would overflow at a level: from 2.8e9 on."""
    return g is _published and not is_traced(sigma) and bool(sigma**0.3 > _FAR)


def _times_ratio(value: Scalar, g: Callable[[Scalar], Scalar], low: Scalar, high: Scalar) -> Scalar:
    """`value g(low) / g(high)`, where the published scaler would overflow too."""
    if not _is_far(g, high):
        return value * g(low) / g(high)
    a, b = low**0.3, high**0.3
    return value * exp(a - b) * (1 + 10 * exp(-a)) / (1 + 10 * exp(-b))


# For the integrals over a step in log sigma: exact to rounding up to the widest steps in use.
_NODES = [
    ((1 + node) / 2, weight / 2)
    for node, weight in np.stack(np.polynomial.legendre.leggauss(16), axis=1).tolist()
]
_PANELS = 12


def _integrals(
    g: Callable[[Scalar], Scalar], sigma: Scalar, sigma_next: Scalar
) -> tuple[Scalar, Scalar]:
    """`int (phi_next / phi - 1) dsigma` and its first moment about `sigma`, in log sigma."""
    if _is_far(g, sigma):
        return _far_integrals(g, float(sigma), float(sigma_next))
    h = log(sigma / sigma_next)
    phi_next = sigma_next * g(sigma_next)
    first = second = 0.0
    for node, weight in _NODES:
        level = sigma_next * exp(node * h)
        term = weight * h * (phi_next / g(level) - level)
        first += term
        second += term * (level - sigma)
    return first, second


def _far_integrals(
    g: Callable[[Scalar], Scalar], sigma: float, sigma_next: float
) -> tuple[float, float]:
    """The integrals where `phi_next / phi` falls to nothing in a small part of the step."""
    gap = sigma - sigma_next
    first, second = -gap, gap * gap / 2  # of the -1; what is left ends where it is e^-45
    end = min(sigma, (sigma_next**0.3 + 45) ** (1 / 0.3))
    h = log(end / sigma_next) / _PANELS
    for panel in range(_PANELS):
        for node, weight in _NODES:
            level = sigma_next * exp((panel + node) * h)
            term = weight * h * _times_ratio(sigma_next, g, sigma_next, level)
            first += term
            second += term * (level - sigma)
    return first, second
