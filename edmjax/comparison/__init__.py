"""Work and precision: samplers of edmjax and solvers of diffrax on problems with known answers."""

from edmjax._common.extras import missing

try:
    from edmjax.comparison.methods import KINDS
    from edmjax.comparison.results import Result
    from edmjax.comparison.runs import compare
    from edmjax.comparison.settings import QUICK, Settings
except ModuleNotFoundError as err:
    raise missing(err, "edmjax.comparison", "train,diffrax") from err

__all__ = ["KINDS", "QUICK", "Result", "Settings", "compare"]


def __dir__() -> list[str]:
    return __all__
