"""Methods on the network's own output: `F = (D - c_skip x) / c_out` of Karras et al. (2022), eq. 7.

With `theta = arctan(sigma / sigma_data)` and `y = x / sqrt(sigma^2 + sigma_data^2)` the probability
flow is

    dy = -F dtheta,    F = (D / sigma_data - cos(theta) y) / sin(theta),

whose linear part is gone: for centred data of standard deviation `sigma_data`, F and y are of size
1 at every level, and F is 0 on N(0, sigma_data^2), where a step of any length is exact. The data
should have the mean 0, as the form is not shift-equivariant: `gaussian_split` takes a mean away.

F is extrapolated as a polynomial in a variable of choice, and the integral over theta is exact.
Nothing is divided by sigma when a plan runs: the weights are those of x and D, in float64.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from edmjax.planning.make import check_sampler
from edmjax.planning.point import Combination
from edmjax.planning.step import Evaluation, Sampler, Step
from edmjax.samplers.adams import order_of
from edmjax.scalar import Scalar, host, is_traced, log, sqrt

# The integrand has its poles pi / 2 off the axis of log sigma: 64 points are right to 1e-14 on a
# step from 80 to 0.002.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)

VARIABLES = ("theta", "log_sigma", "sigma^(1/7)")


def f_ab(order: int = 2, variable: str = "theta", sigma_data: Scalar = 0.5) -> Sampler:
    """Adams-Bashforth on the network's own output.

        y_next = y + sum_j b_j F_j,    b_j = int_theta_next^theta l_j dtheta

    over the last `order` outputs, with `l_j` the Lagrange polynomials in `variable`. Order `order`
    from exact starting values, 2 (1 for `order=1`) as it starts; one evaluation a step; the
    denoiser on the step to zero. With `variable="theta"` and equal steps of theta the weights are
    3/2, -1/2 and 23/12, -16/12, 5/12 and so on. Order 4 in theta has large weights where a coarse
    grid starts far above `sigma_data` (rounding errors of float32 grow to 1e-4 there).

    Args:
        order: 1, 2, 3 or 4.
        variable: "theta", "log_sigma" or "sigma^(1/7)".
        sigma_data: the standard deviation of the data about 0; may be traced.

    Raises:
        ValueError: if `order` or `variable` is something else, or `sigma_data` is not positive.

    The form is v-prediction's (Salimans and Ho 2022) and TrigFlow's (Lu and Song 2024);
    integrating polynomials against the exact measure is DEIS (Zhang and Chen 2023, eq. 15).
    """
    order, variable, width = order_of(order, 4), variable_of(variable), width_of(sigma_data)

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last:
            return denoised
        made = [Evaluation(at.sigma, x, denoised, denoised), *at.past[: order - 1]]
        levels = [old.sigma for old in made]
        return advance(
            x, at, made, integrals(levels, at.sigma, at.sigma_next, variable, width), width
        )

    return step


def f_pc(order: int = 2, variable: str = "log_sigma", sigma_data: Scalar = 0.5) -> Sampler:
    """Adams-Bashforth and Moulton on the network's own output, at one evaluation a step (PEC).

        y_p = y_c + sum_j b_j F_j            the predictor, `f_ab(order)`, from the corrected point
        y_c = y_c + b*_p F_p + sum_j b*_j F_j    the next step corrects it, by F_p = F(y_p)

    The network sees predicted points alone, and the last one stays as predicted. Order `order` + 1
    from exact starting values, at most 3 as it starts; one evaluation a step; the denoiser on the
    step to zero.

    Args:
        order: 1, 2, 3 or 4: of the predictor. The corrector has one output more.
        variable: "theta", "log_sigma" or "sigma^(1/7)".
        sigma_data: the standard deviation of the data about 0; may be traced.

    Raises:
        ValueError: if `order` or `variable` is something else, or `sigma_data` is not positive.

    Adams, Bashforth and Moulton with variable steps: Hairer, Norsett and Wanner (1993), Section
    III.5. `ej.adaptive.multistep` chooses the steps of the same method as it goes.
    """
    order, variable, width = order_of(order, 4), variable_of(variable), width_of(sigma_data)

    def rule(levels: Sequence[Scalar], start: Scalar, end: Scalar) -> list[Scalar]:
        return integrals(levels, start, end, variable, width)

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last:
            return denoised
        made = [Evaluation(at.sigma, x, denoised, denoised), *at.past[:order]]
        levels = [old.sigma for old in made]
        total: list[Scalar] = [0.0] * len(made)
        used = at.memory.get("f_pc", 0)  # the order of the step that led here
        if used:
            for j, weight in enumerate(correction(rule, levels[: used + 1])):
                total[j] = total[j] + weight
        used = min(order, len(at.past) + 1)
        at.memory["f_pc"] = used
        for j, weight in enumerate(rule(levels[:used], at.sigma, at.sigma_next)):
            total[j] = total[j] + weight
        return advance(x, at, made, total, width)

    return step


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


def f_rk(order: int = 2, variable: str = "theta", sigma_data: Scalar = 0.5) -> Sampler:
    """A Runge-Kutta method on the network's own output, each step from its point alone.

        dy/du = -F dtheta/du,    u the variable

    by the midpoint rule (order 2), Ralston's method of order 3 or the classical one of order 4, on
    steps of u. Order `order`, `order` evaluations a step; the denoiser on the step to zero.

    Args:
        order: 2, 3 or 4.
        variable: u, "theta", "log_sigma" or "sigma^(1/7)".
        sigma_data: the standard deviation of the data about 0; may be traced.

    Raises:
        ValueError: if `order` or `variable` is something else, or `sigma_data` is not positive.

    Hairer, Norsett and Wanner (1993), Section II.1; Ralston (1962), "Runge-Kutta methods with
    minimum error bounds".
    """
    order, variable = order_of(order, 4, lowest=2), variable_of(variable)
    width = width_of(sigma_data)
    nodes, stages, weights = _TABLEAUS[order]

    def step(x: Combination, at: Step) -> Combination:
        if at.last:
            return at.denoise(x, at.sigma)
        position = _position(variable, width)
        here, there = position(at.sigma), position(at.sigma_next)
        made: list[Evaluation] = []
        slopes: list[Scalar] = []  # dtheta/du, falling, times the step of u

        def move(sigma: Scalar, coefficients: Sequence[float]) -> Combination:
            # A stage without a share is left out: a traced zero would be kept in the plan.
            used = [j for j, share in enumerate(coefficients) if share]
            products = [coefficients[j] * slopes[j] for j in used]
            at_sigma = at._replace(sigma_next=sigma)
            return advance(x, at_sigma, [made[j] for j in used], products, width)

        point = x
        for node, row in zip(nodes, stages, strict=True):
            # The ends are the grid's own levels, and not those levels through the variable.
            sigma = _level(here + node * (there - here), variable, width)
            sigma = {0.0: at.sigma, 1.0: at.sigma_next}.get(node, sigma)
            point = move(sigma, row) if row else x
            denoised = at.denoise(point, sigma)
            made.append(Evaluation(sigma, point, denoised, denoised))
            slopes.append((here - there) * _measure(sigma, variable, width))
        return move(at.sigma_next, weights)

    return step


def analytic_first_step(inner: Sampler, sigma_data: Scalar = 0.5) -> Sampler:
    """`inner` with the first output that of N(0, sigma_data^2), and no evaluation for it.

        D = sigma_data^2 / (sigma^2 + sigma_data^2) x,    F = 0

    At sigma_max the network's answer is that but for about `sigma_data / sigma_max`. The guess
    stays in the history of a multistep `inner`. One step more for the same evaluations; a grid of
    one step keeps its evaluation. `sigma_data` may be traced.

    Raises:
        TypeError: if `inner` is not a sampler.
        ValueError: if `sigma_data` is not positive.

    "AFS" of Dockhorn, Vahdat and Kreis (2022, GENIE), for data of any width.
    """
    check_sampler(inner, "inner")
    width = width_of(sigma_data)

    def step(x: Combination, at: Step) -> Combination:
        if at.index or at.num_steps == 1:
            return inner(x, at)

        def guess(point: Combination, sigma: Scalar, *, raw: bool = False) -> Any:
            denoised = width * width / (sigma * sigma + width * width) * point
            return (denoised, denoised) if raw else denoised

        first, denoised = 1.0 * x, guess(x, at.sigma)
        x = inner(x, at._replace(denoise=guess))
        at.past.insert(0, Evaluation(at.sigma, first, denoised, denoised))
        return x

    return step


def teleport(inner: Sampler, sigma_data: Scalar = 0.5) -> Sampler:
    """`inner` from the second level on; the first step is the exact flow of N(0, sigma_data^2).

        x_next = sqrt((sigma_next^2 + sigma_data^2) / (sigma^2 + sigma_data^2)) x

    The first step takes no evaluation, and nothing of it stays in the history. The grid is the
    first level and then that of `inner`: `[80.0, *ej.schedules.karras(n, sigma_max=5.0)]` starts at
    80 and evaluates at 5 first. In the coordinates of `gaussian_split` it is the flow of a Gaussian
    of any mean and covariance. `sigma_data` may be traced.

    Raises:
        TypeError: if `inner` is not a sampler.
        ValueError: if `sigma_data` is not positive; by `make_plan`, if the grid is one step to 0.

    Wang and Vastola (2024), "The unreasonable effectiveness of Gaussian score approximation".
    """
    check_sampler(inner, "inner")
    width = width_of(sigma_data)

    def step(x: Combination, at: Step) -> Combination:
        if at.index:
            return inner(x, at)
        if at.last:
            raise ValueError(
                "`teleport` evaluates nothing on the first step, and this grid has no other: put "
                "the level to start evaluating at between the first one and 0."
            )
        return _total(at.sigma_next, width) / _total(at.sigma, width) * x

    return step


def integrals(
    levels: Sequence[Scalar], start: Scalar, end: Scalar, variable: str, width: Scalar
) -> list[Scalar]:
    """`int l_j dtheta` from theta(end) to theta(start), of the Lagrange polynomials over `levels`.

    By 64-point Gauss-Legendre in log sigma, where the integrand is smooth on any step. The weights
    sum to the angle of the step, so that a constant F is integrated exactly.
    """
    angle = _angle(start, end, width)
    if len(levels) == 1:
        return [angle]
    position = _position(variable, width)
    xp = jnp if is_traced(*levels, start, end, width) else np
    sigma, measure = quadrature(start, end, width, xp)
    at, nodes = position(sigma), [position(level) for level in levels]
    found = []
    for j in range(1, len(nodes)):
        polynomial = measure
        for k in range(len(nodes)):
            if k != j:
                polynomial = polynomial * ((at - nodes[k]) / (nodes[j] - nodes[k]))
        total = xp.sum(polynomial)
        found.append(total if xp is jnp else float(total))
    return [angle - sum(found), *found]


def quadrature(start: Scalar, end: Scalar, width: Scalar, xp: Any) -> tuple[Any, Any]:
    """Levels and weights of `int f dtheta` from theta(end) to theta(start), by Gauss-Legendre."""
    # Not the logarithm of the product, which underflows.
    middle, half = (log(start) + log(end)) / 2, log(start / end) / 2
    sigma = xp.exp(middle + half * _NODES)
    return sigma, half * _WEIGHTS * width * sigma / (sigma * sigma + width * width)


def correction(rule: Callable[..., list[Scalar]], levels: Sequence[Scalar]) -> list[Scalar]:
    """What the step from `levels[1]` to `levels[0]` gains by the output there: its weights.

    An increment on the evaluated point: the corrected one, which is never evaluated, would drag its
    weights back to the start. `rule(levels, start, end)` has the weights of a step.
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
    """The point `y + sum_j b_j F_j` at `at.sigma_next`, in weights of the points and of D."""
    total = _total(at.sigma_next, width)
    moved = total / _total(at.sigma, width) * x
    for b, old in zip(weights, made, strict=True):
        here = _total(old.sigma, width)
        moved = moved + total * b / old.sigma * (here / width * old.denoised - width / here * old.x)
    return moved


