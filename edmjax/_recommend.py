"""Which sampler and grid to take for a number of evaluations, from a table of measurements."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from edmjax.step import Sampler

# From this many evaluations on: the sampler and the grid. `scripts/recommend.py` measures all pairs
# of `samplers_for` and `grids_for` on the problems P1, P2 and P3 and prints such lines; these are
# of 6, 8, 10, 12, 15 and 20 evaluations and 1,024 starts, and of 40 and 64 starts.
TABLE: tuple[tuple[int, str, str], ...] = (
    (1, "unipc(3)", "theta(2)"),
    (10, "unipc(3)", "blend"),
    (20, "f_pc(2, 'sigma^(1/7)')", "blend"),
    (40, "unipc(3)", "logistic(1.2)"),
)


def recommend(
    nfe: Any,
    *,
    sigma_min: Any = 0.002,
    sigma_max: Any = 80.0,
    sigma_data: Any = 0.5,
    final_zero: Any = True,
) -> tuple[Sampler, Any]:
    """The `(sampler, sigmas)` to take for exactly `nfe` evaluations of a network, untrained.

        sampler, sigmas = ej.recommend(10)
        plan = ej.make_plan(sampler, sigmas)    # plan.nfe == 10

    From a table of what was best on the problems P1, P2 and P3 at once, in the smallest of the
    three ratios of the RMS error of Heun's method to its own. The grid scales with `sigma_data`.

    Args:
        nfe: how many evaluations, 1 at least.
        sigma_min: the last level above 0, in the units of the data.
        sigma_max: the first level, at which sampling starts.
        sigma_data: the standard deviation of the data about its mean.
        final_zero: whether the grid ends at 0, with a last evaluation at `sigma_min`; else at
            `sigma_min`, where the sample is left with that much noise.

    Raises:
        TypeError: if `nfe` is not an integer, or a level is no number.
        ValueError: if `nfe` is below 1, `sigma_min` is not below `sigma_max`, or one of these or
            `sigma_data` is not positive and finite.
    """
    from edmjax.scalar import flag
    from edmjax.schedules._ends import count, ordered, positive

    nfe = count(nfe, "`nfe`")
    low, high = ordered(sigma_min, sigma_max)
    width, zero = positive("sigma_data", sigma_data), flag(final_zero, "final_zero")
    _, name, grid = max(row for row in TABLE if row[0] <= nfe)
    return pair(name, grid, nfe, low, high, width, zero)


def pair(
    name: str, grid: str, nfe: int, low: float, high: float, width: float, final_zero: bool
) -> tuple[Sampler, Any]:
    """A sampler and a grid by their names, of exactly `nfe` evaluations."""
    # A first step that is analytic is a step more; a single step keeps its evaluation.
    steps = nfe + (name.startswith("analytic") and nfe > 1)
    levels = grids_for(low, high, width)[grid](steps if final_zero else steps + 1)
    return samplers_for(width)[name], np.append(levels, 0.0) if final_zero else levels


def samplers_for(width: float) -> dict[str, Sampler]:
    """What is compared, for data of standard deviation `width`; one evaluation a step each."""
    from edmjax import samplers as s

    plain = {
        "unipc(2)": s.unipc(2),
        "unipc(3)": s.unipc(3),
        "f_ab(2)": s.f_ab(2, sigma_data=width),
        "f_ab(3)": s.f_ab(3, sigma_data=width),
        "f_pc(2, 'log_sigma')": s.f_pc(2, "log_sigma", width),
        "f_pc(3, 'log_sigma')": s.f_pc(3, "log_sigma", width),
        "f_pc(2, 'sigma^(1/7)')": s.f_pc(2, "sigma^(1/7)", width),
        "f_pc(3, 'sigma^(1/7)')": s.f_pc(3, "sigma^(1/7)", width),
        "f_pc(4, 'sigma^(1/7)')": s.f_pc(4, "sigma^(1/7)", width),
    }
    analytic = {
        f"analytic_first_step({name})": s.analytic_first_step(plain[name], width)
        for name in ("unipc(3)", "f_pc(2, 'log_sigma')", "f_pc(3, 'log_sigma')")
    }
    return plain | analytic


def grids_for(low: float, high: float, width: float) -> dict[str, Callable[[int], Any]]:
    """The grids that are compared: name -> (number of levels -> levels without 0)."""
    from edmjax import schedules

    ends: dict[str, Any] = {"sigma_min": low, "sigma_max": high, "final_zero": False}
    grids: dict[str, Callable[[int], Any]] = {
        f"theta({share})": functools.partial(schedules.theta, sigma_data=share * width, **ends)
        for share in (1, 1.7, 2)
    }
    for scale in (1.2, 1.6):
        grids[f"logistic({scale})"] = functools.partial(
            schedules.logistic, scale=scale, sigma_data=width, **ends
        )
    grids["blend"] = lambda n: _blend(n, low, high, width)
    return grids


def _blend(n: int, low: float, high: float, width: float) -> np.ndarray:
    """Levels of which 60 % are spread as theta's, and 40 % as a logistic variable's in log sigma.

    Problems whose modes part early want the first, others the second. The four numbers are the best
    of a search on the problems, for `unipc(3)` and ten evaluations.
    """
    log_sigma = np.linspace(np.log(low), np.log(high), 20001)
    shares = (
        (0.6, np.arctan(np.exp(log_sigma) / (1.8 * width))),
        (0.4, 1 / (1 + np.exp(-(log_sigma - np.log(width) + 0.5) / 1.9))),
    )
    below = sum(share * (v - v[0]) / (v[-1] - v[0]) for share, v in shares)
    levels = np.exp(np.interp(np.linspace(1.0, 0.0, n), below, log_sigma))
    levels[0], levels[-1] = high, low
    return levels
