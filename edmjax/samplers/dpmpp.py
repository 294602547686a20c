"""DPM-Solver++: exponential integrators on the denoised output, in `lambda = -log sigma`.

With `h = lambda_next - lambda`, the probability flow is solved exactly by

    x_next = e^-h x + int_0^h e^(u - h) D(u) du,    e^-h = sigma_next / sigma

and the methods differ in how they extrapolate `D` over the step. With `D` a polynomial,
`x_next = e^-h x + h phi_1(-h) D + h^2 phi_2(-h) D' + h^3 phi_3(-h) D''`, and `h phi_1(-h)` is
`1 - e^-h`. A `solver_type` chooses the second term: "heun" is the exact one, "midpoint" is
`h (1 - e^-h) D' / 2`, which differs by O(h^3).

The inner points of `dpmpp_singlestep` are levels of the grid. Consecutive steps of the grid form a
block: its k-th step starts again from the block's first point, with the k outputs made since. So n
steps take n evaluations, and the orders of the steps are 1, 2, 1, 2, ... or 1, 2, 3, 1, 2, 3, ...
"""

from typing import NamedTuple

from edmjax._common.arguments import one_of, real, whole
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._parts import differences, interpolated, phi, to_denoised
from edmjax.scalar import exp, flag, is_traced, log

_AFTER_NOISE = 0.9999 / (1 - 0.9999)  # the level of t = 0.9999 in a flow


class Lowered(NamedTuple):
    """Which of the last steps of a multistep method have a lower order."""

    few: bool  # on grids of fewer than 15 steps, the last two
    last: bool  # on every grid, the last one

    @staticmethod
    def of(lower_order_final: bool, euler_at_final: bool) -> "Lowered":
        """The two options that `DPMSolverMultistepScheduler` of diffusers has for it."""
        few = flag(lower_order_final, "lower_order_final")
        return Lowered(few, flag(euler_at_final, "euler_at_final"))

    def to(self, order: int, at: Step) -> bool:
        """Whether this step, so near the end of the grid, has at most the order `order`."""
        if at.index != at.num_steps - order:
            return False
        return (self.last and order == 1) or (self.few and at.num_steps < 15)


def dpmpp_2s(r: Scalar = 0.5) -> Sampler:
    """DPM-Solver++(2S): the second-order single-step method.

        sigma_r = sigma^(1 - r) sigma_next^r
        x_r = e^(-r h) x + (1 - e^(-r h)) D(x, sigma)
        D' = (1 - 1/(2 r)) D(x, sigma) + 1/(2 r) D(x_r, sigma_r)
        x_next = e^-h x + (1 - e^-h) D'

    Second order, two evaluations a step; the denoiser on the step to zero, so n steps take 2n - 1.
    From t = 1 of a flow, where the step is infinitely long, `sigma_r` is at t = 0.9999, as in
    ComfyUI. `ancestral(dpmpp_2s())` is k-diffusion's `sample_dpmpp_2s_ancestral`. Lu et al. (2022,
    DPM-Solver++), Algorithm 1.

    Raises:
        ValueError: if `r` is outside (0, 1].
    """
    r = real(r, "r", above=0, most=1)

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        ratio = at.sigma_next / at.sigma
        ratio_r = exp(r * log(ratio))
        sigma_r = at.sigma * ratio_r
        if at.in_flow and not is_traced(at.sigma) and at.sigma / (1 + at.sigma) == 1:
            sigma_r = _AFTER_NOISE
            ratio_r = sigma_r / at.sigma
        x_r = interpolated(x, denoised, ratio_r)
        inner = at.denoise(x_r, sigma_r)
        denoised = denoised + 1 / (2 * r) * (inner - denoised)
        return interpolated(x, denoised, ratio)

    return step


