"""Euler's method with two outputs of an evaluation: one to step to, one for the noise."""

from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step


def euler_cfg_pp() -> Sampler:
    """DDIM that adds the noise of the raw output back to the denoised one.

        x_next = x0 + sigma_next (x - raw) / sigma

    With `ej.guidance.cfg_pp` x0 is guided and raw unconditional: CFG++. With `ej.guidance.clip` or
    `dynamic_threshold` x0 is thresholded and raw not: DDIM with a clipped x0 and the unclipped eps.
    With a denoiser of one output it is `euler()`. One evaluation a step; x0 itself on the step to
    zero. `ancestral(euler_cfg_pp(), eta)` adds DDIM's noise.

    First order around a denoiser of one output. CFG++ solves no equation that stays the same as
    steps get shorter: its step is that of `euler()` guided by `lambda / (1 - sigma_next / sigma)`,
    so a given lambda guides more strongly the more steps there are.

    Chung et al. (2024, CFG++), Algorithm 2, in the frame of sigma.
    """

    def step(x: Combination, at: Step) -> Combination:
        x0, raw = at.denoise(x, at.sigma, raw=True)
        return x0 + at.sigma_next / at.sigma * (x - raw)

    return step
