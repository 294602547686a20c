"""Methods on the network's own output: see `edmjax.samplers._f_form` for the frame.

`f_ab` and `f_pc` are Adams methods, with polynomials in a variable of choice, and `f_rk` is a
Runge-Kutta method. `f_trig` interpolates F by sines and cosines of `theta`: data shifted by m add
`m sin(theta) / sigma_data` to F, and data that are one point have an F of sines and cosines. So its
samples shift with the data.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import real
from edmjax._common.deprecation import now_keywords, renamed
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Evaluation, Sampler, Step
from edmjax.samplers._f_form import (
    advance,
    checked,
    correction,
    integrals,
    level_at,
    measure_at,
    position_in,
    quadrature,
)
from edmjax.samplers._parts import added, outputs_so_far, to_denoised
from edmjax.scalar import flag, host, is_traced, not_negative, where

# Nodes, stages and weights: the midpoint rule, Ralston (1962), and the classical method.
_TABLEAUS = {
    2: ((0.0, 1 / 2), ((), (1 / 2,)), (0.0, 1.0)),
    3: ((0.0, 1 / 2, 3 / 4), ((), (1 / 2,), (0.0, 3 / 4)), (2 / 9, 3 / 9, 4 / 9)),
    4: (
        (0.0, 1 / 2, 1 / 2, 1.0),
        ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
        (1 / 6, 2 / 6, 2 / 6, 1 / 6),
    ),
}


@now_keywords("sigma_data")
def f_ab(order: int = 2, variable: str = "theta", *, sigma_data: Scalar = 0.5) -> Sampler:
    """Adams-Bashforth on the network's own output.

        y_next = y + sum_j b_j F_j,    b_j = int_theta_next^theta l_j dtheta

    over the last `order` outputs, with `l_j` the Lagrange polynomials in `variable`. Order `order`
    from exact starting values and 2 from its own start (1 for `order=1`); one evaluation a step;
    the denoiser on the step to zero. With `variable="theta"` and equal steps of theta the weights
    are 3/2, -1/2 and 23/12, -16/12, 5/12 and so on. Order 4 in theta has large weights if a coarse
    grid starts far above `sigma_data`: rounding errors of float32 grow to 1e-4 there.

    Args:
        order: 1, 2, 3 or 4.
        variable: "theta", "log_sigma" or "sigma^(1/7)".
        sigma_data: the standard deviation of the data about 0; may be traced.

    Raises:
        TypeError: if `order` is not an integer.
        ValueError: if `order` or `variable` is something else, or `sigma_data` is not positive.

    The form is v-prediction's (Salimans and Ho 2022) and TrigFlow's (Lu and Song 2024);
    integrating polynomials against the exact measure is DEIS (Zhang and Chen 2023, eq. 15).
    """
    order, variable, width = checked(order, variable, sigma_data)

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        made, levels = outputs_so_far(x, denoised, at, order - 1)
        weights = integrals(levels, at.sigma, at.sigma_next, variable, width)
        return advance(x, at, made, weights, width)

    return step


@now_keywords("sigma_data")
def f_pc(order: int = 2, variable: str = "log_sigma", *, sigma_data: Scalar = 0.5) -> Sampler:
    """Adams-Bashforth and Moulton on the network's own output, at one evaluation a step (PEC).

        y_p = y_c + sum_j b_j F_j            the predictor, `f_ab(order)`, from the corrected point
        y_c = y_c + b*_p F_p + sum_j b*_j F_j    the next step corrects it, by F_p = F(y_p)

    The network sees predicted points alone, and the last point is not corrected. Order `order` + 1
    from exact starting values and at most 3 from its own start; one evaluation a step; the denoiser
    on the step to zero.

    Args:
        order: 1, 2, 3 or 4, the order of the predictor. The corrector has one output more.
        variable: "theta", "log_sigma" or "sigma^(1/7)".
        sigma_data: the standard deviation of the data about 0; may be traced.

    Raises:
        TypeError: if `order` is not an integer.
        ValueError: if `order` or `variable` is something else, or `sigma_data` is not positive.

    Adams, Bashforth and Moulton with variable steps: Hairer, Norsett and Wanner (1993), Section
    III.5. `ej.adaptive.multistep` is the same method with steps chosen by an error estimate.
    """
    order, variable, width = checked(order, variable, sigma_data)

    def rule(levels: Sequence[Scalar], start: Scalar, end: Scalar) -> list[Scalar]:
        return integrals(levels, start, end, variable, width)

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        made, levels = outputs_so_far(x, denoised, at, order)
        used = at.memory.get("f_pc", 0)  # the order of the step that led here
        corrected = correction(rule, levels[: used + 1]) if used else []
        at.memory["f_pc"] = used = min(order, len(at.past) + 1)
        predicted = rule(levels[:used], at.sigma, at.sigma_next)
        return advance(x, at, made, added(len(made), corrected, predicted), width)

    return step


@now_keywords("sigma_data")
def f_rk(order: int = 2, variable: str = "theta", *, sigma_data: Scalar = 0.5) -> Sampler:
    """A Runge-Kutta method on the network's own output, each step from its point alone.

        dy/du = -F dtheta/du,    u the variable

    by the midpoint rule (order 2), Ralston's method of order 3 or the classical one of order 4, on
    steps of u. Order `order`, `order` evaluations a step; the denoiser on the step to zero.

    Args:
        order: 2, 3 or 4.
        variable: u, "theta", "log_sigma" or "sigma^(1/7)".
        sigma_data: the standard deviation of the data about 0; may be traced.

    Raises:
        TypeError: if `order` is not an integer.
        ValueError: if `order` or `variable` is something else, or `sigma_data` is not positive.

    Hairer, Norsett and Wanner (1993), Section II.1; Ralston (1962), "Runge-Kutta methods with
    minimum error bounds".
    """
    order, variable, width = checked(order, variable, sigma_data, least=2)
    nodes, stages, weights = _TABLEAUS[order]

    def step(x: Combination, at: Step) -> Combination:
        if at.last:
            return at.denoise(x, at.sigma)
        position = position_in(variable, width)
        here, there = position(at.sigma), position(at.sigma_next)
        made: list[Evaluation] = []
        slopes: list[Scalar] = []  # dtheta/du, falling, times the step of u

        def move(sigma: Scalar, coefficients: Sequence[float]) -> Combination:
            # A stage with weight 0 is left out: a traced zero would stay in the plan.
            used = [j for j, share in enumerate(coefficients) if share]
            products = [coefficients[j] * slopes[j] for j in used]
            at_sigma = at._replace(sigma_next=sigma)
            return advance(x, at_sigma, [made[j] for j in used], products, width)

        point = x
        for node, row in zip(nodes, stages, strict=True):
            # At the ends the grid's own levels, which the way through `level_at` would round.
            ends = {0.0: at.sigma, 1.0: at.sigma_next}
            inside = here + node * (there - here)
            sigma = ends[node] if node in ends else level_at(inside, variable, width)
            point = move(sigma, row) if row else x
            denoised = at.denoise(point, sigma)
            made.append(Evaluation(sigma, point, denoised, denoised))
            slopes.append((here - there) * measure_at(sigma, variable, width))
        return move(at.sigma_next, weights)

    return step


@renamed(corrected="corrector")
@now_keywords("sigma_data", "above")
def f_trig(corrector: bool = True, *, sigma_data: Scalar = 0.5, above: Scalar = 0.0) -> Sampler:
    """A two-step method on the network's own output, exact for sines and cosines of theta.

        y_next = y + sum_j b_j F_j,    b_j = int_theta_next^theta l_j dtheta

    with `l_j` from the span of sin and cos over two outputs (of sin over one, on the first step).
    With `corrector=True` each step is corrected once the output at its end is known (PEC, as in
    `f_pc`), with `l_j` from the span of 1, sin and cos over three outputs. Third order, or second
    without the corrector; one evaluation a step; the denoiser on the step to zero.

    The corrector helps where modes separate, around sigma_data. If a mode is much narrower than its
    distance from the others, F changes fast at low levels, and outputs so far apart do not show it.
    With `above=0.3`, steps that lead below 0.3 sigma_data are not corrected, and have order 2.

    Exact on N(m, sigma_data^2) for any m, and on data that are one point. Unlike `f_ab` and `f_pc`,
    its samples shift with the data. `ej.recommend` takes it for few evaluations.

    Args:
        corrector: whether each step is corrected by the output at its end.
        sigma_data: the standard deviation of the data about their mean; may be traced.
        above: the level, in units of `sigma_data`, below which nothing is corrected.

    Raises:
        TypeError: if `corrector` is not a bool.
        ValueError: if `sigma_data` is not positive and finite, or `above` is negative or NaN.

    Trigonometric Adams methods: Gautschi (1961), "Numerical integration of ordinary differential
    equations based on trigonometric polynomials".
    """
    corrects, width = flag(corrector, "corrector"), real(sigma_data, "sigma_data", above=0)
    above = not_negative(above, "above")

    def rule(levels: Sequence[Scalar], start: Scalar, end: Scalar) -> list[Scalar]:
        return _integrals(levels, start, end, width)

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        made, levels = outputs_so_far(x, denoised, at, 2 if corrects else 1)
        # The corrector replaces the predictor of the last step by a rule that is exact for 1 too.
        predicted, corrected = rule(levels[:2], at.sigma, at.sigma_next), []
        if corrects and at.past:
            share = where(at.sigma >= above * width, 1.0, 0.0)
            corrected = [share * weight for weight in correction(rule, levels)]
        return advance(x, at, made, added(len(made), predicted, corrected), width)

    return step


def _integrals(levels: Sequence[Scalar], start: Scalar, end: Scalar, width: Scalar) -> list[Scalar]:
    """`int l_j dtheta` from theta(end) to theta(start), by the quadrature of `_f_form`."""
    xp = jnp if is_traced(*levels, start, end, width) else np
    sigma, measure = quadrature(start, end, width, xp)
    # Gauss: for an odd number of nodes the products are of sines of half the differences.
    share = 1 / 2 if len(levels) == 3 else 1

    def between(one: Any, other: Scalar) -> Any:
        """The sine of (a share of) the angle between two levels, without cancellation."""
        opposite, adjacent = (one - other) * width, width * width + one * other
        return xp.sin(share * xp.arctan2(opposite, adjacent))

    if len(levels) == 1:  # the sine alone
        total = xp.sum(measure * xp.sin(xp.arctan2(sigma, width)))
        return [host(total / xp.sin(xp.arctan2(levels[0], width)), "weight")]
    found = []
    for j, level in enumerate(levels):
        value = measure
        for k, other in enumerate(levels):
            if k != j:
                value = value * between(sigma, other) / between(level, other)
        found.append(host(xp.sum(value), "weight"))
    return found
