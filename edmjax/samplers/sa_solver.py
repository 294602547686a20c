"""SA-Solver: Adams predictor and corrector for the reverse stochastic differential equation.

In `lambda = -log sigma`, with `h = lambda_next - lambda` and `H = (1 + eta^2) h`, the reverse SDE
with noise of strength `eta` (the paper's tau) is solved by

    x_next = e^-H x + (1 + eta^2) int_0^h e^(-(1 + eta^2) (h - u)) D(u) du
             + sigma_next sqrt(1 - e^(-2 eta^2 h)) noise

where D is replaced by the polynomial in lambda through the outputs before the step (predictor), or
through these and the output at its end (corrector). Both take the same noise.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from edmjax._common.arguments import whole
from edmjax._common.deprecation import renamed
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._parts import fresh_noise, outputs_so_far, phi, to_denoised, weights_of
from edmjax.scalar import exp, log, not_negative, static, where

if TYPE_CHECKING:
    Interval: TypeAlias = tuple[float, float]  # the lower level first
else:
    Interval = Any  # `sa_solver` has a message of its own for other things


@renamed(tau="eta")
def sa_solver(
    predictor_order: int = 3,
    corrector_order: int = 4,
    eta: Scalar = 1.0,
    interval: Interval = (0.0, math.inf),
    s_noise: Scalar = 1.0,
) -> Sampler:
    """SA-Solver in predict-evaluate-correct mode (Xue et al. 2023, Algorithm 1).

        x_c    = x + sum_j (c_j - b_j) D_j          the corrector of the step that led to x
        x_next = e^-H x_c + sum_j b_j D_j + s_noise sigma_next sqrt(1 - e^(-2 eta^2 h)) noise

    with `b` the predictor's weights, and `c` the corrector's, which also weigh D(x). The network is
    evaluated at the predicted x alone: the corrected point is an increment on it. One evaluation
    and one draw a step, no draw where `eta` is 0; orders grow from 1 as the history fills; the
    denoiser on the step to zero. Second order weakly. With `eta=0` and exact starting values it has
    the order of the corrector along the flow, at most `predictor_order + 1`. With
    `corrector_order=0` and `predictor_order=1` it is `ancestral(euler())` for `eta=1` and `euler()`
    for `eta=0`.

    Args:
        predictor_order: 1 to 4, the number of outputs before the step that the predictor uses.
        corrector_order: 1 to 4, the number of outputs that the corrector uses, the new one counted;
            0 for none.
        eta: the strength of the noise inside `interval`, at least 0; the paper's tau; may be
            traced. Its square is the `eta` of `dpmpp_2m_sde` and `dpmpp_3m_sde`.
        interval: (low, high): noise is added in the steps that start at a level in it. The paper
            takes (0.05, 1) for CIFAR-10 and (0.05, 50) for ImageNet.
        s_noise: the factor on the noise, at least 0; may be traced.

    Raises:
        TypeError: if an order is not an integer, or `interval` is traced, since it decides which
            steps draw noise.
        ValueError: if an order is something else, `eta` or `s_noise` is negative or NaN, or
            `interval` is not two levels, the lower first.
    """
    predictor_order = whole(predictor_order, "predictor_order", most=4)
    corrector_order = whole(corrector_order, "corrector_order", least=0, most=4)
    eta, s_noise = not_negative(eta, "eta"), not_negative(s_noise, "s_noise")
    low, high = _interval(interval)

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        made, levels = outputs_so_far(x, denoised, at, 4)
        outputs = [evaluation.denoised for evaluation in made]
        if corrector_order and "sa_solver" in at.memory and at.past:
            increment, square = at.memory["sa_solver"]
            order = min(corrector_order, len(outputs))
            # The corrected step in place of the predicted one; both have the same noise.
            x = x + _increment(levels[1], at.sigma, square, levels[:order], outputs) - increment
        square = where((low <= at.sigma) & (at.sigma <= high), eta * eta, 0.0)
        order = min(predictor_order, len(outputs))
        increment = _increment(at.sigma, at.sigma_next, square, levels[:order], outputs)
        at.memory["sa_solver"] = increment, square
        decay = (1 + square) * log(at.sigma / at.sigma_next)
        return exp(-decay) * x + increment + fresh_noise(at, square, s_noise)

    return step


def _increment(
    sigma: Scalar,
    sigma_next: Scalar,
    square: Scalar,
    levels: Sequence[Scalar],
    outputs: Sequence[Combination],
) -> Combination:
    """The integral over a step, with D the polynomial through `outputs` at `levels`, for eta^2."""
    h = log(sigma / sigma_next)
    decay = (1 + square) * h
    # In units of the step: int_0^1 H e^(-H (1 - s)) s^k ds = H k! phi_(k+1)(-H).
    moments = [decay * math.factorial(k) * phi(k + 1, -decay) for k in range(len(levels))]
    weights = weights_of([log(sigma / level) / h for level in levels], moments)
    pairs = zip(weights, outputs, strict=False)
    return sum((weight * output for weight, output in pairs), Combination({}))


def _interval(interval: Interval) -> tuple[float, float]:
    try:
        low, high = interval
    except (TypeError, ValueError):
        raise ValueError(f"`interval` must be two levels (low, high), got {interval!r}.") from None
    low, high = static(low, "interval"), static(high, "interval")
    if not 0 <= low <= high:
        raise ValueError(f"`interval` must be (low, high), 0 <= low <= high, got {interval!r}.")
    return low, high