def dpmpp_2m(
    solver_type: str = "midpoint", lower_order_final: bool = False, euler_at_final: bool = False
) -> Sampler:
    """DPM-Solver++(2M): the second-order multistep method.

        D' = (D - D_prev) / h_prev
        x_next = e^-h x + (1 - e^-h) (D + h/2 D')             "midpoint"
        x_next = e^-h x + (1 - e^-h) D + h^2 phi_2(-h) D'     "heun"

    Second order, one evaluation a step; first order on the first step and on the step to zero,
    where it is the denoiser. Lu et al. (2022, DPM-Solver++), Algorithm 2.

    Args:
        solver_type: "midpoint" or "heun".
        lower_order_final: takes a last step of first order on grids of fewer than 15 steps.
        euler_at_final: takes a last step of first order on every grid.

    Raises:
        ValueError: if `solver_type` is something else.
    """
    return _multistep(2, solver_type, lower_order_final, euler_at_final)


def dpmpp_3m(
    solver_type: str = "midpoint",
    lower_order_final: bool = False,
    euler_at_final: bool = False,
    corrected: bool = False,
    start_order: int = 1,
) -> Sampler:
    """DPM-Solver++(3M): the multistep method of three outputs.

        d_0 = (D - D_1) / h_1,    d_1 = (D_1 - D_2) / h_2
        q = (d_0 - d_1) / (h_1 + h_2)
        D' = d_0 + h_1 q,    D'' = q, or with `corrected` 2 q
        x_next = e^-h x + (1 - e^-h) D + h^2 phi_2(-h) D' + h^3 phi_3(-h) D''

    with D_1, D_2 the outputs one and two steps ago and h_1, h_2 the lengths of those steps. One
    evaluation a step; first order on the first step, `dpmpp_2m` on the second, the denoiser on the
    step to zero.

    As published (`corrected=False`, and in every package) the second difference is half of the
    second derivative, so the method is of order 2. With `corrected=True` it is of order 3 from
    starting values of that accuracy. The first-order start limits it to 2; `start_order=2`, whose
    first step is `dpmpp_2s()` and takes one evaluation more, removes that limit. Lu et al. (2022,
    DPM-Solver++), and the code of its authors.

    Args:
        solver_type: "midpoint" or "heun", for the steps of second order. With "heun" it equals
            k-diffusion's `sample_dpmpp_3m_sde` with eta 0.
        lower_order_final: on grids of fewer than 15 steps, takes a last step of first order and one
            of second order before it.
        euler_at_final: takes a last step of first order on every grid.
        corrected: takes a second difference of the right size, the second derivative.
        start_order: 1 or 2, the order of the first step.

    Raises:
        TypeError: if `start_order` is not an integer.
        ValueError: if `solver_type` or `start_order` is something else.
    """
    return _multistep(3, solver_type, lower_order_final, euler_at_final, corrected, start_order)


def _multistep(
    order: int,
    solver_type: str,
    lower_order_final: bool,
    euler_at_final: bool,
    corrected: bool = False,
    start_order: int = 1,
) -> Sampler:
    """The method of `order` outputs, 2 or 3."""
    solver_type = one_of(solver_type, "solver_type", ["midpoint", "heun"])
    lowered = Lowered.of(lower_order_final, euler_at_final)
    corrected = flag(corrected, "corrected")
    start_order = whole(start_order, "start_order", most=2)
    start = dpmpp_2s()

    def step(x: Combination, at: Step) -> Combination:
        # Asked first: a lowered step is not worth the second evaluation of `start`.
        first = lowered.to(1, at)
        if not at.past and start_order == 2 and not first:
            return start(x, at)
        denoised = at.denoise(x, at.sigma)
        if at.last:
            return denoised
        if not at.past or first:
            return _first(x, denoised, at)
        if order == 2 or len(at.past) < 2 or lowered.to(2, at):
            return _second(x, denoised, at, solver_type)
        h, slope, curvature = differences(at, denoised, [old.denoised for old in at.past[:2]])
        curvature = 2 * curvature if corrected else curvature
        x = _first(x, denoised, at)
        return x + h**2 * phi(2, -h) * slope + h**3 * phi(3, -h) * curvature

    return step


