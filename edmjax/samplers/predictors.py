"""The predictors of Song et al. (2021): steps of the reverse SDE of a process.

A process is `dx = f(t) x dt + g(t) dW` (see `edmjax.processes`). For every `eta`, from the
probability flow (0) to the reverse diffusion (1), the equation

    dx = [f x - (1 + eta^2) / 2 g^2 score] dt + eta g dW,    time running down,

has the marginals of the process; the score is `(D - x) / sigma^2` in the package's frame.
`euler_maruyama` discretises it. The other two run the forward step of the process backwards:
between two times, with sigma above and sigma_next below, that step is exactly y = r y_next + G z in
the scale of the process, y = scale (x0 + sigma n), where

    r = scale / scale_next,    G^2 = scale^2 (sigma^2 - sigma_next^2).

With scale = 1 this is G_i^2 = sigma_i^2 - sigma_(i-1)^2, and where the variance is preserved
r = sqrt(1 - beta_i) and G^2 = beta_i: the discretisations of the paper, with the beta_i that keep
the marginals exact. The paper has beta(t) h, which is the same in the limit of many steps.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from edmjax._common.arguments import one_of
from edmjax._common.deprecation import renamed, renamed_words
from edmjax._common.typing import Scalar, Values
from edmjax.planning.point import Combination
from edmjax.planning.step import Sampler, Step
from edmjax.processes.process import Process, check_process
from edmjax.samplers._parts import interpolated, to_denoised
from edmjax.scalar import host, is_traced, is_zero, not_negative, sqrt, where


@renamed(lam="eta")
@renamed_words("final", mean="method")
def euler_maruyama(
    process: Process | None = None,
    eta: Scalar = 1.0,
    final: str = "denoise",
    *,
    s_noise: Scalar = 1.0,
) -> Sampler:
    """Euler-Maruyama on the reverse SDE, in the time and the scale of a process.

        x' = x + h [f x - (1 + eta^2) / 2 g^2 score] + eta g sqrt(-h) noise,    h = t_next - t

    for points `x = scale (x0 + sigma n)` of the process. Without `process` it is `processes.edm`,
    whose time is sigma: `x' = x + (1 + eta^2) h (x - D) / sigma + eta sqrt(-2 sigma h) noise`.
    First order (weakly), one evaluation and one draw a step, no draw with `eta = 0`; in the edm
    process that is `euler()`. Song et al. (2021), eq. 6; Karras et al. (2022), eq. 6, for `eta`.

    Args:
        process: the process in whose time and scale to step. A grid from `process.levels(times)`
            steps from one of its times to the next; other levels are converted to times.
        eta: the strength of the noise, at least 0, the factor on g (lambda in some papers); may be
            traced. Its square is the `eta` of `dpmpp_2m_sde`.
        final: the last step. "denoise": if it leads to zero, it is the denoiser. "method": wherever
            it ends, it is the mean of a step like the others, without noise.
        s_noise: the factor on the noise, at least 0; may be traced.

    Raises:
        TypeError: if `process` is not a process.
        ValueError: if `eta` or `s_noise` is negative or NaN, or `final` is something else; if with
            "method" the grid ends at 0, where the process has no time.
    """
    move = _plain_move if process is None else _move_in(process)
    eta, s_noise = not_negative(eta, "eta"), not_negative(s_noise, "s_noise")
    final = one_of(final, "final", ["denoise", "method"])

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last and final == "denoise":
            return denoised
        h, rescale, shrink, slope, spread = move(at)
        pull = (1 + eta**2) / 2 * slope**2 * h
        mean = rescale * ((1 + h * shrink + pull) * x - pull * denoised)
        if _quiet(at, final) or is_zero(eta) or is_zero(s_noise):
            return mean
        at.forget()
        return mean + s_noise * eta * spread * sqrt(-h) * at.noise(at.sigma, at.sigma_next)

    return step


@renamed(lam="eta")
@renamed_words("final", mean="method")
def reverse_diffusion(
    process: Process | None = None,
    eta: Scalar = 1.0,
    final: str = "denoise",
    *,
    s_noise: Scalar = 1.0,
) -> Sampler:
    """The reverse-diffusion predictor (Song et al. 2021, Appendix E, eq. 46).

        y' = (2 - r) y + (1 + eta^2) / 2 G^2 score + eta G noise

    in the scale of the process, where the score is `(D - x) / sigma^2 / scale`. In the paper
    `eta = 1`, and `eta = 0` is its probability-flow predictor. One evaluation a step and one draw,
    none with `eta = 0`; first order (weakly). Without `process`, or if the scale is constant, it is
    `x + (sigma^2 - sigma_next^2) score + sqrt(sigma^2 - sigma_next^2) noise`, which is
    `euler_maruyama` in a process whose time is sigma^2.

    Args:
        process: the process in whose scale to step; any grid will do, such as
            `process.levels(times)`.
        eta: the strength of the noise, as in `euler_maruyama`.
        final: the last step, as in `euler_maruyama`.
        s_noise: the factor on the noise, at least 0; may be traced.

    Raises:
        TypeError: if `process` is not a process.
        ValueError: if `eta` or `s_noise` is negative or NaN, or `final` is something else.
    """
    eta, s_noise = not_negative(eta, "eta"), not_negative(s_noise, "s_noise")
    rescale = _rescaling(process, final)

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        if at.last and final == "denoise":
            return denoised
        (r, _), ratio = rescale(at), at.sigma_next / at.sigma
        pull = (1 + eta**2) / 2 * (1 - ratio**2)
        mean = r * ((2 - r - pull) * x + pull * denoised)
        if _quiet(at, final) or is_zero(eta) or is_zero(s_noise):
            return mean
        at.forget()
        spread = s_noise * eta * r * at.sigma * sqrt(1 - ratio**2)
        return mean + spread * at.noise(at.sigma, at.sigma_next)

    return step


@renamed_words("final", mean="method")
def ancestral_sampling(
    process: Process | None = None, final: str = "denoise", *, s_noise: Scalar = 1.0
) -> Sampler:
    """The ancestral predictor (Song et al. 2021, eq. 4 and Appendix F, eq. 47).

        y' = (y + G^2 score) / r + spread noise

    in the scale of the process. In the package's frame the mean is the posterior's,
    `(sigma_next / sigma)^2 x + (1 - (sigma_next / sigma)^2) D`, for every process. The noise is the
    paper's: if the scale is constant, the posterior's, `spread = G sigma_next / sigma` (eq. 47);
    otherwise the noise of the forward step, `spread = G` (eq. 4), the larger one of Ho et al.
    (2020). So without `process`, and in `processes.ve()`, it equals `ddpm()`. One evaluation a step
    and one draw, none in the last; first order (weakly). For any inner sampler, see `ancestral`.

    Args:
        process: the process in whose scale to step; any grid will do, such as
            `process.levels(times)`.
        final: as in `euler_maruyama`; on a step to zero the mean is the denoiser.
        s_noise: the factor on the noise, at least 0; may be traced.

    Raises:
        TypeError: if `process` is not a process.
        ValueError: if `s_noise` is negative or NaN, or `final` is something else.
    """
    s_noise = not_negative(s_noise, "s_noise")
    rescale = _rescaling(process, final)

    @to_denoised
    def step(x: Combination, denoised: Combination, at: Step) -> Combination:
        (r, constant), ratio = rescale(at), at.sigma_next / at.sigma
        mean = interpolated(x, denoised, ratio**2)
        if _quiet(at, final):
            return mean
        at.forget()
        forward = r * at.sigma * sqrt(1 - ratio**2)
        spread = where(constant, ratio * forward, forward)
        return mean + s_noise * spread * at.noise(at.sigma, at.sigma_next)

    return step


def _rescaling(process: Process | None, final: str) -> Callable[[Step], tuple[Scalar, Scalar]]:
    """A function of the step: `(r, whether the scale is constant)`."""
    one_of(final, "final", ["denoise", "method"])
    if process is None:
        return lambda at: (1.0, True)
    check_process(process)

    def rescale(at: Step) -> tuple[Scalar, Scalar]:
        t, t_next = process.time(at.sigma), process.time(at.sigma_next)
        scale, scale_next = _pair(process.scale(t), process.scale(t_next))
        marginal: Any = process.marginal(t)[1]
        std = host(marginal, "std")
        # Near an infinite level a time has too few digits left; there the scale is std / sigma.
        r = where(at.sigma > 1e8, std / at.sigma, scale) / scale_next
        return r, scale == scale_next

    return rescale


def _quiet(at: Step, final: str) -> bool:
    """Whether a step has no noise: the one to zero, and with "method" the last one anyway."""
    return at.last or (final == "method" and at.index == at.num_steps - 1)


def _plain_move(at: Step) -> tuple[Scalar, ...]:
    """The numbers of `_move_in` where time is sigma and nothing is scaled."""
    spread = sqrt(2 * at.sigma)
    return at.sigma_next - at.sigma, 1.0, 0.0, spread / at.sigma, spread


def _move_in(process: Process) -> Callable[[Step], tuple[Scalar, ...]]:
    """A function of a step: its numbers in a process, for points in the package's frame.

    h          t_next - t, negative on the way down
    rescale    scale / scale_next: what a point is multiplied by to keep its own scale
    shrink     f
    slope      g / (scale sigma): the score is (D - x) / sigma^2 / scale
    spread     g / scale_next: the noise of the process in the frame of the next level
    """
    check_process(process)

    # The rates of a whole grid at once: each call of the process costs some 100 us.
    @functools.lru_cache(maxsize=1)
    def rates_of(levels: tuple[float, ...]) -> tuple[Values, Values]:
        return process.rates(process.time(np.array([v for v in levels if v > 0])))

    def rates(at: Step, t: Scalar) -> tuple[Scalar, Scalar]:
        numbers = set(map(type, at.levels)) == {float} and not is_traced(at.sigma, t)
        if not numbers or at.sigma != at.levels[at.index]:
            return _pair(*process.rates(t))
        f, g = rates_of(at.levels)
        return _pair(f[at.index], g[at.index])

    def move(at: Step) -> tuple[Scalar, ...]:
        t, t_next = _times(process, at)
        f, g = rates(at, t)
        scale, scale_next = _pair(process.scale(t), process.scale(t_next))
        return t_next - t, scale / scale_next, f, g / (scale * at.sigma), g / scale_next

    return move


def _times(process: Process, at: Step) -> tuple[Scalar, Scalar]:
    """The times of the grid if they are this process's; otherwise the times of the levels."""
    given = at.time is not None and not is_traced(at.sigma, at.time, at.time_next)
    if given and np.isclose(process.sigma(at.time), at.sigma, rtol=1e-9, atol=0):
        return _pair(at.time, at.time_next)
    # A wrapper, such as `churn`, moved the level, or the grid has no times.
    t, t_next = _pair(process.time(at.sigma), process.time(at.sigma_next))
    if not is_traced(t_next) and not np.isfinite(t_next):
        raise ValueError(
            f"This process has no time at sigma = {at.sigma_next}: end the grid above, or with "
            "the denoiser (`final='denoise'`)."
        )
    return t, t_next


def _pair(one: Any, other: Any) -> tuple[Scalar, Scalar]:
    """Both, as floats where they are numbers."""
    return host(one, "time"), host(other, "time")
