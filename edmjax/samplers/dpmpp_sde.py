"""DPM-Solver++ for the reverse stochastic differential equation, in `lambda = -log sigma`.

With `h = lambda_next - lambda` and `H = (1 + eta) h`, the reverse SDE of strength `eta` has the
solution

    x_next = e^-H x + (1 + eta) int_0^h e^(-(1 + eta) (h - u)) D(u) du
             + sigma_next sqrt(1 - e^(-2 eta h)) noise

which has the marginals of the data for every `eta`: 0 is the probability flow, 1 the reversed
diffusion. The methods differ in how they extrapolate `D` over the step. Multistep methods
extrapolate across their own noise, which makes them second order, so they keep their history.
"""

from edmjax._common.arguments import one_of, real
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._parts import first_order, fresh_noise, interpolated, phi, psi, to_denoised
from edmjax.samplers.dpmpp import Lowered
from edmjax.scalar import exp, expm1, flag, is_zero, log, not_negative, sqrt


def dpmpp_2m_sde(
    eta: Scalar = 1.0,
    s_noise: Scalar = 1.0,
    solver_type: str = "midpoint",
    *,
    lower_order_final: bool = False,
    euler_at_final: bool = False,
) -> Sampler:
    """DPM-Solver++(2M) for the SDE: the second-order multistep method.

        q = h / h_prev (D - D_prev)
        x_next = e^-H x + (1 - e^-H) D + b q + s_noise sigma_next sqrt(1 - e^(-2 eta h)) noise,
        b = (1 - e^-H) / 2  ("midpoint"),  or  1 - (1 - e^-H) / H  ("heun", exact for linear D)

    Second order (weakly, and strongly with `eta=0`, where "midpoint" is `dpmpp_2m()`); one
    evaluation and one draw a step, no draw with `eta=0`. The first step is of first order, the
    step to zero the denoiser. Lu et al. (2022, DPM-Solver++), Section 5, there for eta = 1.

    Args:
        eta: the strength of the noise, at least 0; may be traced.
        s_noise: the factor on the noise, at least 0; may be traced.
        solver_type: "midpoint" or "heun".
        lower_order_final: takes a last step of first order on grids of fewer than 15 steps, as in
            diffusers; seen where the grid ends above zero.
        euler_at_final: takes a last step of first order on every grid.

    Raises:
        ValueError: if `eta` or `s_noise` is negative or NaN, or `solver_type` is something else.
    """
    solver_type = one_of(solver_type, "solver_type", ["midpoint", "heun"])
    lowered = Lowered.of(lower_order_final, euler_at_final)
    return _multistep(2, eta, s_noise, solver_type == "heun", lowered)


def dpmpp_3m_sde(
    eta: Scalar = 1.0,
    s_noise: Scalar = 1.0,
    corrected: bool = False,
    *,
    lower_order_final: bool = False,
    euler_at_final: bool = False,
) -> Sampler:
    """DPM-Solver++(3M) for the SDE: three outputs a step.

        q_0 = h / h_1 (D - D_1),   q_1 = h / h_2 (D_1 - D_2)
        d_1 = q_0 + h_1 / (h_1 + h_2) (q_0 - q_1),   d_2 = h / (h_1 + h_2) (q_0 - q_1)
        x_next = e^-H x + (1 - e^-H) D + H phi_2(-H) d_1 + H phi_3(-H) d_2
                 + s_noise sigma_next sqrt(1 - e^(-2 eta h)) noise

    with `h_1`, `h_2` the steps before. The published `d_2` is half of its term in the Taylor
    expansion of D, so the method is of second order, weakly and with `eta=0`. With `corrected` it
    is twice as large: third order with `eta=0` and exact starting values, second order weakly. One
    evaluation and one draw a step, no draw with `eta=0`; orders 1 and 2 on the first two steps, the
    denoiser on the step to zero. Lu et al. (2022, DPM-Solver++), Appendix B, with `eta` as in
    k-diffusion.

    Args:
        eta: the strength of the noise, at least 0; may be traced.
        s_noise: the factor on the noise, at least 0; may be traced.
        corrected: whether `d_2` has its size in the Taylor expansion, as in `dpmpp_3m`.
        lower_order_final: on grids of fewer than 15 steps, takes a last step of first order and one
            of second order before it.
        euler_at_final: takes a last step of first order on every grid.

    Raises:
        ValueError: if `eta` or `s_noise` is negative or NaN.
    """
    lowered = Lowered.of(lower_order_final, euler_at_final)
    return _multistep(3, eta, s_noise, True, lowered, flag(corrected, "corrected"))


