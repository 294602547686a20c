"""Work and precision: samplers of edmjax and solvers of diffrax on problems with known answers."""

from edmjax._common.extras import missing

try:
    from edmjax.comparison.methods import KINDS
    from edmjax.comparison.results import Result
    from edmjax.comparison.runs import compare
    from edmjax.comparison.settings import QUICK, Settings
except ModuleNotFoundError as _err:
    raise missing(_err, "edmjax.comparison", "train,diffrax") from _err

__all__ = ["KINDS", "QUICK", "Result", "Settings", "compare"]


def __dir__() -> list[str]:
    return __all__
