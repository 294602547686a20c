"""Samplers that choose their own steps: each estimates its error, and every sample has its own.

    method = ej.adaptive.adaptive(rtol=2e-3, atol=2e-3)
    x0, report = ej.adaptive.sample(denoise, method, x, sigma_max=80.0, sigma_min=0.002)

A plan is a table that is made before anything runs; here the levels depend on what the network
returns, so the weights are formed on the device and the loop ends when the samples do. `adaptive`
is a predictor-corrector with one evaluation a step, `dpm_adaptive` is DPM-Solver-12 and -23. The
`report` counts evaluations and rejected steps, and says which samples did not finish.

The frame is that of the package: `x = x0 + sigma n`, levels fall from `sigma_max` to `sigma_min`.
"""

from edmjax.adaptive._dpm import DPMAdaptive, dpm_adaptive
from edmjax.adaptive._multistep import Adaptive, adaptive
from edmjax.adaptive._report import Report
from edmjax.adaptive._sample import sample

__all__ = [
    "Adaptive",
    "DPMAdaptive",
    "Report",
    "adaptive",
    "dpm_adaptive",
    "sample",
]


def __dir__() -> list[str]:
    return __all__
