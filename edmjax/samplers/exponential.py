"""Exponential Runge-Kutta and multistep methods on the denoised output, in `lambda = -log sigma`.

With `h = lambda_next - lambda` and `D_i` the output at the inner level `sigma^(1-c) sigma_next^c`,

    x_next = e^-h x + h sum_i b_i(-h) D_i

where the weights b_i satisfy the order conditions for stiff problems, written with `phi_k`:
Hochbruck and Ostermann (2005), "Explicit exponential Runge-Kutta methods for semilinear parabolic
problems". In diffusion they are the refined exponential solvers (RES) of Zhang et al. (2023),
"Improved order analysis and design of exponential integrator for diffusion models sampling".
`dpmpp_2s` satisfies the conditions only in the limit of small steps.

SEEDS is the same for the reverse stochastic differential equation, with `H = (1 + eta) h`. Over the
fraction c of a step it is solved by

    x(c) = e^-cH x + (1 + eta) int_0^ch e^(-(1 + eta) (ch - u)) D(u) du + N(c),
    N(c) of standard deviation sigma(c) sqrt(1 - e^(-2 eta c h)),    sigma(c) = sigma e^-ch

and the noises of the points inside a step are one process. With independent draws,

    N(c) = sigma(c) / sigma(b) e^(-eta (c - b) h) N(b) + sigma(c) sqrt(1 - e^(-2 eta (c - b) h)) z
"""

from edmjax._common.arguments import one_of, real
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._parts import first_order, phi, psi, to_denoised
from edmjax.samplers.dpmpp_sde import dpmpp_2m_sde
from edmjax.scalar import exp, expm1, is_traced, is_zero, log, not_negative, sqrt


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


def seeds_2(
    eta: Scalar = 1.0, s_noise: Scalar = 1.0, r: Scalar = 0.5, solver_type: str = "phi_1"
) -> Sampler:
    """SEEDS-2: two evaluations a step, on the denoised output.

        u      = e^-rH x + (1 - e^-rH) D + N(r)
        x_next = e^-H x + (1 - e^-H) D + b (D(u, sigma(r)) - D) + N(1),
        b = (1 - e^-H) / (2 r)  ("phi_1"),  or  (1 - (1 - e^-H) / H) / r  ("phi_2")

    Second order (weakly, and with `eta=0`, where "phi_1" is `dpmpp_sde(eta=0)`), two evaluations
    and two draws a step, no draw with `eta=0`; the denoiser on the step to zero, so n steps take
    2n - 1 evaluations. Gonzalez et al. (2023), SEEDS-2, for a denoised output and any `eta`.

    Args:
        eta: the strength of the noise, at least 0; may be traced.
        s_noise: the factor on the noise, at least 0; may be traced.
        r: where the inner point lies, in (0, 1]; may be traced.
        solver_type: the weight of the second output, "phi_1" or "phi_2".

    Raises:
        ValueError: if `eta` or `s_noise` is negative or NaN, `r` is outside (0, 1], or
            `solver_type` is something else.
    """
    eta, s_noise = not_negative(eta, "eta"), not_negative(s_noise, "s_noise")
    r = real(r, "r", above=0, most=1)
    solver_type = one_of(solver_type, "solver_type", ["phi_1", "phi_2"])

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        (h_inner, sigma_inner), (h, _) = stages = [_stage(at, r), _stage(at, 1.0)]
        n_inner, n_end = _noises(at, stages, eta, s_noise)
        u = first_order(x, denoised, (1 + eta) * h_inner) + n_inner
        change = at.denoise(u, sigma_inner) - denoised
        decay = (1 + eta) * h
        b = -expm1(-decay) / (2 * r) if solver_type == "phi_1" else psi(decay) / r
        return first_order(x, denoised, decay) + b * change + n_end

    return step


def seeds_3(
    eta: Scalar = 1.0, s_noise: Scalar = 1.0, r_1: Scalar = 1 / 3, r_2: Scalar = 2 / 3
) -> Sampler:
    """SEEDS-3: three evaluations a step, on the denoised output.

        u_1    = e^(-r_1 H) x + (1 - e^(-r_1 H)) D + N(r_1)
        u_2    = e^(-r_2 H) x + (1 - e^(-r_2 H)) D + r_2 / r_1 psi(r_2 H) (D_1 - D) + N(r_2)
        x_next = e^-H x + (1 - e^-H) D + 1 / r_2 psi(H) (D_2 - D) + N(1),
        psi(H) = 1 - (1 - e^-H) / H,   D_j the output at u_j

    Third order with `eta=0` and `r_2 = 2/3`, second order weakly; three evaluations and three draws
    a step, no draw with `eta=0`; the denoiser on the step to zero, so n steps take 3n - 2
    evaluations. Gonzalez et al. (2023), SEEDS-3, for a denoised output and any `eta`.

    Args:
        eta: the strength of the noise, at least 0; may be traced.
        s_noise: the factor on the noise, at least 0; may be traced.
        r_1: where the first inner point lies, in (0, 1); may be traced.
        r_2: where the second lies, in (r_1, 1]; may be traced.

    Raises:
        ValueError: if `eta` or `s_noise` is negative or NaN, or not `0 < r_1 < r_2 <= 1`.
    """
    eta, s_noise = not_negative(eta, "eta"), not_negative(s_noise, "s_noise")
    r_1, r_2 = real(r_1, "r_1", above=0, most=1), real(r_2, "r_2", above=0, most=1)
    if not is_traced(r_1, r_2) and not r_1 < r_2:
        raise ValueError(f"`r_1` must be below `r_2`, got {r_1} and {r_2}.")

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        stages = [_stage(at, c) for c in (r_1, r_2, 1.0)]
        (h_1, sigma_1), (h_2, sigma_2), (h, _) = stages
        n_1, n_2, n_end = _noises(at, stages, eta, s_noise)
        u = first_order(x, denoised, (1 + eta) * h_1) + n_1
        change = at.denoise(u, sigma_1) - denoised
        decay = (1 + eta) * h_2
        u = first_order(x, denoised, decay) + r_2 / r_1 * psi(decay) * change + n_2
        change = at.denoise(u, sigma_2) - denoised
        decay = (1 + eta) * h
        return first_order(x, denoised, decay) + psi(decay) / r_2 * change + n_end

    return step


def _stage(at: Step, c: Scalar) -> tuple[Scalar, Scalar]:
    """A point inside a step: its distance from the start in log sigma, and its level."""
    h = c * log(at.sigma / at.sigma_next)
    # The end is the grid's own level, which the exponential would round.
    return h, at.sigma_next if not is_traced(c) and c == 1 else at.sigma * exp(-h)


def _noises(
    at: Step, stages: list[tuple[Scalar, Scalar]], eta: Scalar, s_noise: Scalar
) -> list[Combination]:
    """N(c) at each stage, from one draw for each interval between them."""
    noise, noises = Combination({}), []
    quiet = is_zero(eta) or is_zero(s_noise)  # then nothing is drawn, and a history may stay
    if not quiet:
        at.forget()
    h, sigma = 0.0, at.sigma
    for h_to, sigma_to in stages:
        if not quiet:
            passed = eta * (h_to - h)
            spread = s_noise * sigma_to * sqrt(-expm1(-2 * passed))
            noise = sigma_to / sigma * exp(-passed) * noise
            noise += spread * at.noise(sigma, sigma_to)
            h, sigma = h_to, sigma_to
        noises.append(noise)
    return noises
