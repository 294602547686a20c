"""The pair that does best on a network, from a few noises: a fine solution, and a comparison."""

from typing import NamedTuple

import jax
import numpy as np

from edmjax._common.arrays import has_tracers
from edmjax._common.functions import checked_inputs
from edmjax._common.trees import conditions_at
from edmjax._common.typing import Denoiser, Levels, PyTree
from edmjax.few_steps.formula import KARRAS, TUNED, Choice, choice_for, pair_of, row_for
from edmjax.planning.make import make_plan
from edmjax.planning.step import Sampler
from edmjax.running.many_plans import sweep

LEAST_ROWS, MOST_ROWS = 8, 60
# The steps of the reference. Pairs that differ by more than its error are ranked rightly.
LEAST_REFERENCE, MOST_REFERENCE = 20, 200

# How many times better than the formula's pair another must be. A few noises do not show the rare
# samples that end in another mode; the formula has seen them on other data.
TRUST = 1.3

BASELINES = tuple(KARRAS._replace(sampler=name) for name in ("dpmpp_2m", "ipndm(3)", "unipc(3)"))
# From this many evaluations on: what is tried beside the baselines, the most promising ones first.
# The pairs that did well on the first half of the problems of `docs/make/few_problems.py`.
TRIED: dict[int, tuple[Choice | str, ...]] = {
    1: (
        Choice("f_trig(False)", 0.2, 0.5),
        Choice("f_trig(above=0.3)", 0.3, 0.7, 0.6),
        TUNED,
        Choice("ipndm(3)", 1 / 7, 0.3),
        Choice("ipndm(3)", 0.2, 0.5),
        Choice("dpmpp_2m", 1 / 7, 0.3),
        Choice("unipc(3)", 1 / 7, 0.3),
        Choice("ipndm(3)", 0.07, 0.5),
        Choice("f_trig(False)", 1 / 7, 0.7, 0.6),
        KARRAS._replace(below=0.1),
    ),
    8: (
        Choice("ipndm(3)", 0.2, 0.5),
        TUNED,
        Choice("f_trig(above=0.3)", 0.3, 0.7, 0.6),
        Choice("ipndm(3)", 0.07, 0.5),
        Choice("f_trig(False)", 0.2, 0.5),
        Choice("unipc(3)", 0.1, 0.5),
        Choice("ipndm(3)", 1 / 7, 0.3),
        Choice("dpmpp_2m", 1 / 7, 0.3),
    ),
    16: (
        Choice("unipc(3)", 1 / 7, 0.7),
        Choice("ipndm(3)", 1 / 7, 0.7),
        Choice("unipc(3)", 0.1, 0.5),
        TUNED,
        Choice("dpmpp_3m", 0.1, 0.5),
        Choice("f_trig(False)", 0.2, 0.5),
    ),
}


class Sizes(NamedTuple):
    """How the evaluations are spent."""

    rows: int  # noises
    reference: int  # evaluations of the fine solution
    pairs: int  # that are compared, the baselines too; 0 where no others can be afforded

    def evaluations(self, nfe: int) -> int:
        """Of one sample, in all."""
        return self.rows * (self.reference + self.pairs * nfe)


