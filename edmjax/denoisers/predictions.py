"""Predictions: networks of a process, which predict eps, v or x0 in its own scale and time."""

import dataclasses

import jax.numpy as jnp
from jax.tree_util import register_dataclass

from edmjax._common.typing import Network, Values
from edmjax.denoisers.network import Preconditioned, network_as_pytree
from edmjax.processes import DDPM, Process
from edmjax.processes.process import check_process

_TYPES = ("epsilon", "v_prediction", "sample")


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Prediction(Preconditioned):
    """The denoiser that `prediction` returns."""

    net: Network
    process: Process
    prediction_type: str = dataclasses.field(default="epsilon", metadata={"static": True})
    quantize: bool = dataclasses.field(default=False, metadata={"static": True})
    learned_range: bool = dataclasses.field(default=False, metadata={"static": True})

    def coefficients(self, sigma: Values) -> tuple[Values, Values, Values, Values]:
        # No network knows a time below 0: `ddpm` puts sigma = 0 at -1, and `ve` at -inf.
        t = jnp.maximum(self.process.time(sigma), 0)
        t = jnp.round(t).astype(int) if self.quantize else t
        one, alpha = jnp.ones_like(sigma), self.process.scale_of(sigma)
        if self.prediction_type == "epsilon":
            return one, -sigma, alpha, t
        if self.prediction_type == "sample":
            return 0 * one, one, alpha, t
        least = 1 / jnp.hypot(1, sigma)
        # `least / alpha` is 1 where the process preserves variance. Each factor is finite.
        return least**2, -sigma * least * (least / alpha), alpha, t


@register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ProcessScore(Preconditioned):
    """The denoiser that `from_score` returns for the score of a process: `net` is that score."""

    net: Network
    process: Process

    def coefficients(self, sigma: Values) -> tuple[Values, Values, Values, Values]:
        alpha = self.process.scale_of(sigma)
        t = jnp.maximum(self.process.time(sigma), 0)
        # The noise of the process is `alpha sigma`: a factor at a time, as sigma^2 may overflow.
        return jnp.ones_like(sigma), sigma * (alpha * sigma), alpha, t


def prediction(
    net: Network,
    process: Process,
    prediction_type: str = "epsilon",
    *,
    quantize: bool = False,
    learned_range: bool = False,
) -> Prediction:
    """The denoiser of a network `net(x_process, t[, cond])` that predicts in a process's terms.

        x_process = scale x = alpha x0 + s n,    s = alpha sigma,    t = process.time(sigma)
        epsilon         F = n,                  D = x - sigma F
        v_prediction    F = alpha n - s x0,     D = (alpha x_process - s F) / (alpha^2 + s^2)
        sample          F = x0,                 D = F

    `t` is in the unit of the process. For `processes.ddpm` it is the training timestep, from 0,
    with log sigma linear between timesteps. A network that was trained on a continuous process and
    is given 1000 t is `lambda x, t: net(x, 1000 * t)`. Coefficients are finite at any level that
    float32 holds. As `sigma` grows, eps says less and less about the data, and at a zero terminal
    SNR it says nothing.

    Args:
        process: any process of `ej.processes`.
        quantize: whether the network gets the nearest timestep in log sigma, as an int32, instead
            of a time between timesteps; `sigma` itself is not rounded. For `processes.ddpm` alone.
        learned_range: the network has twice the channels on the last axis, prediction and learned
            variance; the denoiser returns `{"x0", "log_var"}`, where `log_var` is the second half
            as it is. Samplers with fixed variances do not read it.

    Raises:
        TypeError: `net` is not callable, or already a denoiser; `process` is not a process.
        ValueError: an unknown prediction type; `quantize` for a process without timesteps; channels
            that disagree with `learned_range`; and as `edm` does.

    Source: Ho et al. (2020) for eps; Salimans and Ho (2022), appendix D, for v and x0.
    """
    check_process(process)
    if prediction_type not in _TYPES:
        raise ValueError(
            "`prediction_type` must be 'epsilon', 'v_prediction' or 'sample', got "
            f"{prediction_type!r:.80}; for the velocity of a flow use `denoisers.flow`."
        )
    if quantize and not isinstance(process, DDPM):
        raise ValueError(
            "quantize rounds to a training timestep, and this process has none: leave it out, or "
            "use `processes.ddpm`."
        )
    return Prediction(
        network_as_pytree(net), process, prediction_type, bool(quantize), bool(learned_range)
    )


def eps(
    net: Network, process: Process, *, quantize: bool = False, learned_range: bool = False
) -> Prediction:
    """`prediction(net, process, "epsilon", ...)`: the denoiser of a network that predicts noise."""
    return prediction(net, process, "epsilon", quantize=quantize, learned_range=learned_range)


def v(
    net: Network, process: Process, *, quantize: bool = False, learned_range: bool = False
) -> Prediction:
    """`prediction(net, process, "v_prediction", ...)`: of a network that predicts velocity."""
    return prediction(net, process, "v_prediction", quantize=quantize, learned_range=learned_range)


def x0(
    net: Network, process: Process, *, quantize: bool = False, learned_range: bool = False
) -> Prediction:
    """`prediction(net, process, "sample", ...)`: the denoiser of a network that predicts data."""
    return prediction(net, process, "sample", quantize=quantize, learned_range=learned_range)
