"""Problems whose denoiser, score and log-density are known exactly: what solvers are tested on.

The frame is variance exploding: `x = x0 + sigma * n` with `n` standard normal, so that `log_prob(x,
sigma)` is the log-density of the data blurred by `sigma`, `score` its gradient, and

    denoise(x, sigma) = E[x0 | x] = x + sigma^2 score(x, sigma).

A point has the shape of the data's mean; `x` may have any axes before it, and `sigma` is a scalar
or one level for each entry of axis 0 of `x`. Each problem is a pytree of host float64 arrays, so it
passes through `jit` as an argument. Calling it denoises: `ej.sample(problem, plan, x, key)`.
Computation runs in the precision of `x`, at least float32, with full-precision matrix products.

`TwoMoons` and `GaussianLinear` are simulators, for inference: parameters, data, and the exact
posterior of the parameters given data.

At `sigma = 0` the denoiser is its limit from above: `x` itself, or, in directions in which the data
have no variance, the nearest point with any density.
"""

from edmjax.problems.empirical import Empirical
from edmjax.problems.few_step import P1, P2, P3
from edmjax.problems.gaussian import Gaussian
from edmjax.problems.mixture import Mixture
from edmjax.problems.problem import Problem
from edmjax.problems.simulators import GaussianLinear, TwoMoons

__all__ = [
    "P1",
    "P2",
    "P3",
    "Empirical",
    "Gaussian",
    "GaussianLinear",
    "Mixture",
    "Problem",
    "TwoMoons",
]


def __dir__() -> list[str]:
    return __all__
