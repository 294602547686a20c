"""Restart: returns to a higher level with fresh noise and comes down again, several times."""

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from edmjax._common.arguments import whole
from edmjax._common.typing import Int, Number, Scalar
from edmjax.planning.make import check_sampler
from edmjax.planning.point import Combination
from edmjax.planning.step import Evaluation, Sampler, Step
from edmjax.scalar import is_zero, not_negative, sqrt, static

if TYPE_CHECKING:
    # (t_min, t_max, steps, repeats)
    Intervals: TypeAlias = Iterable[tuple[Number, Number, Int, Int] | Sequence[Number]]
else:
    Intervals = Any  # `restart` has a message of its own for other things


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
        TypeError: if `inner` is not a sampler, or `intervals` not a sequence; if an interval or a
            level of the grid is traced, since they decide which steps are taken.
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
