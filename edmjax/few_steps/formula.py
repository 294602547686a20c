"""A sampler and a grid from three numbers: evaluations, and the narrow and wide sides of the data.

Errors are made where the flow bends. It bends near the level of each direction's standard
deviation, and those of real data lie decades apart. So the levels are quantiles of a law of log
sigma with its mode at the widest direction, which falls slowly below, where all other directions
are, and faster above, where the flow is straight. Its slopes and the samplers were chosen on the
first half of the problems of `docs/make/few_problems.py` (docs/few.md).
"""

from typing import NamedTuple, TypeVar

import numpy as np

from edmjax._common.typing import Levels
from edmjax.few_steps.tuned import samplers_for, tuned
from edmjax.planning.step import Sampler

T = TypeVar("T")

# Where nothing is known of the directions: images have leading ones of 8 to 20 times `sigma_data`,
# and on these a mode that is too low loses less than one that is too high.
UNKNOWN = 6.0
# The classes of spread / sigma_data. The problems of the first have 1.0, those of the second from
# 2.2 on; between them the more careful second one is taken.
ONE_SCALE, SEVERAL = 1.3, 5.5


class Choice(NamedTuple):
    """A sampler on quantiles of an asymmetric Laplace law of log sigma."""

    sampler: str
    below: float  # how fast the density falls below its mode, for each unit of log sigma
    above: float  # and above
    mode: float = 1.0  # in units of the spread

    def pair(
        self, nfe: int, low: float, high: float, width: float, spread: float, final_zero: bool
    ) -> tuple[Sampler, Levels]:
        """The sampler and the levels for exactly `nfe` evaluations."""
        n = nfe if final_zero else nfe + 1
        levels = laplace(n, low, high, self.mode * spread, self.below, self.above)
        return samplers(width)[self.sampler], np.append(levels, 0.0) if final_zero else levels


# Karras' levels with rho = 7, whose density in log sigma grows up to the first level.
KARRAS = Choice("ipndm(3)", 1 / 7, 1.0, np.inf)
TUNED = "tuned"  # the table of `tuned.py`
# From this many evaluations on:
NOT_KNOWN: dict[int, Choice | str] = {
    1: KARRAS,
    6: Choice("ipndm(3)", 1 / 7, 0.3),
    15: Choice("unipc(3)", 1 / 7, 0.3),
}
WIDE = NOT_KNOWN | {15: Choice("unipc(3)", 0.1, 0.5)}
BETWEEN: dict[int, Choice | str] = {
    1: TUNED,
    8: Choice("ipndm(3)", 0.2, 0.5),  # the tuned pairs have smaller RMS errors, and larger medians
    18: Choice("unipc(3)", 0.1, 0.5),
    25: Choice("unipc(3)", 1 / 7, 0.7),
}
NARROW: dict[int, Choice | str] = {
    1: Choice("f_trig(False)", 0.2, 0.5),
    20: Choice("unipc(3)", 1 / 7, 0.7),
}


def formula(
    nfe: int, low: float, high: float, width: float, spread: float | None, final_zero: bool
) -> tuple[Sampler, Levels]:
    """The pair for data of standard deviation `width`, and `spread` along the widest direction."""
    if spread is None:
        return pair_of(row_for(NOT_KNOWN, nfe), nfe, low, high, width, UNKNOWN * width, final_zero)
    return pair_of(choice_for(nfe, spread / width), nfe, low, high, width, spread, final_zero)


def choice_for(nfe: int, ratio: float) -> Choice | str:
    """What the tables have for data whose spread is `ratio` times their standard deviation."""
    return row_for(NARROW if ratio < ONE_SCALE else BETWEEN if ratio < SEVERAL else WIDE, nfe)


def row_for(rows: dict[int, T], nfe: int) -> T:
    """The row of the largest number of evaluations up to `nfe`."""
    return rows[max(least for least in rows if least <= nfe)]


def pair_of(
    choice: Choice | str,
    nfe: int,
    low: float,
    high: float,
    width: float,
    spread: float,
    final_zero: bool,
) -> tuple[Sampler, Levels]:
    """The sampler and the levels of a choice."""
    if isinstance(choice, Choice):
        return choice.pair(nfe, low, high, width, spread, final_zero)
    return tuned(nfe, low, high, width, final_zero)


def samplers(width: float) -> dict[str, Sampler]:
    """The samplers of the tables, for data of standard deviation `width`: one evaluation a step.

    Their samples shift with the mean of the data.
    """
    from edmjax import samplers as s  # when it is called, so that `import edmjax` stays quick

    return samplers_for(width) | {
        "dpmpp_2m": s.dpmpp_2m(),
        "dpmpp_3m": s.dpmpp_3m(corrected=True),
        "ipndm(3)": s.ipndm(order=3),
    }


def laplace(n: int, low: float, high: float, mode: float, below: float, above: float) -> np.ndarray:
    """`n` levels from `high` to `low`, at even quantiles of an asymmetric Laplace law of log sigma.

    The density is `exp(-below |u - m|)` below the mode `m = log(mode)` and `exp(-above |u - m|)`
    above it, cut to the range of the levels. A mode outside the range counts as its nearer end:
    with `mode >= high` the levels are those of Karras et al. (2022), Eq. 5, with rho = 1 / below.
    """
    a, b = np.log(low), np.log(high)
    m = np.clip(np.log(mode), a, b)
    # The mass from `low` to the mode, and from there to `high`.
    left, right = -np.expm1(-below * (m - a)) / below, -np.expm1(-above * (b - m)) / above
    mass = np.linspace(1.0, 0.0, n) * (left + right)
    inner = np.exp(-below * (m - a)) + below * np.minimum(mass, left)
    outer = 1 - above * np.maximum(mass - left, 0.0)
    levels = np.exp(np.where(mass <= left, m + np.log(inner) / below, m - np.log(outer) / above))
    levels[-1], levels[0] = low, high
    return levels
