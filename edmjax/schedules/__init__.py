"""Schedules: the noise levels to visit, as strictly decreasing NumPy float64 arrays.

A schedule is called with a number of positive levels `n`, and a level 0 follows them unless
`final_zero=False`. Everything runs on the host: the levels meet JAX first as weights of a plan.

A *continuous* schedule is a curve `sigma(u)` from `sigma(0) = sigma_max` to `sigma(1) = sigma_min`,
read at `n` evenly spaced `u`: `schedule(n, sigma_min, sigma_max, ...)`. Its first level is
`sigma_max` and its last positive one `sigma_min`, exactly; `n = 1` gives `sigma_max` alone.

A *discrete* schedule picks `n` of the levels that a model was trained at, its table; asking for
more than the table can give is an error, and nothing is dropped. `normal` and `sgm_uniform` also
read the table between its levels. `align_your_steps` interpolates a table made for sampling.

`truncate` and `reverse` make other grids from a grid.
"""

from edmjax.schedules.angles import cosine as cosine, kl_optimal as kl_optimal, theta as theta
from edmjax.schedules.discrete import (
    beta_discrete as beta_discrete,
    ddpm as ddpm,
    iddpm as iddpm,
    normal as normal,
    sgm_uniform as sgm_uniform,
    simple as simple,
)
from edmjax.schedules.edits import reverse as reverse, truncate as truncate
from edmjax.schedules.names import from_name as from_name
from edmjax.schedules.powers import (
    dpm_fast as dpm_fast,
    exponential as exponential,
    karras as karras,
    linear as linear,
    log_snr as log_snr,
    polyexponential as polyexponential,
    ve as ve,
)
from edmjax.schedules.published import align_your_steps as align_your_steps
from edmjax.schedules.quantiles import beta as beta, laplace as laplace, logistic as logistic
from edmjax.schedules.tables import ddpm_table as ddpm_table, iddpm_table as iddpm_table
from edmjax.schedules.times import (
    linear_quadratic as linear_quadratic,
    uniform as uniform,
    vp as vp,
)
