"""Grids and plans fitted to a denoiser: minutes of computing, and no training.

    x = 80.0 * jax.random.normal(key, (256, 28, 28, 1))
    plan = ej.learning.fit_plan(denoise, 8, x, key)         # grid and weights; plan.nfe == 8
    sigmas, report = ej.learning.fit_schedule(denoise, ej.samplers.unipc(3), 8, x, key)

A solver here is a table of numbers, so it can be fitted to the denoiser that it will run: its
samples should be where the probability flow ends, solved with many more evaluations. `fit_schedule`
moves the levels of a given sampler; `fit_plan` chooses the weights too.

Three quarters of the noises `x` are fitted to, and a quarter is held out to choose the iterate that
is kept. Time runs from `sigma_max` down; `x = x0 + sigma n`.
"""

from collections.abc import Callable
from typing import Any

from edmjax._common.deprecation import former_names
from edmjax._common.extras import missing

try:
    from edmjax.learning.plans import fit_plan
    from edmjax.learning.schedules import fit_schedule
    from edmjax.learning.task import FitReport
except ModuleNotFoundError as _err:
    raise missing(_err, "edmjax.learning", "train") from _err

__all__ = [
    "FitReport",
    "fit_plan",
    "fit_schedule",
]


def __dir__() -> list[str]:
    return __all__


__getattr__: Callable[[str], Any] = former_names(__name__, {"Report": "edmjax.learning.FitReport"})
