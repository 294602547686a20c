"""Work and precision: samplers of edmjax and solvers of diffrax on problems with known answers."""

from edmjax.comparison.methods import KINDS
from edmjax.comparison.results import Result
from edmjax.comparison.runs import compare
from edmjax.comparison.settings import QUICK, Settings

__all__ = ["KINDS", "QUICK", "Result", "Settings", "compare"]


def __dir__() -> list[str]:
    return __all__