def _first(x: Combination, denoised: Combination, at: Step) -> Combination:
    return interpolated(x, denoised, at.sigma_next / at.sigma)


def _second(x: Combination, denoised: Combination, at: Step, solver_type: str) -> Combination:
    previous = at.past[0]
    h, h_prev = log(at.sigma / at.sigma_next), log(previous.sigma / at.sigma)
    slope = (denoised - previous.denoised) / h_prev
    if solver_type == "midpoint":  # the output in the middle of the step, held over all of it
        return _first(x, denoised + h / 2 * slope, at)
    return _first(x, denoised, at) + h**2 * phi(2, -h) * slope


def dpmpp_singlestep(
    order: int = 2, solver_type: str = "midpoint", lower_order_final: bool = True
) -> Sampler:
    """DPM-Solver++(2S) or (3S) on the levels of the grid.

    From the first level of a block, with `h` the length from there to `sigma_next`, h_j the length
    to the level of its output j, and `d_j = (D_j - D_0) / h_j`,

        x_next = e^-h x + (1 - e^-h) (D_0 + h/2 d_1)                       order 2, "midpoint"
        x_next = e^-h x + (1 - e^-h) D_0 + h^2 phi_2(-h) d_1               order 2, "heun"
        x_next = e^-h x + (1 - e^-h) D_0 + h^2 phi_2(-h) d_2               order 3, "midpoint"
        x_next = e^-h x + (1 - e^-h) D_0 + h^2 phi_2(-h) D' + h^3 phi_3(-h) D''          "heun"
        D' = (h_2 d_1 - h_1 d_2) / (h_2 - h_1),    D'' = 2 (d_2 - d_1) / (h_2 - h_1)

    One evaluation a step; the denoiser on the step to zero. It has the given order if whole blocks
    make up the grid; order 3 also needs `h_2 = 2/3 h`, as in blocks that are even in log sigma, and
    is of second order elsewhere. A last step of first order limits order 3 to 2. Lu et al. (2022,
    DPM-Solver++), Algorithm 1, and the code of its authors; equals diffusers'
    `DPMSolverSinglestepScheduler`.

    Args:
        order: 1, 2 or 3.
        solver_type: "midpoint" or "heun".
        lower_order_final: takes a last step of first order if the last block is whole: 1, 1 in
            place of 1, 2, and 1, 2, 1 in place of 1, 2, 3.

    Raises:
        TypeError: if `order` is not an integer.
        ValueError: if an option is something else.
    """
    order = whole(order, "order", most=3)
    lower_order_final = flag(lower_order_final, "lower_order_final")
    solver_type = one_of(solver_type, "solver_type", ["midpoint", "heun"])

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        position = at.index % order + 1
        if lower_order_final and order > 1 and at.index == at.num_steps - 1 and position == order:
            position = 1
        # Fresh noise in the middle of a block empties the history, and so ends the block.
        position = min(position, len(at.past) + 1)
        if position == 1:
            return interpolated(x, denoised, at.sigma_next / at.sigma)
        start = at.past[position - 2]
        h, r = log(start.sigma / at.sigma_next), at.sigma_next / start.sigma
        held = interpolated(start.x, start.denoised, r)
        newest = (denoised - start.denoised) / log(start.sigma / at.sigma)
        if position == 2 and solver_type == "midpoint":
            return held + (1 - r) * h / 2 * newest
        if position == 2 or solver_type == "midpoint":
            return held + h**2 * phi(2, -h) * newest
        middle, h_2 = at.past[0], log(start.sigma / at.sigma)
        h_1 = log(start.sigma / middle.sigma)
        older = (middle.denoised - start.denoised) / h_1
        slope = (h_2 * older - h_1 * newest) / (h_2 - h_1)
        curvature = 2 * (newest - older) / (h_2 - h_1)
        return held + h**2 * phi(2, -h) * slope + h**3 * phi(3, -h) * curvature

    return step
