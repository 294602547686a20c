"""One-step methods for the probability flow `dx/dsigma = (x - D(x, sigma)) / sigma`.

Each step starts from the point alone and keeps no history. On the levels of a flow the methods of
second order step in the flow's time; see `edmjax.samplers.flow_time`.
"""

from collections.abc import Callable

from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._parts import interpolated, to_denoised
from edmjax.samplers.flow_time import by_time_in_a_flow
from edmjax.scalar import Scalar, sqrt, where


def euler() -> Sampler:
    """Euler's method on the probability flow, which is DDIM with eta = 0.

        x_next = r x + (1 - r) D(x, sigma),    r = sigma_next / sigma

    First order, one evaluation a step. In this form the step to zero is the denoiser itself.
    Karras et al. (2022), Algorithm 1 without its correction; Song et al. (2021, DDIM), eq. 13.
    """

    def step(x: Combination, at: Step) -> Combination:
        return interpolated(x, at.denoise(x, at.sigma), at.sigma_next / at.sigma)

    return step


def heun() -> Sampler:
    """Heun's method on the probability flow (Karras et al. 2022, Algorithm 1).

        d = (x - D(x, sigma)) / sigma
        x' = x + h d,    h = sigma_next - sigma
        x_next = x + h/2 (d + (x' - D(x', sigma_next)) / sigma_next)

    Second order, two evaluations a step; Euler on the step to zero, so n steps take 2n - 1. With
    `churn`, Algorithm 2. On the levels of a flow, in the flow's time.
    """

    @by_time_in_a_flow
    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        h = at.sigma_next - at.sigma
        d = (x - denoised) / at.sigma
        x_euler = x + h * d
        d_next = (x_euler - at.denoise(x_euler, at.sigma_next)) / at.sigma_next
        return x + h / 2 * (d + d_next)

    return step


def dpm_2() -> Sampler:
    """DPM-Solver-2: the midpoint rule with the midpoint in log sigma.

        sigma_mid = sqrt(sigma sigma_next)
        x_mid = x + (sigma_mid - sigma) (x - D(x, sigma)) / sigma
        x_next = x + (sigma_next - sigma) (x_mid - D(x_mid, sigma_mid)) / sigma_mid

    Second order, two evaluations a step; Euler on the step to zero, so n steps take 2n - 1.
    On the levels of a flow, in the flow's time (`dpm_solver(2)` stays in sigma).

    Lu et al. (2022, DPM-Solver), Algorithm 1 with r_1 = 1/2; Karras et al. (2022), eq. 64 with
    `sigma` in place of `t`.
    """
    return by_time_in_a_flow(dpm_2_in_sigma())


def dpm_2_in_sigma() -> Sampler:
    return _through(lambda at: sqrt(at.sigma * at.sigma_next))


def midpoint() -> Sampler:
    """The explicit midpoint rule, with the midpoint in sigma.

        sigma_mid = (sigma + sigma_next) / 2
        x_mid = x + (sigma_mid - sigma) (x - D(x, sigma)) / sigma
        x_next = x + (sigma_next - sigma) (x_mid - D(x_mid, sigma_mid)) / sigma_mid

    Second order, two evaluations a step; Euler on the step to zero, so n steps take 2n - 1.
    On the levels of a flow, in the flow's time. Karras et al. (2022), Algorithm 3 with alpha = 1/2.
    """
    return by_time_in_a_flow(_through(lambda at: (at.sigma + at.sigma_next) / 2))


def _through(middle: Callable[[Step], Scalar]) -> Sampler:
    """The midpoint rule, with its midpoint at the level `middle(at)`."""

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        d = (x - denoised) / at.sigma
        sigma_mid = middle(at)
        x_mid = x + (sigma_mid - at.sigma) * d
        d_mid = (x_mid - at.denoise(x_mid, sigma_mid)) / sigma_mid
        return x + (at.sigma_next - at.sigma) * d_mid

    return step


def heunpp2() -> Sampler:
    """Heun++ 2, which looks one level past the next (sd-webui-samplers-scheduler).

        x_1 = x + (sigma_1 - sigma) d(x, sigma),    x_2 = x_1 + (sigma_2 - sigma_1) d(x_1, sigma_1)
        w_1 = sigma_1 / (3 sigma_max),    w_2 = sigma_2 / (3 sigma_max)
        d' = d + w_1 (d(x_1, sigma_1) - d) + w_2 (d(x_2, sigma_2) - d)
        x_next = x + (sigma_1 - sigma) d'

    with d = (x - D) / sigma, sigma_1 and sigma_2 the next two levels of the grid, and sigma_max the
    largest level. The step before the last has one term less, with `w_1 = sigma_1 / (2 sigma_max)`;
    the last step is Euler's, to zero the denoiser. So n steps take 3n - 3 evaluations (1 for n =
    1).

    First order: a method of second order has weights that depend on the length of the step, and
    these depend on how far the levels are below the largest one. On the levels of a flow, in
    the flow's time.
    """

    @by_time_in_a_flow
    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        d, h = (x - denoised) / at.sigma, at.sigma_next - at.sigma
        after = at.levels[at.index + 2 : at.index + 4]
        if not after:  # the last step of a grid that ends above zero
            return x + h * d
        x_1 = x + h * d
        d_1 = (x_1 - at.denoise(x_1, at.sigma_next)) / at.sigma_next
        first, final = at.levels[0], at.levels[-1]
        sigma_max = where(first > final, first, final)
        if len(after) == 1:
            w_1 = at.sigma_next / (2 * sigma_max)
            return x + h * (d + w_1 * (d_1 - d))
        sigma_2 = after[0]
        x_2 = x_1 + (sigma_2 - at.sigma_next) * d_1
        d_2 = (x_2 - at.denoise(x_2, sigma_2)) / sigma_2
        w_1, w_2 = at.sigma_next / (3 * sigma_max), sigma_2 / (3 * sigma_max)
        return x + h * (d + w_1 * (d_1 - d) + w_2 * (d_2 - d))

    return step
