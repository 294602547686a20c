"""Steps in the time of a flow, and a sampler of distilled flows.

A flow holds `y = (1 - t) x0 + t n` and its network gives the velocity of `y` in `t`. With the
denoised output `D = y - t v` the probability flow there is

    dy/dt = v = (y - D) / t,

the equation of the package's frame with `t` in the place of sigma. So any method for the one is a
method for the other, on other steps: `y = x / (1 + sigma)` and `t = sigma / (1 + sigma)`. Where
data are near a point, v hardly changes along the way, and a method that is linear in t is nearly
exact; in sigma the same way is bent, and infinitely long from t = 1.
"""

import functools
import itertools
from typing import Any

from edmjax._common.typing import Scalar
from edmjax.planning.make import check_sampler
from edmjax.planning.point import Combination
from edmjax.planning.step import Evaluation, Sampler, Step
from edmjax.scalar import is_traced, is_zero, not_negative

_TIMES = "in_flow_time"  # in `at.memory`: the times of the grid
_NO_NOISE = (
    "`in_flow_time` steps along the flow, and this sampler draws noise: its formulas hold for "
    "sigma, and in t the samples would have another distribution. Wrap the other way round, such "
    "as `ancestral(in_flow_time(heun()))`."
)


def in_flow_time(inner: Sampler) -> Sampler:
    """`inner`, stepping in the time of a flow: it is shown `t` as the level and `(1 - t) x`.

        t = sigma / (1 + sigma),    y = x / (1 + sigma),    dy/dt = (y - D) / t

    It has the order of `inner`, its evaluations and its history, and works from `t = 1`, where
    sigma is infinite. `in_flow_time(euler())` is `euler()`. On the levels of `ej.processes.flow`
    these step so by themselves: `heun`, `midpoint`, `dpm_2`, `heunpp2`, `lms`, `ipndm`, `ipndm_v`,
    `gradient_estimation`, `pndm`. Exponential integrators (`dpmpp_2m`, `unipc`, `deis`,
    `res_multistep`, ...) are made for log sigma, and diffusers keeps them there; ComfyUI steps in t
    with them too, which is `in_flow_time(dpmpp_2m())`.

    Args:
        inner: a sampler without noise; levels among its options are times.

    Raises:
        TypeError: if `inner` is not a sampler.
        ValueError: by `make_plan`, if it draws noise.
    """
    check_sampler(inner, "inner")

    def step(x: Combination, at: Step) -> Combination:
        return _step(inner, x, at)

    return step


def by_time_in_a_flow(inner: Sampler) -> Sampler:
    """`inner`, in the flow's time on the levels of a flow, and in sigma on others."""

    @functools.wraps(inner)
    def step(x: Combination, at: Step) -> Combination:
        return _step(inner, x, at) if at.in_flow else inner(x, at)

    return step


def lcm(s_noise: Scalar = 1.0) -> Sampler:
    """The denoised output with new noise: the sampler of consistency models and distilled flows.

        x_next = D(x, sigma) + s_noise sigma_next noise

    In a flow this is `(1 - t_next) D + t_next noise`. One evaluation a step, and one draw, none on
    the step to zero. It is meant for networks whose output at each level is a sample of the data;
    with an exact denoiser the samples lack variance. Luo et al. (2023), Algorithm 3; diffusers'
    `FlowMatchLCMScheduler`, and `FlowMatchEulerDiscreteScheduler` with `stochastic_sampling`.

    Args:
        s_noise: the factor on the noise, at least 0; may be traced.

    Raises:
        ValueError: if `s_noise` is negative or NaN.
    """
    s_noise = not_negative(s_noise, "s_noise")

    def step(x: Combination, at: Step) -> Combination:
        denoised = at.denoise(x, at.sigma)
        at.forget()
        if at.last or is_zero(s_noise):
            return denoised
        return denoised + s_noise * at.sigma_next * at.noise()

    return step


def _step(inner: Sampler, x: Combination, at: Step) -> Combination:
    """One step of `inner` in the frame of the flow, between two points of the package's frame."""
    # Kept from step to step: traced levels would be divided anew in each.
    if _TIMES not in at.memory:
        at.memory[_TIMES] = tuple(_time(sigma) for sigma in at.levels)
    times = at.memory[_TIMES]
    ends = [(at.sigma, _time(at.sigma)), (at.sigma_next, _time(at.sigma_next))]

    def level_of(time: Scalar) -> Scalar:
        # Levels of the grid come back as they were: at high levels a time has lost their digits,
        # and from 10^16 on it is 1.
        for sigma, known in itertools.chain(ends, zip(at.levels, times, strict=True)):
            if known is time or (not is_traced(known, time) and known == time):
                return sigma
        return time / (1 - time)

    def denoise(point: Combination, time: Scalar, *, raw: bool = False) -> Any:
        sigma = level_of(time)
        here = point * (1 + sigma)
        answer = at.denoise(here, sigma, raw=raw)
        # What is evaluated becomes a basis vector, for `inner` too.
        point.weights = (here / (1 + sigma)).weights
        return answer

    def forget() -> None:
        at.forget()
        past.clear()

    def noise(*interval: Scalar, **options: Scalar) -> Combination:
        raise ValueError(_NO_NOISE)

    past = [_shown(old) for old in at.past]
    moved = inner(
        x / (1 + at.sigma),
        at._replace(
            sigma=ends[0][1],
            sigma_next=ends[1][1],
            levels=times,
            past=past,
            denoise=denoise,
            noise=noise,
            forget=forget,
            in_flow=False,
        ),
    )
    return moved * (1 + at.sigma_next)


def _shown(old: Evaluation) -> Evaluation:
    """An earlier evaluation in the frame of the flow."""
    return old._replace(sigma=_time(old.sigma), x=old.x / (1 + old.sigma))


def _time(sigma: Scalar) -> Scalar:
    return sigma / (1 + sigma)