def _total(sigma: Scalar, width: Scalar) -> Scalar:
    return sqrt(sigma * sigma + width * width)


def _angle(start: Scalar, end: Scalar, width: Scalar) -> Scalar:
    """`theta(start) - theta(end)`, to its last digits where both are near pi / 2."""
    opposite, adjacent = (start - end) * width, width * width + start * end
    if is_traced(opposite, adjacent):
        return jnp.arctan2(opposite, adjacent)
    return math.atan2(opposite, adjacent)


def _position(variable: str, width: Scalar) -> Callable[[Any], Any]:
    """The variable as a function of sigma, of numbers, NumPy arrays and traced values."""

    def position(sigma: Any) -> Any:
        xp = jnp if is_traced(sigma, width) else np
        if variable == "theta":
            return xp.arctan2(sigma, width)
        return xp.log(sigma) if variable == "log_sigma" else sigma ** (1 / 7)

    return position


def _level(at: Scalar, variable: str, width: Scalar) -> Scalar:
    """The sigma whose variable is `at`."""
    xp = jnp if is_traced(at, width) else np
    if variable == "theta":
        return width * xp.tan(at)
    return xp.exp(at) if variable == "log_sigma" else at**7


def _measure(sigma: Scalar, variable: str, width: Scalar) -> Scalar:
    """`dtheta/du` at `sigma`."""
    by_sigma = width / (sigma * sigma + width * width)
    if variable == "theta":
        return 1.0
    return by_sigma * sigma if variable == "log_sigma" else by_sigma * 7 * sigma ** (6 / 7)


def variable_of(variable: Any) -> str:
    """`variable` where it is one of the three."""
    if not isinstance(variable, str) or variable not in VARIABLES:
        known = f"{', '.join(map(repr, VARIABLES[:-1]))} or {VARIABLES[-1]!r}"
        raise ValueError(f"`variable` must be {known}, got {variable!r}.")
    return variable


def width_of(sigma_data: Scalar) -> Scalar:
    """`sigma_data`, which must be positive and finite where it is a number."""
    width = host(sigma_data, "sigma_data")
    if not is_traced(width) and not 0 < width < math.inf:
        raise ValueError(f"`sigma_data` must be positive and finite, got {width}.")
    return width
