"""Weights of interpolatory formulas, for multistep methods and exponential integrators.

A method that fits a polynomial to outputs at the nodes `s_j`, and integrates it exactly against
some weight function, has the weights `w` that are exact for every power up to the number of nodes:

    sum_j w_j s_j^k = m_k,    m_k the integral of s^k,    k = 0, 1, ...

On numbers everything runs in float64 on the host; traced nodes give traced weights.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from edmjax.planning.point import Combination
from edmjax.planning.step import Step
from edmjax.scalar import Scalar, exp, expm1, is_traced, log, where


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
