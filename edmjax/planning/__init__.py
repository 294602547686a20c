"""Plans: a sampler is read once over a grid of noise levels, and becomes a table of weights.

`make_plan(sampler, sigmas)` calls one step of a method (`Sampler`) for each interval of the grid,
on symbolic points (`Combination`), and writes down the weights that it formed (`Plan`), in float64
on the host. `edmjax.running` runs plans.
"""

from edmjax.planning.file import About
from edmjax.planning.make import make_plan
from edmjax.planning.point import Combination
from edmjax.planning.step import Evaluation, Sampler, Step
from edmjax.planning.table import Plan

__all__ = [
    "About",
    "Combination",
    "Evaluation",
    "Plan",
    "Sampler",
    "Step",
    "make_plan",
]


def __dir__() -> list[str]:
    return __all__
