"""`f_trig`: Adams methods on the network's own output, exact for trigonometric functions of theta.

With `theta = arctan(sigma / sigma_data)` the probability flow is `d(x / sqrt(sigma^2 +
sigma_data^2)) = -F dtheta`, as in `edmjax.samplers._f_form`. Data moved by m add `m sin(theta) /
sigma_data` to F, and data that are one point have an F of sines and cosines. So F is interpolated
from those, and not from polynomials as by `f_pc`: the samples move with the data.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from edmjax.planning.point import Combination
from edmjax.planning.step import Evaluation, Sampler, Step
from edmjax.samplers._f_form import advance, correction, quadrature, width_of
from edmjax.scalar import Scalar, flag, is_traced, not_negative


def f_trig(corrected: bool = True, sigma_data: Scalar = 0.5, above: Scalar = 0.0) -> Sampler:
    """A two-step method on the network's own output, exact for sines and cosines of theta.

        y_next = y + sum_j b_j F_j,    b_j = int_theta_next^theta l_j dtheta

    with `l_j` from the span of sin and cos over two outputs (of sin over one, on the first step).
    If `corrected`, the next step mends this one by its own output, with `l_j` from the span of 1,
    sin and cos over three outputs, as `f_pc` does. Third order where corrected, else second; one
    evaluation a step; the denoiser on the step to zero.

    The corrector gains where modes part, about sigma_data. In a mode that is far narrower than its
    interval from the others, F turns at low levels, which outputs so far apart do not show: with
    `above=0.3` steps that lead below 0.3 sigma_data stay as predicted, and the order is 2 there.

    Exact on N(m, sigma_data^2) for any m, and on data that are one point. Unlike `f_ab` and `f_pc`
    it moves its samples with data that are moved. `ej.recommend` takes it for few evaluations.

    Args:
        corrected: whether each step is corrected by the next one's output.
        sigma_data: the standard deviation of the data about its mean; may be traced.
        above: the level, in units of `sigma_data`, below which nothing is corrected.

    Raises:
        TypeError: if `corrected` is not a bool.
        ValueError: if `sigma_data` is not positive and finite, or `above` is negative or NaN.

    Trigonometric Adams methods: Gautschi (1961), "Numerical integration of ordinary differential
    equations based on trigonometric polynomials".
    """
    corrects, width = flag(corrected, "corrected"), width_of(sigma_data)
    above = not_negative(above, "above")

    def rule(levels: Sequence[Scalar], start: Scalar, end: Scalar) -> list[Scalar]:
        return _integrals(levels, start, end, width)

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last:
            return denoised
        made = [Evaluation(at.sigma, x, denoised, denoised), *at.past[: 2 if corrects else 1]]
        levels = [old.sigma for old in made]
        total: list[Scalar] = [0.0] * len(made)
        for j, weight in enumerate(rule(levels[:2], at.sigma, at.sigma_next)):
            total[j] = total[j] + weight
        if corrects and at.past:
            share = _at_least(at.sigma, above * width)
            for j, weight in enumerate(correction(rule, levels)):
                total[j] = total[j] + share * weight
        return advance(x, at, made, total, width)

    return step


def _integrals(levels: Sequence[Scalar], start: Scalar, end: Scalar, width: Scalar) -> list[Scalar]:
    """`int l_j dtheta` from theta(end) to theta(start), by the quadrature of `_f_form`."""
    xp = jnp if is_traced(*levels, start, end, width) else np
    sigma, measure = quadrature(start, end, width, xp)
    # Of an odd number of nodes: the products of sines of half the differences (Gauss).
    share = 1 / 2 if len(levels) == 3 else 1

    def between(one: Any, other: Scalar) -> Any:
        """The sine of (a share of) the angle between levels, right where both are near pi / 2."""
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
