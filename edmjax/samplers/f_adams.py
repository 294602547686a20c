"""Adams methods on the network's own output: see `edmjax.samplers._f_form` for the frame."""

from collections.abc import Sequence

from edmjax._common.deprecation import now_keywords
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._f_form import advance, checked, correction, integrals
from edmjax.samplers._parts import added, outputs_so_far, to_denoised


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
