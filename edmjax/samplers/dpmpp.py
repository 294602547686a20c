"""DPM-Solver++: exponential integrators on the denoised output, in `lambda = -log sigma`.

With `h = lambda_next - lambda`, the probability flow is solved exactly by

    x_next = e^-h x + int_0^h e^(u - h) D(u) du,    e^-h = sigma_next / sigma

and the methods differ in how they extrapolate `D` over the step.
"""

from edmjax.combination import Combination
from edmjax.scalar import log
from edmjax.step import Sampler, Step


def dpmpp_2m() -> Sampler:
    """DPM-Solver++(2M): the second-order multistep method.

        D' = D + h / (2 h_prev) (D - D_prev)
        x_next = r x + (1 - r) D',    r = sigma_next / sigma

    Second order, one evaluation a step; first order on the first step and on the step to zero,
    where it is the denoiser. Lu et al. (2022, DPM-Solver++), Algorithm 2.
    """

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last:
            return denoised
        if at.past:
            previous = at.past[0]
            h, h_prev = log(at.sigma / at.sigma_next), log(previous.sigma / at.sigma)
            denoised = denoised + h / (2 * h_prev) * (denoised - previous.denoised)
        r = at.sigma_next / at.sigma
        return r * x + (1 - r) * denoised

    return step
