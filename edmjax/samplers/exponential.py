"""Exponential Runge-Kutta and multistep methods on the denoised output, in `lambda = -log sigma`.

With `h = lambda_next - lambda` and `D_i` the output at the inner level `sigma^(1-c) sigma_next^c`,

    x_next = e^-h x + h sum_i b_i(-h) D_i

where the weights b_i satisfy the order conditions for stiff problems, written with `phi_k`:
Hochbruck and Ostermann (2005), "Explicit exponential Runge-Kutta methods for semilinear parabolic
problems". In diffusion they are the refined exponential solvers (RES) of Zhang et al. (2023),
"Improved order analysis and design of exponential integrator for diffusion models sampling".
`dpmpp_2s` satisfies the conditions only in the limit of small steps.
"""

from edmjax._common.arguments import real
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._parts import first_order, phi, to_denoised
from edmjax.samplers.dpmpp_sde import dpmpp_2m_sde
from edmjax.scalar import exp, is_traced, log


def res_2s(c2: Scalar = 0.5) -> Sampler:
    """The exponential Runge-Kutta method of two stages.

        x_2 = e^(-c2 h) x + c2 h phi_1(-c2 h) D_1
        x_next = e^-h x + h (phi_1 - phi_2 / c2) D_1 + h phi_2 / c2 D_2,    phi_k = phi_k(-h)

    Second order, two evaluations a step; the denoiser on the step to zero, so n steps take 2n - 1.
    Hochbruck and Ostermann (2005), section 5.1; Zhang et al. (2023), section 3.

    Raises:
        ValueError: if `c2` is outside (0, 1].
    """
    c2 = real(c2, "c2", above=0, most=1)

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        h = log(at.sigma / at.sigma_next)
        x_2 = first_order(x, denoised, c2 * h)
        change_2 = at.denoise(x_2, at.sigma * exp(-c2 * h)) - denoised
        return first_order(x, denoised, h) + h / c2 * phi(2, -h) * change_2

    return step


def exp_heun() -> Sampler:
    """Heun's method of exponential integrators: `res_2s(c2=1)`, with its inner point at the end.

        x_2 = e^-h x + (1 - e^-h) D(x, sigma)
        x_next = x_2 + h phi_2(-h) (D(x_2, sigma_next) - D(x, sigma))

    Second order, two evaluations a step; the denoiser on the step to zero, so n steps take 2n - 1.
    Cox and Matthews (2002), eq. 22 (ETD2RK).
    """
    return res_2s(1.0)


def res_3s(c2: Scalar = 0.5, c3: Scalar = 1.0) -> Sampler:
    """The exponential Runge-Kutta method of three stages.

        gamma = (3 c3^2 - 2 c3) / (c2 (2 - 3 c2))
        x_2 = e^(-c2 h) x + c2 h phi_1(-c2 h) D_1
        x_3 = e^(-c3 h) x + c3 h phi_1(-c3 h) D_1 + h a (D_2 - D_1)
        a = gamma c2 phi_2(-c2 h) + c3^2 / c2 phi_2(-c3 h)
        x_next = e^-h x + h phi_1 D_1 + h phi_2 / (gamma c2 + c3) (gamma (D_2 - D_1) + D_3 - D_1)

    Third order, three evaluations a step; the denoiser on the step to zero, so n steps take 3n - 2.
    Hochbruck and Ostermann (2005), section 5.2; Zhang et al. (2023), section 3.

    Raises:
        ValueError: if `c2` or `c3` is outside (0, 1], or at a pole of the weights: `c2 = 2/3`, or
            `c2 = c3`.
    """
    c2, c3 = real(c2, "c2", above=0, most=1), real(c3, "c3", above=0, most=1)
    if not is_traced(c2, c3) and (abs(2 - 3 * c2) < 1e-9 or c2 == c3):
        raise ValueError(
            f"No third-order method has the inner points c2 = {c2} and c3 = {c3}: they must differ "
            "and `c2` must not be 2/3."
        )
    gamma = (3 * c3**2 - 2 * c3) / (c2 * (2 - 3 * c2))

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        h = log(at.sigma / at.sigma_next)
        x_2 = first_order(x, denoised, c2 * h)
        change_2 = at.denoise(x_2, at.sigma * exp(-c2 * h)) - denoised
        a = gamma * c2 * phi(2, -c2 * h) + c3**2 / c2 * phi(2, -c3 * h)
        x_3 = first_order(x, denoised, c3 * h) + h * a * change_2
        change_3 = at.denoise(x_3, at.sigma * exp(-c3 * h)) - denoised
        change = (gamma * change_2 + change_3) / (gamma * c2 + c3)
        return first_order(x, denoised, h) + h * phi(2, -h) * change

    return step


def res_multistep() -> Sampler:
    """The exponential Adams-Bashforth method of two outputs.

        x_next = e^-h x + h (phi_1 + h/h_prev phi_2) D - h (h/h_prev) phi_2 D_prev

    Second order, one evaluation a step; first order on the first step, and the denoiser on the step
    to zero. Equals `dpmpp_2m("heun")`. Zhang et al. (2023), multistep RES.
    """
    # The same with weights that do not cancel on a short step.
    return dpmpp_2m_sde(0.0, solver_type="heun")
