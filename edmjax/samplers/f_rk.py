"""Runge-Kutta methods on the network's own output: see `edmjax.samplers._f_form` for the frame."""

from collections.abc import Sequence

from edmjax._common.deprecation import now_keywords
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Evaluation, Sampler, Step
from edmjax.samplers._f_form import advance, checked, level_at, measure_at, position_in

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
