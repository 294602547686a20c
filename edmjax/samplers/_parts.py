"""Parts that the steps of several samplers share.

A formula is a step that is given the denoised output too, as most begin with it. For the reverse
stochastic differential equation, in `lambda = -log sigma` with `h = lambda_next - lambda` and
`H = (1 + eta) h`, `decay` is H; see `edmjax.samplers.dpmpp_sde` for the equation.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from edmjax.planning.point import Combination
from edmjax.planning.step import Evaluation, Sampler, Step
from edmjax.samplers._interpolation import phi
from edmjax.scalar import Scalar, exp, expm1, is_zero, log, sqrt

Formula: TypeAlias = Callable[[Combination, Combination, Step], Combination]


def to_denoised(formula: Formula) -> Sampler:
    """The step of `formula(x, denoised, at)`; the step to zero is the denoised output itself."""

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        return denoised if at.last else formula(x, denoised, at)

    return step


def interpolated(x: Combination, denoised: Combination, kept: Scalar) -> Combination:
    """`r x + (1 - r) D`; with r = sigma_next / sigma the flow's step with a constant output."""
    return kept * x + (1 - kept) * denoised


def outputs_so_far(
    x: Combination, denoised: Combination, at: Step, past: int
) -> tuple[list[Evaluation], list[Scalar]]:
    """This evaluation and at most `past` earlier ones, newest first, and their levels."""
    made = [Evaluation(at.sigma, x, denoised, denoised), *at.past[:past]]
    return made, [old.sigma for old in made]


def added(count: int, *rows: Sequence[Scalar]) -> list[Scalar]:
    """The sums of the weights in `rows`, each of at most `count` outputs, newest first."""
    total: list[Scalar] = [0.0] * count
    for row in rows:
        for j, weight in enumerate(row):
            total[j] = total[j] + weight
    return total


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
