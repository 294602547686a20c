"""The frame of the network's own output, `F = (D - c_skip x) / c_out` (Karras et al. 2022, eq. 7).

With `theta = arctan(sigma / sigma_data)` and `y = x / sqrt(sigma^2 + sigma_data^2)` the probability
flow is

    dy = -F dtheta,    F = (D / sigma_data - cos(theta) y) / sin(theta),

without a linear part. For centred data of standard deviation `sigma_data`, F and y are of size 1 at
every level. On N(0, sigma_data^2) F is 0, and a step of any length is exact. The data should have
mean 0, as the form is not shift-equivariant: `gaussian_split` removes a mean.

F is extrapolated as a polynomial in a variable of choice, and the integral over theta is exact.
Nothing is divided by sigma when a plan runs: the plan holds weights of x and D, in float64. Here
`width` is `sigma_data`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from edmjax._common.arguments import one_of, real, whole
from edmjax.planning.point import Combination
from edmjax.planning.step import Evaluation, Step
from edmjax.scalar import Scalar, host, is_traced, log, sqrt

# The integrand has its poles pi / 2 off the axis of log sigma: 64 points are right to 1e-14 on a
# step from 80 to 0.002.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)

VARIABLES = ("theta", "log_sigma", "sigma^(1/7)")


def checked(
    order: int, variable: str, sigma_data: Scalar, least: int = 1
) -> tuple[int, str, Scalar]:
    """The options of a method on F: its order, at most 4, its variable and its width."""
    return (
        whole(order, "order", least=least, most=4),
        one_of(variable, "variable", VARIABLES),
        real(sigma_data, "sigma_data", above=0),
    )


def integrals(
    levels: Sequence[Scalar], start: Scalar, end: Scalar, variable: str, width: Scalar
) -> list[Scalar]:
    """`int l_j dtheta` from theta(end) to theta(start), of the Lagrange polynomials over `levels`.

    By 64-point Gauss-Legendre in log sigma, where the integrand is smooth on any step. The weights
    add up to the angle of the step, so a constant F is integrated exactly.
    """
    angle = angle_between(start, end, width)
    if len(levels) == 1:
        return [angle]
    position = position_in(variable, width)
    xp = jnp if is_traced(*levels, start, end, width) else np
    sigma, measure = quadrature(start, end, width, xp)
    at, nodes = position(sigma), [position(level) for level in levels]
    found = []
    for j in range(1, len(nodes)):
        polynomial = measure
        for k in range(len(nodes)):
            if k != j:
                polynomial = polynomial * ((at - nodes[k]) / (nodes[j] - nodes[k]))
        found.append(host(xp.sum(polynomial), "weight"))
    return [angle - sum(found), *found]


def quadrature(start: Scalar, end: Scalar, width: Scalar, xp: Any) -> tuple[Any, Any]:
    """Levels and weights of `int f dtheta` from theta(end) to theta(start), by Gauss-Legendre."""
    # Two logarithms, as the product of the levels may underflow.
    middle, half = (log(start) + log(end)) / 2, log(start / end) / 2
    sigma = xp.exp(middle + half * _NODES)
    return sigma, half * _WEIGHTS * width * sigma / (sigma * sigma + width * width)


def correction(rule: Callable[..., list[Scalar]], levels: Sequence[Scalar]) -> list[Scalar]:
    """The weights that correct the step from `levels[1]` to `levels[0]`, given the output there.

    They are an increment on the evaluated point. The corrected point is never evaluated, so it
    would have to be written in terms of all points before it. `rule(levels, start, end)` gives the
    weights of a step.
    """
    after = rule(levels, levels[1], levels[0])
    before = rule(levels[1:], levels[1], levels[0])
    return [after[0], *(new - old for new, old in zip(after[1:], before, strict=True))]


def advance(
    x: Combination,
    at: Step,
    made: Sequence[Evaluation],
    weights: Sequence[Scalar],
    width: Scalar,
) -> Combination:
    """The point of `y + sum_j b_j F_j` at `at.sigma_next`, with `b` the `weights` of `made`."""
    total = total_at(at.sigma_next, width)
    moved = total / total_at(at.sigma, width) * x
    for b, old in zip(weights, made, strict=True):
        here = total_at(old.sigma, width)
        moved = moved + total * b / old.sigma * (here / width * old.denoised - width / here * old.x)
    return moved


def total_at(sigma: Scalar, width: Scalar) -> Scalar:
    return sqrt(sigma * sigma + width * width)


def angle_between(start: Scalar, end: Scalar, width: Scalar) -> Scalar:
    """`theta(start) - theta(end)`, without cancellation where both are near pi / 2."""
    opposite, adjacent = (start - end) * width, width * width + start * end
    if is_traced(opposite, adjacent):
        return jnp.arctan2(opposite, adjacent)
    return math.atan2(opposite, adjacent)


def position_in(variable: str, width: Scalar) -> Callable[[Any], Any]:
    """The variable as a function of sigma: a number, a NumPy array or a traced value."""

    def position(sigma: Any) -> Any:
        xp = jnp if is_traced(sigma, width) else np
        if variable == "theta":
            return xp.arctan2(sigma, width)
        return xp.log(sigma) if variable == "log_sigma" else sigma ** (1 / 7)

    return position


def level_at(at: Any, variable: str, width: Any) -> Any:
    """The sigma whose variable is `at`."""
    xp = jnp if is_traced(at, width) else np
    if variable == "theta":
        return width * xp.tan(at)
    return xp.exp(at) if variable == "log_sigma" else at**7


def measure_at(sigma: Scalar, variable: str, width: Scalar) -> Scalar:
    """`dtheta/du` at `sigma`."""
    by_sigma = width / (sigma * sigma + width * width)
    if variable == "theta":
        return 1.0
    return by_sigma * sigma if variable == "log_sigma" else by_sigma * 7 * sigma ** (6 / 7)
