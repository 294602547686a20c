"""Heun++: a mean of slopes at this level and the next two, weighted by the levels."""

from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.scalar import where


def heunpp2() -> Sampler:
    """Heun++ 2, which looks one level past the next (sd-webui-samplers-scheduler).

        x_1 = x + (sigma_1 - sigma) d(x, sigma),    x_2 = x_1 + (sigma_2 - sigma_1) d(x_1, sigma_1)
        w_1 = sigma_1 / (3 sigma_max),    w_2 = sigma_2 / (3 sigma_max)
        d' = d + w_1 (d(x_1, sigma_1) - d) + w_2 (d(x_2, sigma_2) - d)
        x_next = x + (sigma_1 - sigma) d'

    with d = (x - D) / sigma, sigma_1 and sigma_2 the next two levels of the grid, and sigma_max the
    largest. The step before the last has one term less, with `w_1 = sigma_1 / (2 sigma_max)`; the
    last is Euler, at zero the denoiser. So n steps take 3n - 3 evaluations (1 for n = 1).

    First order: the weights are those of no method of second order, since they depend on how far
    the levels are below the largest and not on the length of the step.
    """

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last:
            return denoised
        d, h = (x - denoised) / at.sigma, at.sigma_next - at.sigma
        after = at.levels[at.index + 2 : at.index + 4]
        if not after:
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
