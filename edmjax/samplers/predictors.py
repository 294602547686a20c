"""The predictors of Song et al. (2021): steps of the reverse SDE of a process.

A process is `dx = f(t) x dt + g(t) dW` (see `edmjax.processes`). For every `lam`, from the
probability flow (0) to the reverse diffusion (1), the equation

    dx = [f x - (1 + lam^2) / 2 g^2 score] dt + lam g dW,    time running down,

has the marginals of the process; the score is `(D - x) / sigma^2` in the package's frame.
`euler_maruyama` discretises it. The other two run the forward step of the process backwards:
between two times, with sigma above and sigma_next below, that step is exactly y = r y_next + G z in
the scale of the process, y = scale (x0 + sigma n), where

    r = scale / scale_next,    G^2 = scale^2 (sigma^2 - sigma_next^2).

With scale = 1 this is G_i^2 = sigma_i^2 - sigma_(i-1)^2, and where the variance is preserved
r = sqrt(1 - beta_i) and G^2 = beta_i: the discretisations of the paper, with the beta_i that keep
the marginals exact. The paper has beta(t) h, which is the same in the limit of many steps.
"""

from collections.abc import Callable
from typing import Any

from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.samplers._options import choice
from edmjax.samplers._process_time import ProcessTime, host_all
from edmjax.scalar import Scalar, is_zero, not_negative, sqrt, where


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
    process_time = None if process is None else ProcessTime(process)
    lam = not_negative(lam, "lam")
    final = choice(final, "final", "denoise", "mean")

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last and final == "denoise":
            return denoised
        if process_time is None:
            h, rescale, shrink, spread = at.sigma_next - at.sigma, 1.0, 0.0, sqrt(2 * at.sigma)
            slope = spread / at.sigma
        else:
            h, rescale, shrink, slope, spread = process_time(at)
        pull = (1 + lam**2) / 2 * slope**2 * h
        mean = rescale * ((1 + h * shrink + pull) * x - pull * denoised)
        quiet = final == "mean" and at.index == at.num_steps - 1
        if at.last or quiet or is_zero(lam):
            return mean
        at.forget()
        return mean + lam * spread * sqrt(-h) * at.noise(at.sigma, at.sigma_next)

    return step


def reverse_diffusion(process: Any = None, lam: Scalar = 1.0, final: str = "denoise") -> Sampler:
    """The reverse-diffusion predictor (Song et al. 2021, Appendix E, eq. 46).

        y' = (2 - r) y + (1 + lam^2) / 2 G^2 score + lam G noise

    in the scale of the process, where the score is `(D - x) / sigma^2 / scale`. In the paper
    `lam = 1`, and `lam = 0` is its probability-flow predictor. One evaluation a step and one draw,
    none with `lam = 0`; first order (weakly). Without `process`, or where the scale is constant, it
    is `x + (sigma^2 - sigma_next^2) score + sqrt(sigma^2 - sigma_next^2) noise`, which is
    `euler_maruyama` in a process whose time is sigma^2.

    Args:
        process: in whose scale to step; the grid may be any, such as `process.levels(times)`.
        lam: the strength of the noise, at least 0; may be traced.
        final: "denoise": the step to zero is the denoiser. "mean": the last step, wherever it ends,
            is the mean of a step like the others, without noise.

    Raises:
        TypeError: if `process` is not a process.
        ValueError: if `lam` is negative or NaN, or `final` is something else.
    """
    lam = not_negative(lam, "lam")
    rescale = _rescaling(process, final)

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last and final == "denoise":
            return denoised
        (r, _), ratio = rescale(at), at.sigma_next / at.sigma
        pull = (1 + lam**2) / 2 * (1 - ratio**2)
        mean = r * ((2 - r - pull) * x + pull * denoised)
        if _quiet(at, final) or is_zero(lam):
            return mean
        at.forget()
        spread = lam * r * at.sigma * sqrt(1 - ratio**2)
        return mean + spread * at.noise(at.sigma, at.sigma_next)

    return step


def ancestral_sampling(process: Any = None, final: str = "denoise") -> Sampler:
    """The ancestral predictor (Song et al. 2021, eq. 4 and Appendix F, eq. 47).

        y' = (y + G^2 score) / r + spread noise

    in the scale of the process; in the package's frame the mean is that of the posterior,
    `(sigma_next / sigma)^2 x + (1 - (sigma_next / sigma)^2) D`, whatever the process. The noise is
    the paper's: with a constant scale that of the posterior, `spread = G sigma_next / sigma` (eq.
    47), and otherwise that of the forward step, `spread = G` (eq. 4), the larger one of Ho et al.
    (2020). So without `process`, and in `processes.ve()`, it equals `ddpm()`. One evaluation a
    step and one draw but in the last; first order (weakly). For any inner sampler, see `ancestral`.

    Args:
        process: in whose scale to step; the grid may be any, such as `process.levels(times)`.
        final: as in `reverse_diffusion`; on a step to zero the mean is the denoiser.

    Raises:
        TypeError: if `process` is not a process.
        ValueError: if `final` is something else.
    """
    rescale = _rescaling(process, final)

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last:
            return denoised
        (r, constant), ratio = rescale(at), at.sigma_next / at.sigma
        mean = ratio**2 * x + (1 - ratio**2) * denoised
        if _quiet(at, final):
            return mean
        at.forget()
        forward = r * at.sigma * sqrt(1 - ratio**2)
        spread = where(constant, ratio * forward, forward)
        return mean + spread * at.noise(at.sigma, at.sigma_next)

    return step


def _rescaling(process: Any, final: str) -> Callable[[Step], tuple[Scalar, Scalar]]:
    """A function of the step: `(r, whether the scale is constant)`."""
    final = choice(final, "final", "denoise", "mean")
    if process is None:
        return lambda at: (1.0, True)
    process = ProcessTime(process).process

    def rescale(at: Step) -> tuple[Scalar, Scalar]:
        t, t_next = process.time(at.sigma), process.time(at.sigma_next)
        std = process.marginal(t)[1]
        scale, scale_next, std = host_all(process.scale(t), process.scale(t_next), std)
        # Near an infinite level times run out of digits, and the scale is std / sigma.
        r = where(at.sigma > 1e8, std / at.sigma, scale) / scale_next
        return r, scale == scale_next

    return rescale


def _quiet(at: Step, final: str) -> bool:
    """Whether a step is without noise: the one to zero, and with "mean" the last, wherever."""
    return at.last or (final == "mean" and at.index == at.num_steps - 1)
