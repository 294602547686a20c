"""Schedules: the noise levels to visit, as strictly decreasing NumPy float64 arrays.

The first argument of a schedule, `n`, counts positive levels. A level 0 follows them unless
`final_zero=False`, so the grid has n + 1 levels and n steps, and a sampler of one evaluation a step
takes n evaluations. (`dpm_fast` alone counts evaluations, `nfe`, and ends above 0 by default.)
Everything runs on the host in float64: JAX first sees the levels as weights of a plan.

A *continuous* schedule is a curve `sigma(u)` from `sigma(0) = sigma_max` to `sigma(1) = sigma_min`,
read at `n` evenly spaced `u`: `schedule(n, sigma_min, sigma_max, ...)`. Its first level is
`sigma_max` and its last positive one `sigma_min`, exactly; `n = 1` gives `sigma_max` alone.

A *discrete* schedule picks `n` of the levels that a model was trained at, its table; it is an error
to ask for more levels than the table can give. `normal` and `sgm_uniform` also read the table
between its levels. `align_your_steps` interpolates a table made for sampling.

`truncate` and `reverse` make a grid from another grid.
"""

from collections.abc import Callable
from typing import Any

from edmjax._common.deprecation import former_names
from edmjax.processes.tables import ddpm_table, iddpm_table
from edmjax.schedules.discrete import (
    align_your_steps,
    beta_discrete,
    ddim_uniform,
    ddpm,
    iddpm,
    normal,
    sgm_uniform,
    simple,
)
from edmjax.schedules.edits import reverse, truncate
from edmjax.schedules.even import (
    cosine,
    dpm_fast,
    exponential,
    karras,
    kl_optimal,
    linear,
    polyexponential,
    theta,
    ve,
)
from edmjax.schedules.names import from_name
from edmjax.schedules.quantiles import beta, laplace, logistic
from edmjax.schedules.times import linear_quadratic, uniform, vp

__all__ = [
    "align_your_steps",
    "beta",
    "beta_discrete",
    "cosine",
    "ddim_uniform",
    "ddpm",
    "ddpm_table",
    "dpm_fast",
    "exponential",
    "from_name",
    "iddpm",
    "iddpm_table",
    "karras",
    "kl_optimal",
    "laplace",
    "linear",
    "linear_quadratic",
    "logistic",
    "normal",
    "polyexponential",
    "reverse",
    "sgm_uniform",
    "simple",
    "theta",
    "truncate",
    "uniform",
    "ve",
    "vp",
]

__getattr__: Callable[[str], Any] = former_names(
    __name__, {"log_snr": "edmjax.schedules.exponential"}
)


def __dir__() -> list[str]:
    return __all__
