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

from edmjax._common.arguments import one_of, whole
from edmjax._common.deprecation import renamed
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._parts import fresh_noise, outputs_so_far, phi, to_denoised, weights_of
from edmjax.scalar import exp, flag, is_zero, log, not_negative, static, where

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
    *,
    lower_order_final: bool = False,
    variant: str = "exact",
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
        lower_order_final: the last step above zero has a predictor of order 1 and a corrector of at
            most 2, the one before it of at most 2 and 3, and so on, as in diffusers and ComfyUI.
        variant: the weight of the difference of two outputs, where predictor or corrector has two:
            "exact", or "half", which is H / 2 times the step over their distance. Of one order,
            and meant for few steps, like the `bh1` of `unipc`: the code of the paper's authors and
            diffusers' `SASolverScheduler` have it.

    Raises:
        TypeError: if an order is not an integer, or `interval` is traced, since it decides which
            steps draw noise.
        ValueError: if an order or `variant` is something else, `eta` or `s_noise` is negative or
            NaN, or `interval` is not two levels, the lower first.
    """
    predictor_order = whole(predictor_order, "predictor_order", most=4)
    corrector_order = whole(corrector_order, "corrector_order", least=0, most=4)
    eta, s_noise = not_negative(eta, "eta"), not_negative(s_noise, "s_noise")
    low, high = _interval(interval)
    lowered = flag(lower_order_final, "lower_order_final")
    halved = one_of(variant, "variant", ["exact", "half"]) == "half"

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        made, levels = outputs_so_far(x, denoised, at, 4)
        outputs = [evaluation.denoised for evaluation in made]
        if corrector_order and "sa_solver" in at.memory and at.past:
            increment, square, most = at.memory["sa_solver"]
            order = min(corrector_order, len(outputs), most)
            # The corrected step in place of the predicted one; both have the same noise.
            corrected = _increment(levels[1], at.sigma, square, levels[:order], outputs, halved)
            x = x + corrected - increment
        square = where((low <= at.sigma) & (at.sigma <= high), eta * eta, 0.0)
        # Steps from here to the last one above zero: the step to zero is the denoiser anyway.
        left = at.num_steps - at.index - is_zero(at.levels[-1])
        most = left if lowered else len(outputs)
        used = levels[: min(predictor_order, len(outputs), most)]
        increment = _increment(at.sigma, at.sigma_next, square, used, outputs, halved)
        at.memory["sa_solver"] = increment, square, left + 1 if lowered else corrector_order
        decay = (1 + square) * log(at.sigma / at.sigma_next)
        return exp(-decay) * x + increment + fresh_noise(at, square, s_noise)

    return step


def _increment(
    sigma: Scalar,
    sigma_next: Scalar,
    square: Scalar,
    levels: Sequence[Scalar],
    outputs: Sequence[Combination],
    halved: bool,
) -> Combination:
    """The integral over a step, with D the polynomial through `outputs` at `levels`, for eta^2."""
    h = log(sigma / sigma_next)
    decay = (1 + square) * h
    # In units of the step: int_0^1 H e^(-H (1 - s)) s^k ds = H k! phi_(k+1)(-H).
    moments = [decay * math.factorial(k) * phi(k + 1, -decay) for k in range(len(levels))]
    if halved and len(levels) == 2:
        moments[1] = decay / 2
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
