"""The flow in the angle `theta = arctan(sigma / sigma_data)`, with the log-density beside it.

In `u = x / sqrt(sigma^2 + sigma_data^2)` the network's own output is integrated,

    du/dtheta   = (cos(theta) u - D / sigma_data) / sin(theta) = -F
    dell/dtheta = tr(dF/du) = (tr J - d cos(theta)^2) / (sin(theta) cos(theta))

and `log p(x_min) = log p(x_max) + d log(r_max / r_min) - ell` with `r = sqrt(sigma^2 +
sigma_data^2)`. Both right sides are 0 for a Gaussian of standard deviation `sigma_data`. In sigma
the second is `dell/dsigma = (tr J - d c_skip) / sigma`, with `c_skip = cos(theta)^2`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from edmjax._common.functions import denoised_rows
from edmjax._common.trees import Flat
from edmjax._common.typing import Denoiser, PyTree
from edmjax.likelihood.traces import Probes, value_and_traces


def field(denoise: Denoiser, flat: Flat, sigma_data: Any) -> Any:
    """`(theta, (u, ell), (probes, cond)) -> (du/dtheta, dell/dtheta)` of a batch of rows."""

    def slope(theta: Any, state: tuple[Any, Any], context: tuple[Probes, Any]) -> tuple[Any, Any]:
        u, ell = state
        probes, cond = context
        sin, cos, data = jnp.sin(theta), jnp.cos(theta), jnp.asarray(sigma_data, u.dtype)
        sigma = data * sin / cos

        def denoised(x):
            return denoised_rows(denoise, flat, x, sigma, cond)

        value, traces = value_and_traces(denoised, data / cos * u, cos**2, probes)
        return (cos * u - value / data) / sin, (traces / (sin * cos)).astype(ell.dtype)

    return slope


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Augmented:
    """A denoiser of `{"x": rows, "ell": (batch, width)}`, so that `sample` runs both on any plan.

    A plan solves `dy/dsigma = (y - D(y)) / sigma` for any `D`, so the log-density is one more
    coordinate. It is held as `w = r ell`, with

        D(w) = c_skip w - r (tr J - d c_skip),

    so that a plan that steps in theta integrates `w / r = ell`. (With `ell` itself as the
    coordinate, which is stiff near sigma_max, 25 steps of Dopri5 in theta had an error of 0.15
    nats; this has 3e-7.)
    """

    denoise: Denoiser
    sigma_data: Any
    flat: Flat = dataclasses.field(metadata={"static": True})

    def __call__(self, state: PyTree, sigma: Any, context: PyTree) -> Any:
        rows, w = state["x"], state["ell"]
        sigma, data = sigma.astype(rows.dtype), jnp.asarray(self.sigma_data, rows.dtype)
        r = jnp.hypot(sigma, data)
        c_skip = (data / r) ** 2

        def denoised(x):
            return denoised_rows(self.denoise, self.flat, x, sigma, context["cond"])

        value, traces = value_and_traces(denoised, rows, c_skip, context["probes"])
        return {"x": value, "ell": c_skip * w - r * traces.astype(w.dtype)}
