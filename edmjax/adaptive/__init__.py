"""Samplers that choose their own steps: each estimates its error, and every sample has its own.

    method = ej.adaptive.multistep(rtol=2e-3, atol=2e-3)
    x0, report = ej.adaptive.sample(denoise, method, x, sigma_max=80.0, sigma_min=0.002)

A plan is a table that is made before anything runs. Here the levels depend on what the network
returns, so the weights are formed on the device and the loop ends when the samples do. `multistep`
is a predictor-corrector with one evaluation a step, `dpm_adaptive` is DPM-Solver-12 and -23. The
`report` counts evaluations and rejected steps, and says which samples did not finish.
`ej.terms.adaptive_sample` does the same with diffrax's solvers.

Points are in the package's frame: `x = x0 + sigma n`, and levels fall from `sigma_max` to
`sigma_min`.
"""

from collections.abc import Callable
from typing import Any

from edmjax._common.deprecation import former_names
from edmjax.adaptive.adams import multistep
from edmjax.adaptive.dpm import dpm_adaptive
from edmjax.adaptive.report import Report
from edmjax.adaptive.solve import sample
from edmjax.adaptive.task import Method

__all__ = [
    "Method",
    "Report",
    "dpm_adaptive",
    "multistep",
    "sample",
]

__getattr__: Callable[[str], Any] = former_names(
    __name__,
    {
        "Adaptive": "edmjax.adaptive.Method",
        "DPMAdaptive": "edmjax.adaptive.Method",
        "adaptive": "edmjax.adaptive.multistep",
    },
)


def __dir__() -> list[str]:
    return __all__
