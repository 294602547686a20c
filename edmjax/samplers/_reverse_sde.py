"""A step of the reverse stochastic differential equation: its mean, its noise, a weight.

In `lambda = -log sigma`, with `h = lambda_next - lambda` and `H = (1 + eta) h`; `decay` is H. See
`edmjax.samplers.dpmpp_sde` for the equation.
"""

from edmjax.planning.point import Combination
from edmjax.planning.step import Step
from edmjax.samplers._interpolation import phi
from edmjax.scalar import Scalar, exp, expm1, is_zero, log, sqrt


def first_order(x: Combination, denoised: Combination, decay: Scalar) -> Combination:
    """The mean of a step with a constant denoised output: `e^-H x + (1 - e^-H) D`."""
    return exp(-decay) * x - expm1(-decay) * denoised


def psi(decay: Scalar) -> Scalar:
    """The weight `1 - (1 - e^-H) / H` of the slope of D, without cancellation."""
    return decay * phi(2, -decay)


def fresh_noise(at: Step, eta: Scalar, s_noise: Scalar) -> Combination:
    """The noise of a step: `s_noise sigma_next sqrt(1 - e^(-2 eta h)) noise`."""
    if is_zero(eta) or is_zero(s_noise):
        return Combination({})
    h = log(at.sigma / at.sigma_next)
    spread = s_noise * at.sigma_next * sqrt(-expm1(-2 * eta * h))
    return spread * at.noise(at.sigma, at.sigma_next)