def sizes(nfe: int, rows: int) -> Sizes:
    """For `nfe` evaluations and at most `rows` noises: all pairs, or as many as 8 noises allow."""
    most = 3000 if nfe <= 20 else 6000
    reference = min(LEAST_REFERENCE + 3 * nfe, MOST_REFERENCE)
    afforded = (most // LEAST_ROWS - reference) // nfe
    pairs = min(len(BASELINES) + len(row_for(TRIED, nfe)), afforded)
    pairs = pairs if pairs > len(BASELINES) else 0
    return Sizes(min(rows, MOST_ROWS, most // (reference + pairs * nfe)), reference, pairs)


def measured(
    denoise: Denoiser, x: PyTree, cond: PyTree, nfe: int, low: float, high: float, final_zero: bool
) -> tuple[Sampler, Levels]:
    """The pair with the smallest mean error on `denoise` from the first noises of `x`, about."""
    if has_tracers((denoise, x, cond)):
        raise TypeError(
            "`recommend` compares errors on the host, so `denoise`, `x` and `cond` cannot be "
            "traced: call it outside `jit`, and pass the plan of its pair in."
        )
    x, cond = checked_inputs(denoise, x, cond)
    x = jax.tree.map(lambda leaf: leaf[:MOST_ROWS], x)
    _check_noises(x, high)
    size = sizes(nfe, len(jax.tree.leaves(x)[0]))
    rows = slice(0, size.rows)
    x, cond = jax.tree.map(lambda leaf: leaf[rows], x), conditions_at(cond, rows)

    fine = KARRAS._replace(sampler="unipc(3)", below=0.1)
    fine_pair = fine.pair(size.reference, low, high, 1.0, 1.0, final_zero)
    ends = _flat(sweep(denoise, make_plan(*fine_pair), x, cond=cond))
    if not np.isfinite(ends).all():
        raise ValueError(
            f"{size.reference} evaluations of `unipc(3)` from `x` end in values that are not "
            "finite, so there is nothing to compare with: check `denoise`, `sigma_min` and `x`."
        )
    width, spread = widths(ends, low)
    own = choice_for(nfe, spread / width)
    if not size.pairs:
        return pair_of(own, nfe, low, high, width, spread, final_zero)
    choices = candidates(nfe, own, size.pairs)
    pairs = [pair_of(c, nfe, low, high, width, spread, final_zero) for c in choices]
    made = sweep(denoise, [make_plan(*pair) for pair in pairs], x, cond=cond)
    errors = [np.sqrt(np.mean((_flat(samples) - ends) ** 2, axis=1)).mean() for samples in made]
    least = np.where(np.isfinite(errors), errors, np.inf)
    if np.isinf(least).all():
        raise ValueError(
            f"Of {len(pairs)} pairs of {nfe} evaluations none gives finite samples on this network:"
            " take more evaluations, or another range of levels."
        )
    least[choices.index(own)] /= TRUST
    return pairs[int(np.argmin(least))]


def candidates(nfe: int, own: Choice | str, pairs: int) -> list[Choice | str]:
    """What is compared: the baselines, the formula's own choice, and others, each once."""
    return list(dict.fromkeys((*BASELINES, own, *row_for(TRIED, nfe))))[:pairs]


def widths(samples: np.ndarray, least: float) -> tuple[float, float]:
    """The standard deviation of samples over all components, and along the widest direction.

    Both are at least `least`: samples that are all alike say nothing of the data's width.
    """
    away = samples - samples.mean(axis=0)
    freedom = len(samples) - 1
    width = float(np.sqrt(np.sum(away**2) / freedom / away.shape[1]))
    widest = float(np.linalg.norm(away, 2)) / np.sqrt(freedom)
    width = max(width, least)
    return width, max(widest, width)


def _flat(samples: PyTree) -> np.ndarray:
    """Samples as rows of float64 numbers, the leaves side by side."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(samples)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def _check_noises(x: PyTree, high: float) -> None:
    """Raises unless `x` has enough samples, and about the size that the first level says."""
    flat = _flat(x)
    if len(flat) < LEAST_ROWS:
        raise ValueError(
            f"`x` must hold at least {LEAST_ROWS} noises on axis 0, got {len(flat)}: errors of "
            "fewer say little of the next sample."
        )
    # The data add to the noise, and a mean adds nothing to the standard deviation over samples.
    size = float(np.sqrt(np.mean(np.var(flat, axis=0, ddof=1))))
    # Of `m` normal numbers it is itself uncertain by a share of 1 / sqrt(2 m).
    doubt = 4 / np.sqrt(2 * (len(flat) - 1) * flat.shape[1])
    if not max(0.7 - doubt, 0.2) * high < size < (2 + doubt) * high:
        raise ValueError(
            f"`x` must be noise at `sigma_max`, {high:g}, got a standard deviation of {size:.3g}: "
            "multiply standard normal noise by `sigma_max`."
        )
