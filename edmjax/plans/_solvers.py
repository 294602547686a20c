"""The recursions of published solvers whose numbers were learned, as samplers.

Both step along `dx/dsigma = (x - D) / sigma`. With `free_first_step` the slope at the first level
is not evaluated: it is `x / sqrt(1 + sigma^2)`, what it would be for data of standard deviation 1
(the "analytical first step" of Dockhorn et al. 2022).
"""

from collections.abc import Sequence

from edmjax.planning import Combination, Sampler, Step
from edmjax.samplers.adams import CONSTANT
from edmjax.scalar import sqrt

Rows = Sequence[Sequence[float]]

_SLOPES, _LEVEL = "slopes", "level"  # in `at.memory`


def dyweight(
    levels: Sequence[float], weights: Rows, time_scale: Sequence[float], free_first_step: bool
) -> Sampler:
    """DyWeight (Zhao et al. 2026, Algorithm 1): slopes of all steps with learned weights.

        t' = t + (t_next - t) sum_j weights[i, j]
        x' = x + (t_next - t) sum_j weights[i, j] (x_j - D(x_j, |time_scale_j t_j|)) / (t_j + 1e-8)

    `t` is where the step before it has arrived, which need not be the level of the grid. `levels`
    are those of the paper; with `free_first_step` the sampler is for the grid without the second
    one, as the first two steps have one evaluation together.
    """
    first = int(free_first_step)

    def step(x: Combination, at: Step) -> Combination:
        slopes: list[Combination] = at.memory.setdefault(_SLOPES, [])
        t = at.memory.get(_LEVEL, levels[0])
        if first and at.index == 0:
            slopes.append(x / sqrt(1 + t**2))
            x, t = _moved(x, t, 0, slopes)
        denoised = at.denoise(x, abs(time_scale[at.index] * t))
        slopes.append((x - denoised) / (t + 1e-8))
        x, at.memory[_LEVEL] = _moved(x, t, at.index + first, slopes)
        return x

    def _moved(
        x: Combination, t: float, i: int, slopes: list[Combination]
    ) -> tuple[Combination, float]:
        row, h = weights[i][: i + 1], levels[i + 1] - t
        slope = sum((w * s for w, s in zip(row, slopes, strict=True) if w), Combination({}))
        return x + h * slope, t + h * sum(row)

    return step


def epd(
    shares: Rows,
    weights: Rows,
    slope_scale: Rows,
    time_scale: Rows,
    order: int,
    free_first_step: bool,
) -> Sampler:
    """Ensemble parallel directions (Zhu et al. 2025, Algorithm 1): slopes inside of a step.

        s_k = t^(1 - shares_k) t_next^shares_k,    x_k = x + (s_k - t) d
        x' = x + (t_next - t) sum_k weights_k slope_scale_k (x_k - D(x_k, time_scale_k s_k)) / s_k

    with one row of numbers a step. The direction d is the slope at `t`, or with `order` above 1
    ("EPD-Plugin") that of Adams and Bashforth over the slopes at the levels of the grid.
    """

    def step(x: Combination, at: Step) -> Combination:
        slopes: list[Combination] = at.memory.setdefault(_SLOPES, [])
        t, i = at.sigma, at.index
        if free_first_step and i == 0:
            slope = x / sqrt(1 + t**2)
        else:
            denoised = at.denoise(x, t)
            slope = (x - denoised) / t
        used = [slope, *slopes[: order - 1]]
        pairs = zip(CONSTANT[len(used) - 1], used, strict=True)
        direction = sum((w * s for w, s in pairs), Combination({}))
        slopes.insert(0, slope)
        x_next = x
        rows = (table[i] for table in (shares, weights, slope_scale, time_scale))
        for share, weight, scale, time in zip(*rows, strict=True):
            middle = t ** (1 - share) * at.sigma_next**share
            point = x + (middle - t) * direction
            denoised = at.denoise(point, time * middle)
            # The point became a basis vector when it was evaluated.
            x_next = x_next + weight * scale * (at.sigma_next - t) / middle * (point - denoised)
        return x_next

    return step
