"""Pairs of a sampler and a grid that were tuned on P1, P2 and P3; grids that a fit starts from.

They scale with the standard deviation of the data alone, which is right where the leading
directions are two to five times as wide.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from edmjax._common.typing import Levels
from edmjax.planning.step import Sampler

# From this many evaluations on: the sampler and the grid. Found by a search on P1, P2, P3 and
# thirteen others; near the best for neighbouring numbers of evaluations too.
TABLE: tuple[tuple[int, str, str], ...] = (
    (1, "f_trig(False)", "blend"),
    (9, "f_trig(above=0.3)", "tabulated"),
    (12, "f_trig(above=0.3)", "peaked"),
    (15, "f_trig(above=0.3)", "broad"),
    (22, "unipc(3)", "wide"),
)


def tuned(
    nfe: int, low: float, high: float, width: float, final_zero: bool
) -> tuple[Sampler, Levels]:
    """The pair of the table for `nfe` evaluations of data of standard deviation `width`."""
    _, name, grid = max(row for row in TABLE if row[0] <= nfe)
    return pair(name, grid, nfe, low, high, width, final_zero)


def pair(
    name: str, grid: str, nfe: int, low: float, high: float, width: float, final_zero: bool
) -> tuple[Sampler, Levels]:
    """A sampler and a grid by their names, of exactly `nfe` evaluations."""
    levels = grids_for(low, high, width)[grid](nfe if final_zero else nfe + 1)
    return samplers_for(width)[name], np.append(levels, 0.0) if final_zero else levels


def samplers_for(width: float) -> dict[str, Sampler]:
    """The samplers that are compared, for data of standard deviation `width`.

    Each takes one evaluation a step, and its samples shift with the mean of the data.
    """
    from edmjax import samplers as s  # when it is called, so that `import edmjax` stays quick

    return {
        "f_trig(False)": s.f_trig(False, sigma_data=width),
        "f_trig()": s.f_trig(sigma_data=width),
        "f_trig(above=0.3)": s.f_trig(sigma_data=width, above=0.3),
        "unipc(2)": s.unipc(2),
        "unipc(3)": s.unipc(3),
    }


def grids_for(low: float, high: float, width: float) -> dict[str, Callable[[int], Levels]]:
    """The grids that are compared: name -> (number of levels -> levels without 0)."""
    from edmjax import schedules  # likewise

    ends: dict[str, Any] = {"sigma_min": low, "sigma_max": high, "final_zero": False}
    grids: dict[str, Callable[[int], Levels]] = {
        f"theta({share})": functools.partial(schedules.theta, sigma_data=share * width, **ends)
        for share in (1, 1.7, 2)
    }
    for scale in (1.2, 1.6):
        grids[f"logistic({scale})"] = functools.partial(
            schedules.logistic, scale=scale, sigma_data=width, **ends
        )
    densities = {"blend": _blend, "peaked": _peaked, "broad": _broad, "wide": _wide}
    for name, share_below in densities.items():
        grids[name] = functools.partial(_quantiles, share_below, low=low, high=high, width=width)
    grids["tabulated"] = lambda n: _tabulated(n, low, high, width)
    return grids


def _blend(u: np.ndarray) -> np.ndarray:
    """60 % as in `theta`, and 40 % as for a logistic variable in log sigma.

    The first suits problems whose modes separate early, the second others. The four numbers are the
    best of a search on the problems, for `unipc(3)` and ten evaluations.
    """
    return 0.6 * _share(np.arctan(np.exp(u) / 1.8)) + 0.4 * _share(_logistic(u + 0.5, 1.9))


def _peaked(u: np.ndarray) -> np.ndarray:
    """A Cauchy density in log sigma around 2.3 sigma_data, wider on the lower side.

    The three numbers are the best of a search on the problems, for ten evaluations.
    """
    away = u - np.log(2.3)
    scale = np.where(away > 0, 0.96, 1.67)
    return _share(scale * np.arctan(away / scale))


def _broad(u: np.ndarray) -> np.ndarray:
    """Half `_peaked`, and half logistic, which suits narrow modes in few components."""
    return 0.5 * _peaked(u) + 0.5 * _share(_logistic(u, 1.2))


def _wide(u: np.ndarray) -> np.ndarray:
    """Mostly logistic: with many steps the accuracy at low levels is what remains to gain."""
    return 0.15 * _peaked(u) + 0.85 * _share(_logistic(u, 1.6))


def _logistic(u: np.ndarray, scale: float) -> np.ndarray:
    return 1 / (1 + np.exp(-u / scale))


def _share(below: np.ndarray) -> np.ndarray:
    """`below`, a distribution function, scaled to run from 0 to 1 over the range."""
    return (below - below[0]) / (below[-1] - below[0])


def _quantiles(
    share_below: Callable[[np.ndarray], np.ndarray], n: int, low: float, high: float, width: float
) -> np.ndarray:
    """`n` levels from `high` to `low`, at even quantiles of a law of `u = log(sigma / width)`."""
    u = np.linspace(np.log(low / width), np.log(high / width), 20001)
    levels = width * np.exp(np.interp(np.linspace(1.0, 0.0, n), share_below(u), u))
    levels[-1], levels[0] = low, high
    return levels


# The inner levels of ten steps, in units of sigma_data. An evolution strategy with `f_pc(2,
# "theta")` found them, on starts of P1, P2 and P3; it maximised the smallest of the three ratios of
# Heun's RMS error to its own. Long and short steps alternate where modes separate: smooth families
# of up to five numbers are worse on P3.
LEVELS = (10.0, 4.02, 3.09, 2.02, 1.665, 1.157, 0.53, 0.211, 0.072)


def _tabulated(n: int, low: float, high: float, width: float) -> np.ndarray:
    """`LEVELS` between the ends, linear in log sigma for another number of levels."""
    inner = [level * width for level in LEVELS if low < level * width < high]
    knots = np.log([high, *inner, low])
    levels = np.exp(np.interp(np.linspace(0, len(knots) - 1, n), np.arange(len(knots)), knots))
    levels[-1], levels[0] = low, high
    return levels
