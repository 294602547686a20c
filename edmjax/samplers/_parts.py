"""Parts that the steps of several samplers share.

Most steps begin with the denoised output: `to_denoised` makes them of a formula that is given it.

For the reverse stochastic differential equation, in `lambda = -log sigma` with
`h = lambda_next - lambda` and `H = (1 + eta) h`, `decay` is H; see `edmjax.samplers.dpmpp_sde`.

A method that fits a polynomial to outputs at the nodes `s_j`, and integrates it exactly against
some weight function, has the weights `w` that are exact for every power up to the number of nodes:

    sum_j w_j s_j^k = m_k,    m_k the integral of s^k,    k = 0, 1, ...

On numbers everything runs in float64 on the host; traced nodes give traced weights.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from edmjax.planning.point import Combination
from edmjax.planning.step import Evaluation, Sampler, Step
from edmjax.scalar import Scalar, exp, expm1, is_traced, is_zero, log, sqrt, where

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
    # The history lacks this evaluation until the step is over.
    made = [Evaluation(at.sigma, x, denoised, denoised), *at.past[:past]]
    return made, [old.sigma for old in made]


def added(count: int, *rows: Sequence[Scalar]) -> list[Scalar]:
    """The sums of the weights in `rows`, each of at most `count` outputs, newest first."""
    # By hand: since Python 3.12 `sum` compensates the rounding of floats, and not of traced values.
    total: list[Scalar] = [0.0] * count
    for row in rows:
        for j, weight in enumerate(row):
            total[j] = total[j] + weight
    return total


def first_order(x: Combination, denoised: Combination, decay: Scalar) -> Combination:
    """The mean of a step with a constant denoised output: `e^-H x + (1 - e^-H) D`."""
    # `1 - e^-H` as such would lose its digits on a short step.
    return exp(-decay) * x - expm1(-decay) * denoised


def psi(decay: Scalar) -> Scalar:
    """The weight `1 - (1 - e^-H) / H` of the slope of D, without cancellation."""
    return decay * phi(2, -decay)


def fresh_noise(at: Step, eta: Scalar, s_noise: Scalar) -> Combination:
    """The noise of a step: `s_noise sigma_next sqrt(1 - e^(-2 eta h)) noise`."""
    if is_zero(eta) or is_zero(s_noise):
        return Combination({})  # and no draw: a plan without noise needs no key
    h = log(at.sigma / at.sigma_next)
    spread = s_noise * at.sigma_next * sqrt(-expm1(-2 * eta * h))
    return spread * at.noise(at.sigma, at.sigma_next)


def weights_of(nodes: Sequence[Scalar], moments: Sequence[Scalar]) -> list[Scalar]:
    """Returns `w` with `sum_j w_j nodes_j^k = moments_k`: as many of both, the nodes distinct.

    Bjorck and Pereyra (1970): no powers are formed, so close nodes cost few digits.
    """
    w, n = list(moments), len(nodes)
    for k in range(n - 1):
        for j in range(n - 1, k, -1):
            w[j] = w[j] - nodes[k] * w[j - 1]
    for k in range(n - 2, -1, -1):
        for j in range(k + 1, n):
            w[j] = w[j] / (nodes[j] - nodes[j - k - 1])
        for j in range(k, n - 1):
            w[j] = w[j] - w[j + 1]
    return w


def phi(k: int, z: Scalar) -> Scalar:
    """The functions of exponential integrators, to 1e-14 everywhere, and their slopes.

        phi_0(z) = e^z,    phi_k(z) = (phi_(k-1)(z) - 1 / (k-1)!) / z,    phi_k(0) = 1 / k!
        phi_k(z) = int_0^1 e^((1 - s) z) s^(k-1) / (k-1)! ds

    Hochbruck and Ostermann (2010), eq. 2.10 and 2.11.
    """
    if k == 0:
        return exp(z)
    if not is_traced(z):
        return _series(k, z) if abs(z) < 1 else _recursion(k, z)
    # The branch that is not taken gets a harmless argument, so that its slope is finite.
    small = abs(z) < 1
    return where(small, _series(k, where(small, z, 0.0)), _recursion(k, where(small, 1.0, z)))


def _series(k: int, z: Any) -> Scalar:
    """`sum_j z^j / (j + k)!`, to rounding where |z| < 1: the recursion would cancel there."""
    if is_traced(z):  # one sum over an array: unrolled, the terms would cost seconds to compile
        powers = jnp.power(z, np.arange(19))
        return jnp.sum(powers * np.array([1 / math.factorial(j + k) for j in range(19)], z.dtype))
    total = 1.0
    for j in range(18, 0, -1):
        total = 1 + total * z / (j + k)
    return total / math.factorial(k)


def _recursion(k: int, z: Scalar) -> Scalar:
    value = expm1(z) / z
    for j in range(1, k):
        value = (value - 1 / math.factorial(j)) / z
    return value


def differences(
    at: Step, value: Combination, past: list[Combination]
) -> tuple[Scalar, Combination, Combination]:
    """`(h, slope, half)` of the parabola through `value` and two `past` values, newest first.

    `h` is the length of the step, `slope` the derivative at the newest value, and `half` half of
    the second derivative; all in `lambda = -log sigma`.
    """
    h, h_1 = log(at.sigma / at.sigma_next), log(at.past[0].sigma / at.sigma)
    h_2 = log(at.past[1].sigma / at.past[0].sigma)
    d_0, d_1 = (value - past[0]) / h_1, (past[0] - past[1]) / h_2
    half = (d_0 - d_1) / (h_1 + h_2)
    return h, d_0 + h_1 * half, half
