"""SEEDS: exponential Runge-Kutta methods for the reverse stochastic differential equation.

In `lambda = -log sigma`, with `h = lambda_next - lambda` and `H = (1 + eta) h`, the reverse SDE is
solved over the fraction c of a step by

    x(c) = e^-cH x + (1 + eta) int_0^ch e^(-(1 + eta) (ch - u)) D(u) du + N(c),
    N(c) of standard deviation sigma(c) sqrt(1 - e^(-2 eta c h)),    sigma(c) = sigma e^-ch

and the noises of the points inside a step are one process. With independent draws,

    N(c) = sigma(c) / sigma(b) e^(-eta (c - b) h) N(b) + sigma(c) sqrt(1 - e^(-2 eta (c - b) h)) z
"""

from edmjax._common.arguments import one_of, real
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._parts import first_order, psi, to_denoised
from edmjax.scalar import exp, expm1, is_traced, is_zero, log, not_negative, sqrt


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
        inner, end = _Stage(at, r), _Stage(at, 1.0)
        n_inner, n_end = _noises(at, [inner, end], eta, s_noise)
        u = first_order(x, denoised, (1 + eta) * inner.h) + n_inner
        change = at.denoise(u, inner.sigma) - denoised
        decay = (1 + eta) * end.h
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
        one, two, end = stages = [_Stage(at, r_1), _Stage(at, r_2), _Stage(at, 1.0)]
        n_1, n_2, n_end = _noises(at, stages, eta, s_noise)
        u = first_order(x, denoised, (1 + eta) * one.h) + n_1
        change = at.denoise(u, one.sigma) - denoised
        decay = (1 + eta) * two.h
        u = first_order(x, denoised, decay) + r_2 / r_1 * psi(decay) * change + n_2
        change = at.denoise(u, two.sigma) - denoised
        decay = (1 + eta) * end.h
        return first_order(x, denoised, decay) + psi(decay) / r_2 * change + n_end

    return step


class _Stage:
    """A point inside a step: its distance from the start in log sigma, and its level."""

    def __init__(self, at: Step, c: Scalar):
        self.h = c * log(at.sigma / at.sigma_next)
        is_end = not is_traced(c) and c == 1
        self.sigma = at.sigma_next if is_end else at.sigma * exp(-self.h)


def _noises(at: Step, stages: list[_Stage], eta: Scalar, s_noise: Scalar) -> list[Combination]:
    """N(c) at each stage, from one draw for each interval between them."""
    noise, noises = Combination({}), []
    quiet = is_zero(eta) or is_zero(s_noise)
    if not quiet:
        at.forget()
    sigma, h = at.sigma, 0.0
    for stage in stages:
        if not quiet:
            passed = eta * (stage.h - h)
            spread = s_noise * stage.sigma * sqrt(-expm1(-2 * passed))
            noise = stage.sigma / sigma * exp(-passed) * noise
            noise += spread * at.noise(sigma, stage.sigma)
            sigma, h = stage.sigma, stage.h
        noises.append(noise)
    return noises
