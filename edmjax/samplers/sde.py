"""Euler-Maruyama on the reverse stochastic differential equation of a process.

A process is `dx = f(t) x dt + g(t) dW` (see `edmjax.processes`). With `lam` between the probability
flow (0) and the reverse diffusion (1), and time running down,

    dx = [f x - (1 + lam^2) / 2 g^2 score] dt + lam g dW,    score = (D - x) / sigma^2 in our frame,

has the marginals of the process for every `lam`.
"""

from typing import Any

from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._own_time import OwnTime
from edmjax.scalar import Scalar, is_zero, not_negative, sqrt


def euler_maruyama(process: Any = None, lam: Scalar = 1.0, final: str = "denoise") -> Sampler:
    """Euler-Maruyama on the reverse SDE, in the time and the scale of a process.

        x' = x + h [f x - (1 + lam^2) / 2 g^2 score] + lam g sqrt(-h) noise,    h = t_next - t

    for points `x = scale (x0 + sigma n)` of the process. Without `process` it is `processes.edm`,
    whose time is sigma: `x' = x + (1 + lam^2) h (x - D) / sigma + lam sqrt(-2 sigma h) noise`.
    First order (weakly), one evaluation and one draw a step, no draw with `lam = 0`; in the edm
    process that is `euler()`. Song et al. (2021), eq. 6; Karras et al. (2022), eq. 6, for `lam`.

    Args:
        process: whose time and scale to step in. A grid from `process.levels(times)` steps from one
            of its times to the next; other levels are taken to their times in the process.
        lam: the strength of the noise, at least 0; may be traced.
        final: "denoise": the step to zero is the denoiser. "mean": the last step, wherever it ends,
            is the mean of a step like the others, without noise.

    Raises:
        TypeError: if `process` is not a process.
        ValueError: if `lam` is negative or NaN, or `final` is something else; if with "mean" the
            grid ends at 0, where the process has no time.
    """
    own_time = None if process is None else OwnTime(process)
    lam = not_negative(lam, "lam")
    if final not in ("denoise", "mean"):
        raise ValueError(f"`final` must be 'denoise' or 'mean', got {final!r}.")

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last and final == "denoise":
            return denoised
        if own_time is None:
            h, rescale, shrink, spread = at.sigma_next - at.sigma, 1.0, 0.0, sqrt(2 * at.sigma)
            slope = spread / at.sigma
        else:
            h, rescale, shrink, slope, spread = own_time(at)
        pull = (1 + lam**2) / 2 * slope**2 * h
        mean = rescale * ((1 + h * shrink + pull) * x - pull * denoised)
        quiet = final == "mean" and at.index == at.num_steps - 1
        if at.last or quiet or is_zero(lam):
            return mean
        at.forget()
        return mean + lam * spread * sqrt(-h) * at.noise(at.sigma, at.sigma_next)

    return step
