"""DPM-Solver++ in single steps whose inner points are levels of the grid.

Consecutive steps of the grid form a block: its k-th step starts again from the block's first point,
with the k outputs made since. So n steps take n evaluations, and the orders of the steps are
1, 2, 1, 2, ... or 1, 2, 3, 1, 2, 3, ...
"""

from edmjax._common.arguments import one_of, whole
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._interpolation import phi
from edmjax.samplers._parts import interpolated, to_denoised
from edmjax.scalar import flag, log


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
    make up the grid; "midpoint" of order 3 also needs blocks that are even in log sigma. A last
    step of first order limits order 3 to 2. Lu et al. (2022, DPM-Solver++), Algorithm 1, and the
    code of its authors; equals diffusers' `DPMSolverSinglestepScheduler`.

    Args:
        order: 1, 2 or 3.
        solver_type: "midpoint" or "heun".
        lower_order_final: takes a last step of first order if the last block is whole: 1, 1 in
            place of 1, 2, and 1, 2, 1 in place of 1, 2, 3.

    Raises:
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