def _multistep(
    order: int,
    eta: Scalar,
    s_noise: Scalar,
    exact: bool,
    lowered: Lowered,
    corrected: bool = False,
) -> Sampler:
    """The method of `order` outputs, 2 or 3; with `exact` the weight of `d_1` is `psi`."""
    eta, s_noise = not_negative(eta, "eta"), not_negative(s_noise, "s_noise")

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        h = log(at.sigma / at.sigma_next)
        decay = (1 + eta) * h
        x = first_order(x, denoised, decay)
        if at.past and not lowered.to(1, at):
            one = at.past[0]
            h_1 = log(one.sigma / at.sigma)
            d_1 = h / h_1 * (denoised - one.denoised)
            if order == 3 and len(at.past) > 1 and not lowered.to(2, at):
                two = at.past[1]
                h_2 = log(two.sigma / one.sigma)
                change = (d_1 - h / h_2 * (one.denoised - two.denoised)) / (h_1 + h_2)
                d_1 = d_1 + h_1 * change
                d_2 = (2 if corrected else 1) * h * change
                x += decay * phi(3, -decay) * d_2
            x += d_1 * (psi(decay) if exact else -expm1(-decay) / 2)
        return x + fresh_noise(at, eta, s_noise)

    return step


def dpmpp_sde(
    eta: Scalar = 1.0, s_noise: Scalar = 1.0, r: Scalar = 0.5, noise: str = "brownian"
) -> Sampler:
    """DPM-Solver++(2S) for the SDE: a point inside the step, at the fraction `r` in log sigma.

        sigma_mid = sigma^(1 - r) sigma_next^r
        u      = the ancestral Euler step from (x, sigma) to sigma_mid, with D
        x_next = the ancestral Euler step from (x, sigma) to sigma_next, with
                 D' = (1 - 1 / (2 r)) D + 1 / (2 r) D(u, sigma_mid)

    where the ancestral step goes to `sigma_down` and adds noise of size `sigma_up`, as `ancestral`
    does. Two evaluations and two draws a step; the denoiser on the step to zero, so n steps take
    2n - 1 evaluations. With `eta=0` DPM-Solver++(2S), second order, without draws. Second order
    (weakly) with "brownian", first with "independent". k-diffusion's `sample_dpmpp_sde`; Lu et al.
    (2022, DPM-Solver++), Algorithm 1, for the flow.

    Args:
        eta: the strength of the noise, in [0, 1]; may be traced.
        s_noise: the factor on the noise, at least 0; may be traced.
        r: where the point lies, in (0, 1]; may be traced.
        noise: "brownian": the noise of the inner point is the first part of the noise of the step,
            as on one Brownian path in sigma; "independent": the two are independent.

    Raises:
        ValueError: if `eta` is outside [0, 1], `r` outside (0, 1], `s_noise` negative or NaN, or
            `noise` something else.
    """
    eta, r = real(eta, "eta", least=0, most=1), real(r, "r", above=0, most=1)
    s_noise = not_negative(s_noise, "s_noise")
    noise = one_of(noise, "noise", ["brownian", "independent"])
    quiet = is_zero(eta) or is_zero(s_noise)

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        sigma_mid = exp((1 - r) * log(at.sigma) + r * log(at.sigma_next))

        def ancestral_step(denoised: Combination, sigma_to: Scalar, z: Combination | None):
            up = eta * sigma_to * sqrt(1 - (sigma_to / at.sigma) ** 2)
            ratio = sqrt(sigma_to**2 - up**2) / at.sigma
            mean = interpolated(x, denoised, ratio)
            return mean if z is None else mean + s_noise * up * z

        z_mid, z = (None, None) if quiet else draws(at, sigma_mid)
        denoised_mid = at.denoise(ancestral_step(denoised, sigma_mid, z_mid), sigma_mid)
        mixed = denoised + (denoised_mid - denoised) / (2 * r)
        return ancestral_step(mixed, at.sigma_next, z)

    def draws(at: Step, sigma_mid: Scalar) -> tuple[Combination, Combination]:
        """The unit-variance noises of the inner point and of the step."""
        at.forget()  # both points of the step carry noise that no earlier output has seen
        if noise == "independent":
            return at.noise(), at.noise()
        first, second = at.noise(at.sigma, sigma_mid), at.noise(sigma_mid, at.sigma_next)
        # The parts of one Brownian path in sigma add up to the noise of the whole step.
        path = sqrt(at.sigma - sigma_mid) * first + sqrt(sigma_mid - at.sigma_next) * second
        return first, path / sqrt(at.sigma - at.sigma_next)

    return step
