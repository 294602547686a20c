"""The results of a comparison, one for each run."""

import math
from typing import NamedTuple

import numpy as np

from edmjax._common.typing import Arraylike


class Result(NamedTuple):
    """One run of one method. Errors and distances are in units of the data, NaN where not taken.

    Attributes:
        problem: the name of the target.
        kind: a key of `methods.KINDS`.
        method: the sampler or solver.
        path: the schedule, or the form.
        setting: the budget of evaluations, or the tolerance.
        perturbation: how much the denoiser is off.
        evaluations, evaluations_max: the mean over samples and the most of one; of the batch where
            its samples share their steps. Rejected steps count.
        rms: the root mean square error over samples and coordinates.
        median: the median over samples of each sample's root mean square error.
        diverged: the share of samples whose error is above 0.25 sigma_data: in another mode.
        sliced_w2, energy: distances from exact samples, with their standard errors.
        seconds: to run the compiled program on all samples.
        compile_seconds: to trace and compile it. Runs of one program have one compilation.
    """

    problem: str
    kind: str
    method: str
    path: str
    setting: float
    perturbation: float
    evaluations: float
    evaluations_max: float
    rms: float = math.nan
    median: float = math.nan
    diverged: float = math.nan
    sliced_w2: float = math.nan
    sliced_w2_error: float = math.nan
    energy: float = math.nan
    energy_error: float = math.nan
    seconds: float = math.nan
    compile_seconds: float = math.nan


NUM_KEYS = 6  # the first fields, which tell results apart


def errors(x0: Arraylike, reference: np.ndarray, sigma_data: float) -> dict[str, float]:
    """`rms`, `median` and `diverged` of samples; one that is not finite has infinite error."""
    off = np.asarray(x0, np.float64) - reference
    squares = np.mean(off**2, axis=tuple(range(1, off.ndim)))
    squares = np.where(np.isfinite(squares), squares, np.inf)
    each = np.sqrt(squares)
    return {
        "rms": float(np.sqrt(squares.mean())),
        "median": float(np.median(each)),
        "diverged": float(np.mean(each > 0.25 * sigma_data)),
    }
