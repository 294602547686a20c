"""DPM-Solver: exponential integrators on the noise prediction, in `lambda = -log sigma`.

With `eps = (x - D) / sigma` and `h = lambda_next - lambda`, the probability flow is solved by

    x_next = x - sigma_next int_0^h e^(h - u) eps(u) du

and with `eps` a polynomial by `x - sigma_next (h phi_1(h) eps + h^2 phi_2(h) eps' + ...)`, where
`h phi_1(h) = e^h - 1`.
"""

from edmjax._common.arguments import one_of, real, whole
from edmjax._common.typing import Scalar
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._parts import differences, phi
from edmjax.samplers.runge_kutta import dpm_2_in_sigma, euler
from edmjax.scalar import exp, expm1, is_zero, log, not_negative, sqrt, where


def dpm_solver(order: int = 3, kind: str = "singlestep", start_order: int = 1) -> Sampler:
    """DPM-Solver of order 1, 2 or 3 on the noise prediction (Lu et al. 2022, DPM-Solver).

    `kind="singlestep"` takes `order` evaluations a step, inside it: Algorithm 1 with r_1 = 1/2, and
    Algorithm 2 with r_1 = 1/3 and r_2 = 2/3. `kind="multistep"` takes one evaluation a step and
    differences over the steps before,

        x_next = x - (sigma - sigma_next) (eps + h/2 eps')                                 order 2
        x_next = x - (sigma - sigma_next) eps - sigma_next (h^2 phi_2 eps' + h^3 phi_3 eps'')    3

    with eps'' the second derivative of the parabola (published code has half of it, and order 2).
    The denoiser on the step to zero. Order 1 is `euler()`, single-step order 2 is `dpm_2()`. A
    start of first order limits the multistep methods to order 2.

    Args:
        order: 1, 2 or 3.
        kind: "singlestep" or "multistep".
        start_order: 1 or 2, the order of the first multistep step. 2 costs one evaluation more, and
            order 3 is reached.

    Raises:
        TypeError: if an order is not an integer.
        ValueError: if an option is something else.
    """
    order, start_order = whole(order, "order", most=3), whole(start_order, "start_order", most=2)
    kind = one_of(kind, "kind", ["singlestep", "multistep"])
    if kind == "singlestep" or order == 1:
        return (euler(), dpm_2_in_sigma(), _third)[order - 1]
    start = (euler(), dpm_2_in_sigma())[start_order - 1]

    def step(x: Combination, at: Step) -> Combination:
        if not at.past:  # the first step, or the first after fresh noise
            return start(x, at)
        denoised = at.denoise(x, at.sigma)
        if at.last:
            return denoised
        eps = (x - denoised) / at.sigma
        past = [(old.x - old.denoised) / old.sigma for old in at.past[:2]]
        move = at.sigma_next - at.sigma
        if order == 2 or len(past) < 2:
            h, h_prev = log(at.sigma / at.sigma_next), log(at.past[0].sigma / at.sigma)
            return x + move * (eps + h / (2 * h_prev) * (eps - past[0]))
        h, slope, half = differences(at, eps, past)
        rest = h**2 * phi(2, h) * slope + 2 * h**3 * phi(3, h) * half
        return x + move * eps - at.sigma_next * rest

    return step


def dpm_fast(nfe: int, eta: Scalar = 0.0, s_noise: Scalar = 1.0) -> Sampler:
    """DPM-Solver-fast: single steps of order 3, with one or two of lower order at the end.

    It takes `nfe` evaluations in `nfe // 3 + 1` steps, whose orders are 3, ..., 3, 2, 1 if 3
    divides `nfe`, else 3, ..., 3, `nfe % 3`. `ej.schedules.dpm_fast(nfe)` is its grid: even in log
    sigma, that many steps, ending above zero. (On a grid that ends at zero the last step is the
    denoiser.) `eta` adds noise as `ancestral` does, but no step goes below the last level; one draw
    a step, none on the last. Third order if `nfe % 3` is 2; else the last step, of first order,
    limits it to 2. Lu et al. (2022, DPM-Solver), "DPM-Solver-fast"; equals k-diffusion's
    `sample_dpm_fast`.

    Args:
        nfe: the number of evaluations, at least 1.
        eta: the strength of the noise, in [0, 1]; may be traced.
        s_noise: the factor on the noise, at least 0; may be traced.

    Raises:
        TypeError: if `nfe` is not an integer.
        ValueError: if `nfe` is below 1, `eta` outside [0, 1] or `s_noise` negative; in `make_plan`,
            if the grid has another number of steps.
    """
    nfe = whole(nfe, "nfe")
    eta, s_noise = real(eta, "eta", least=0, most=1), not_negative(s_noise, "s_noise")
    full, rest = divmod(nfe, 3)
    last = {0: [dpm_2_in_sigma(), euler()], 1: [euler()], 2: [dpm_2_in_sigma()]}[rest]
    steps = [_third] * (full if rest else full - 1) + last

    def step(x: Combination, at: Step) -> Combination:
        if at.num_steps != len(steps):
            raise ValueError(
                f"`dpm_fast({nfe})` takes {len(steps)} steps, nfe // 3 + 1, got a grid of "
                f"{at.num_steps}."
            )
        inner = steps[at.index]
        if is_zero(eta) or at.index == at.num_steps - 1:
            return inner(x, at)
        up = eta * at.sigma_next * sqrt(1 - (at.sigma_next / at.sigma) ** 2)
        down, lowest = sqrt(at.sigma_next**2 - up**2), at.levels[-1]
        down = where(down < lowest, lowest, down)  # as in k-diffusion
        x = inner(x, at._replace(sigma_next=down))
        at.forget()
        up = sqrt(at.sigma_next**2 - down**2)
        return x + s_noise * up * at.noise(at.sigma, at.sigma_next)

    return step


def _third(x: Combination, at: Step) -> Combination:
    """DPM-Solver-3 with r_1 = 1/3 and r_2 = 2/3."""
    denoised = at.denoise(x, at.sigma)
    if at.last:
        return denoised
    h = log(at.sigma / at.sigma_next)
    sigma_1, sigma_2 = at.sigma * exp(-h / 3), at.sigma * exp(-2 * h / 3)
    eps = (x - denoised) / at.sigma
    x_1 = x - sigma_1 * expm1(h / 3) * eps
    change_1 = (x_1 - at.denoise(x_1, sigma_1)) / sigma_1 - eps
    # r_2 / r_1 (phi_1(r_2 h) - 1) = 2 (2 h / 3) phi_2(2 h / 3), and h phi_2(h) likewise.
    bend = 4 * h / 3 * phi(2, 2 * h / 3)
    x_2 = x - sigma_2 * (expm1(2 * h / 3) * eps + bend * change_1)
    change_2 = (x_2 - at.denoise(x_2, sigma_2)) / sigma_2 - eps
    return x - at.sigma_next * (expm1(h) * eps + 1.5 * h * phi(2, h) * change_2)
