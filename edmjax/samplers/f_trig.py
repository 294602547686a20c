"""`f_trig`: Adams methods on the network's own output, exact for trigonometric functions of theta.

With `theta = arctan(sigma / sigma_data)` the probability flow is `d(x / sqrt(sigma^2 +
sigma_data^2)) = -F dtheta`, as in `edmjax.samplers._f_form`. Data shifted by m add `m sin(theta) /
sigma_data` to F, and data that are one point have an F of sines and cosines. So F is interpolated
by sines and cosines, where `f_pc` takes polynomials, and samples shift with the data.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import real
from edmjax._common.deprecation import now_keywords, renamed
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._f_form import advance, correction, quadrature
from edmjax.samplers._parts import added, outputs_so_far, to_denoised
from edmjax.scalar import flag, is_traced, not_negative


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
        predicted, corrected = rule(levels[:2], at.sigma, at.sigma_next), []
        if corrects and at.past:
            share = _at_least(at.sigma, above * width)
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
        return [_number(total / xp.sin(xp.arctan2(levels[0], width)))]
    found = []
    for j, level in enumerate(levels):
        value = measure
        for k, other in enumerate(levels):
            if k != j:
                value = value * between(sigma, other) / between(level, other)
        found.append(_number(xp.sum(value)))
    return found


def _at_least(sigma: Scalar, least: Scalar) -> Scalar:
    """1 where `sigma` is not below `least`, else 0."""
    if is_traced(sigma, least):
        return jnp.where(sigma >= least, 1.0, 0.0)
    return float(sigma >= least)


def _number(value: Any) -> Scalar:
    return value if is_traced(value) else float(value)
