"""Samplers made of samplers: they move the levels that an inner step sees, and add noise.

A wrapper that adds fresh noise empties the history (`at.forget`): a multistep method that
extrapolates across the noise diverges. `analytic_first_step` and `teleport` take a Gaussian for the
data in the first step, and no evaluation.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from edmjax._common.arguments import real, whole
from edmjax._common.deprecation import now_keywords
from edmjax._common.typing import Int, Number, Scalar
from edmjax.planning.make import check_sampler
from edmjax.planning.point import Combination
from edmjax.planning.step import Evaluation, Sampler, Step
from edmjax.samplers._f_form import total_at
from edmjax.scalar import is_zero, minimum, not_negative, sqrt, static, where

if TYPE_CHECKING:
    # (t_min, t_max, steps, repeats)
    Intervals: TypeAlias = Iterable[tuple[Number, Number, Int, Int] | Sequence[Number]]
else:
    Intervals = Any  # `restart` has a message of its own for other things


def churn(
    inner: Sampler,
    s_churn: Scalar,
    s_min: Scalar = 0.0,
    s_max: Scalar = math.inf,
    s_noise: Scalar = 1.0,
) -> Sampler:
    """Raises the noise level before each step of `inner` (Karras et al. 2022, Algorithm 2).

        gamma = min(s_churn / n, sqrt(2) - 1)   if s_min <= sigma <= s_max, else 0
        sigma_hat = sigma (1 + gamma)
        x_hat = x + s_noise sqrt(sigma_hat^2 - sigma^2) noise

    and `inner` steps from (x_hat, sigma_hat). `churn(heun(), ...)` is the stochastic sampler of the
    paper; `churn(inner, 0)` is `inner`. It adds no evaluations, and one draw in each step with
    `gamma > 0`. First order with a multistep `inner`, whose history it empties. If `s_churn` or a
    level is traced, every step that may add noise makes its draw and empties the history.

    The paper cuts gamma at sqrt(2) - 1, where the fresh noise has as much variance as the noise
    that is there. So an `s_churn` above `n (sqrt(2) - 1) = 0.414 n` is the same as that one: 7.5
    for 18 steps, 16.6 for 40. The published 40 needs 97 steps. Other packages cut it too. A printed
    plan shows the raised levels, sqrt(2) times those of the grid where gamma is cut.

    Args:
        inner: any sampler.
        s_churn: the amount of noise over all steps, at least 0; may be traced.
        s_min: the lowest level that is raised, in the units of the data.
        s_max: the highest level that is raised.
        s_noise: the factor on the noise, at least 0; may be traced.

    Raises:
        TypeError: if `inner` is not a sampler, or `s_min` or `s_max` is traced, since they choose
            the steps.
        ValueError: if an option is negative or NaN, or `s_min > s_max`.
    """
    check_sampler(inner, "inner")
    s_churn = not_negative(s_churn, "s_churn")
    s_noise = not_negative(s_noise, "s_noise")
    s_min = not_negative(static(s_min, "s_min"), "s_min")
    s_max = not_negative(static(s_max, "s_max"), "s_max")
    if s_min > s_max:
        raise ValueError(f"`s_min` must not exceed `s_max`, got {s_min} and {s_max}.")

    def step(x: Combination, at: Step) -> Combination:
        gamma = minimum(s_churn / at.num_steps, math.sqrt(2) - 1)
        if is_zero(gamma):  # asked before the next line, which a traced level would make traced
            return inner(x, at)
        gamma = where((s_min <= at.sigma) & (at.sigma <= s_max), gamma, 0.0)
        if is_zero(gamma):
            return inner(x, at)
        at.forget()
        added = at.sigma * sqrt(gamma * (2 + gamma))
        x = x + s_noise * added * at.noise()
        # The raised level lies inside the step before, so these draws are no increments of one
        # path.
        raised = at._replace(
            sigma=at.sigma * (1 + gamma), noise=lambda *interval, **options: at.noise(**options)
        )
        return inner(x, raised)

    return step


def ancestral(inner: Sampler, eta: Scalar = 1.0, s_noise: Scalar = 1.0) -> Sampler:
    """Steps `inner` below the next level and adds noise back up to it.

        sigma_up = eta sigma_next sqrt(1 - sigma_next^2 / sigma^2)
        sigma_down = sqrt(sigma_next^2 - sigma_up^2)
        x_next = inner(x, sigma -> sigma_down) + s_noise sigma_up noise

    `eta` scales the standard deviation, as in the DDIM paper: `ancestral(euler(), eta)` is DDIM,
    and with eta = 1 DDPM with its smaller variance. `ancestral(inner, 0)` is `inner`, unless `eta`
    is traced: then it always makes its draws and empties the history. It adds no evaluations, and
    one draw a step, none on the step to zero. First order with a multistep `inner`, whose history
    it empties. Song et al. (2021, DDIM), eq. 16, in the frame of sigma.

    Args:
        inner: any sampler.
        eta: the strength of the noise, in [0, 1]; may be traced.
        s_noise: the factor on the noise, at least 0; may be traced.

    Raises:
        TypeError: if `inner` is not a sampler.
        ValueError: if `eta` is outside [0, 1], or `s_noise` is negative or NaN.
    """

    def below(at: Step, eta: Scalar) -> tuple[Scalar, Scalar]:
        sigma_up = eta * at.sigma_next * sqrt(1 - (at.sigma_next / at.sigma) ** 2)
        return sqrt(at.sigma_next**2 - sigma_up**2), sigma_up

    return _below_and_up(inner, eta, s_noise, below)


def flow_ancestral(inner: Sampler, eta: Scalar = 1.0, s_noise: Scalar = 1.0) -> Sampler:
    """`ancestral` with the level below that ComfyUI and diffusers take in a flow ("RF").

        t_down = t_next (1 - eta (1 - t_next / t)),    t = sigma / (1 + sigma)
        sigma_up^2 = sigma_next^2 - sigma_down^2,      sigma_down = t_down / (1 - t_down)
        x_next = inner(x, sigma -> sigma_down) + s_noise sigma_up noise

    The marginals are those of the flow, as with `ancestral`, which in a flow adds more noise: here
    `t_down` is `t_next^2 / t` for eta = 1, in `ancestral` that is so of sigma. Costs and order are
    those of `ancestral`. `flow_ancestral(inner, 0)` is `inner`, unless `eta` is traced. It equals
    ComfyUI's `euler_ancestral`, `dpm_2_ancestral` and `dpmpp_2s_ancestral` for flow models, and
    diffusers' `LTXEulerAncestralRFScheduler`.

    Args:
        inner: any sampler.
        eta: the strength of the noise, in [0, 1]; may be traced.
        s_noise: the factor on the noise, at least 0; may be traced.

    Raises:
        TypeError: if `inner` is not a sampler.
        ValueError: if `eta` is outside [0, 1], or `s_noise` is negative or NaN.
    """

    def below(at: Step, eta: Scalar) -> tuple[Scalar, Scalar]:
        t, t_next = (sigma / (1 + sigma) for sigma in (at.sigma, at.sigma_next))
        t_down = t_next * (1 - eta * (1 - t_next / t))
        sigma_down = t_down / (1 - t_down)
        return sigma_down, sqrt(at.sigma_next**2 - sigma_down**2)

    return _below_and_up(inner, eta, s_noise, below)


def _below_and_up(
    inner: Sampler,
    eta: Scalar,
    s_noise: Scalar,
    below: Callable[[Step, Scalar], tuple[Scalar, Scalar]],
) -> Sampler:
    """`inner` to a lower level than the next one, and noise that leads up to that.

    `below(at, eta)` is that level and the standard deviation of the noise.
    """
    check_sampler(inner, "inner")
    eta, s_noise = real(eta, "eta", least=0, most=1), not_negative(s_noise, "s_noise")

    def step(x: Combination, at: Step) -> Combination:
        if at.last or is_zero(eta):
            return inner(x, at)
        sigma_down, sigma_up = below(at, eta)
        x = inner(x, at._replace(sigma_next=sigma_down))
        at.forget()
        return x + s_noise * sigma_up * at.noise(at.sigma, at.sigma_next)

    return step


@now_keywords("sigma_data")
def analytic_first_step(inner: Sampler, *, sigma_data: Scalar = 0.5) -> Sampler:
    """`inner`, with the denoiser of N(0, sigma_data^2) in place of the first evaluation.

        D = sigma_data^2 / (sigma^2 + sigma_data^2) x,    F = 0

    At sigma_max the network's answer differs from this by about `sigma_data / sigma_max`. The guess
    stays in the history of a multistep `inner`. The grid may have one step more for the same number
    of evaluations; a grid of one step keeps its evaluation. `sigma_data` may be traced.

    Raises:
        TypeError: if `inner` is not a sampler.
        ValueError: if `sigma_data` is not positive.

    "AFS" of Dockhorn, Vahdat and Kreis (2022, GENIE), for data of any width.
    """
    check_sampler(inner, "inner")
    width = real(sigma_data, "sigma_data", above=0)

    def step(x: Combination, at: Step) -> Combination:
        if at.index or at.num_steps == 1:
            return inner(x, at)

        def guess(point: Combination, sigma: Scalar, *, raw: bool = False) -> Any:
            denoised = width * width / (sigma * sigma + width * width) * point
            return (denoised, denoised) if raw else denoised

        first, denoised = 1.0 * x, guess(x, at.sigma)
        x = inner(x, at._replace(denoise=guess))
        at.past.insert(0, Evaluation(at.sigma, first, denoised, denoised))
        return x

    return step


@now_keywords("sigma_data")
def teleport(inner: Sampler, *, sigma_data: Scalar = 0.5) -> Sampler:
    """`inner` from the second level on; the first step is the exact flow of N(0, sigma_data^2).

        x_next = sqrt((sigma_next^2 + sigma_data^2) / (sigma^2 + sigma_data^2)) x

    The first step takes no evaluation and leaves nothing in the history. The grid is the first
    level and then the grid of `inner`: `[80.0, *ej.schedules.karras(n, sigma_max=5.0)]` starts at
    80 and evaluates at 5 first. In the coordinates of `gaussian_split` it is the flow of a Gaussian
    of any mean and covariance. `sigma_data` may be traced.

    Raises:
        TypeError: if `inner` is not a sampler.
        ValueError: if `sigma_data` is not positive; by `make_plan`, if the grid is one step to 0.

    Wang and Vastola (2024), "The unreasonable effectiveness of Gaussian score approximation".
    """
    check_sampler(inner, "inner")
    width = real(sigma_data, "sigma_data", above=0)

    def step(x: Combination, at: Step) -> Combination:
        if at.index:
            return inner(x, at)
        if at.last:
            raise ValueError(
                "`teleport` evaluates nothing on the first step, and this grid has no other step: "
                "put the first level to evaluate at between the first level and 0."
            )
        return total_at(at.sigma_next, width) / total_at(at.sigma, width) * x

    return step


def restart(inner: Sampler, intervals: Intervals, s_noise: Scalar = 1.0) -> Sampler:
    """Repeats parts of the way down, each time from fresh noise (Xu et al. 2023, Algorithm 1).

    After the step of `inner` that ends at `t_min`, `repeats` times:

        x = x + s_noise sqrt(t_max^2 - t_min^2) noise
        x = inner over `steps` steps from t_max to t_min, on the grid of Karras with rho = 7

    The restarts follow the step that ends at the positive level nearest to `t_min`, and come down
    to that level. `restart(inner, [])` is `inner`. It has the order of `inner`; each of the
    `repeats` costs one draw and the evaluations of `inner` over `steps` steps. The levels of the
    grid do not go up: the restarts happen inside one of its steps.

    Args:
        inner: any sampler. A multistep one starts its history again after each noise.
        intervals: for each, (t_min, t_max, steps, repeats): levels in the units of the data.
        s_noise: the factor on the noise, at least 0; may be traced.

    Raises:
        TypeError: if `inner` is not a sampler, `intervals` not a sequence, or `steps` or `repeats`
            not an integer; if an interval or a level of the grid is traced, since they decide which
            steps are taken.
        ValueError: if an interval is not four numbers with `0 < t_min < t_max`, `steps >= 1` and
            `repeats >= 0`; or if the level nearest to `t_min` is not below `t_max`.
    """
    check_sampler(inner, "inner")
    if not isinstance(intervals, Iterable):
        raise TypeError(
            "`intervals` must be a sequence of (t_min, t_max, steps, repeats), got "
            f"{intervals!r:.80}."
        )
    checked = [_interval(interval) for interval in intervals]
    s_noise = not_negative(s_noise, "s_noise")

    def step(x: Combination, at: Step) -> Combination:
        x = inner(x, at)
        if at.last:
            return x
        ours = [interval for interval in checked if _ends_nearest(at, interval[0])]
        for t_min, t_max, steps, repeats in ours:
            low = static(at.sigma_next, "sigmas")
            if low >= t_max:
                raise ValueError(
                    f"The level nearest to t_min = {t_min} is {low}, which is not below t_max = "
                    f"{t_max}: give the grid a level there, or restart elsewhere."
                )
            levels = _karras(low, t_max, steps)
            for _ in range(repeats):
                at.forget()
                if not is_zero(s_noise):
                    x = x + s_noise * sqrt(t_max**2 - low**2) * at.noise()
                x = _descend(inner, x, at, levels)
        return x

    return step


def _descend(inner: Sampler, x: Combination, at: Step, levels: Sequence[float]) -> Combination:
    """`inner` over `levels`, inside one step of the grid, with a history of its own.

    `make_plan` records the past once for each step of the grid, so the steps in here record their
    own first evaluations, and leave them in `at.past` for the steps that follow.
    """
    past: list[Evaluation] = []
    memory: dict[Any, Any] = {}
    first: list[Evaluation] = []

    def denoise(x: Combination, sigma: Scalar, *, raw: bool = False):
        denoised, other = at.denoise(x, sigma, raw=True)
        if not first:
            point, output, raw_output = (Combination(c.weights) for c in (x, denoised, other))
            first.append(Evaluation(sigma, point, output, raw_output))
        return (denoised, other) if raw else denoised

    def forget() -> None:
        past.clear()
        memory.clear()
        first.clear()

    for sigma, sigma_next in itertools.pairwise(levels):
        first.clear()
        here = at._replace(
            sigma=sigma,
            sigma_next=sigma_next,
            time=None,
            time_next=None,
            past=past,
            memory=memory,
            denoise=denoise,
            # Repeats cover the same levels, so their draws are no increments of one path.
            noise=lambda *interval, **options: at.noise(**options),
            forget=forget,
        )
        x = inner(x, here)
        past[:0] = first
    at.forget()
    at.past.extend(past)
    at.memory.update(memory)
    return x


def _ends_nearest(at: Step, t_min: float) -> bool:
    """Whether this step ends at the positive level, after the first, that is nearest to t_min.

    Levels are monotone, so that level is nearer than both its neighbours.
    """

    def distance(index: int) -> float:
        level = static(at.levels[index], "sigmas") if 0 < index < len(at.levels) else 0.0
        return abs(level - t_min) if level > 0 else float("inf")

    end = at.index + 1
    return distance(end) < distance(end - 1) and distance(end) <= distance(end + 1)


def _karras(low: float, high: float, steps: int) -> list[float]:
    """Karras et al. (2022), eq. 5, from `high` to `low`, rho = 7; the ends exactly."""
    a, b = high ** (1 / 7), low ** (1 / 7)
    inside = [(a + i / steps * (b - a)) ** 7 for i in range(1, steps)]
    return [high, *inside, low]


def _interval(interval: Any) -> tuple[float, float, int, int]:
    try:
        t_min, t_max, steps, repeats = interval
    except (TypeError, ValueError):
        raise ValueError(
            f"An interval of `restart` is (t_min, t_max, steps, repeats), got {interval!r}."
        ) from None
    t_min, t_max = static(t_min, "t_min"), static(t_max, "t_max")
    if not 0 < t_min < t_max < float("inf"):
        raise ValueError(f"`restart` needs 0 < t_min < t_max, got {t_min} and {t_max}.")
    return t_min, t_max, whole(steps, "steps"), whole(repeats, "repeats", least=0)
