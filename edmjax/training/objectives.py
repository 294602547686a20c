"""What a network is trained for: the loss of a configuration, and the denoiser that it makes.

name     x_t = alpha x0 + s n                               c_noise        the network predicts
edm      x0 + sigma n                                       log(sigma)/4   as Karras et al. 2022
dsm      x0 + sigma n, dx = sigma^t dw                      t              sigma times the score
vp       beta from 0.1 to 20, linear (Song et al. 2021)     t              eps, v or x0
cosine   alpha = cos(pi t / 2) (Nichol and Dhariwal 2021)   t              eps, v or x0
ddpm     1,000 betas from 1e-4 to 0.02 (Ho et al. 2020)     0 ... 999      eps, v or x0
flow     (1 - t) x0 + t n (Liu et al., Lipman et al. 2023)  t              n - x0
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Float, Key

from edmjax import denoisers, losses, processes
from edmjax._common.typing import Network, PyTree
from edmjax.losses.batch import stratified_uniform
from edmjax.processes import Process
from edmjax.training.config import LossConfig

SIGMA_DATA = 0.5  # Karras et al. (2022), table 1
_TYPES = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
_USUAL = {"vp": "eps", "cosine": "v", "ddpm": "eps"}
_WEIGHTS = {"min_snr": losses.min_snr, "p2": losses.p2}
_PROCESSES: dict[str, Callable[[], Process]] = {
    "vp": processes.vp,
    "cosine": processes.cosine,
    "ddpm": processes.ddpm,
    "flow": processes.flow,
}
# Of 1,000 even times the first, and the last at which something of the data is left: at time 1 the
# level is infinite.
_INNER = (0.001, 0.999)

# `(net, params, x0, key, cond=None) -> PerSample`
Loss = Callable[..., losses.PerSample]


def build_loss(config: LossConfig) -> Loss:
    """The loss `(net, params, x0, key, cond=None) -> PerSample` that a configuration names.

    It also takes `weights` and `noise`, as the losses of `ej.losses` do. `sigma_data` and `p_mean`
    that are None are 0.5 and -1.2. With `uncertainty` the `c_noise` of `ddpm` is log(sigma) / 4,
    which the learned weighting reads: a smooth function of timesteps would know one at a time.
    """
    plain = _plain_loss(config)
    weight = _WEIGHTS.get(config.weighting or "none")
    timesteps = config.name == "ddpm" and config.uncertainty
    if weight is None and not timesteps:
        return plain
    denoise = build_denoiser(config, _no_network)

    def loss(
        net: Any, params: PyTree, x0: Any, key: Key[Array, ""], **options: Any
    ) -> losses.PerSample:
        each = plain(net, params, x0, key, **options)
        if weight is not None:
            _, c_out, _, _ = denoise.coefficients(each.sigma)
            each = each._replace(loss=jnp.asarray(weight(each.sigma, c_out)) * each.loss)
        return each._replace(c_noise=jnp.log(each.sigma) / 4) if timesteps else each

    return loss


def build_denoiser(config: LossConfig, net: Network) -> denoisers.Preconditioned:
    """The denoiser `(x, sigma) -> E[x0 | x]` of a network trained with this loss.

    After a flow with `coupling` it is for samplers of the ODE, and not `E[x0 | x]`.
    """
    if config.name == "edm":
        return denoisers.edm(net, SIGMA_DATA if config.sigma_data is None else config.sigma_data)
    if config.name == "dsm":
        return denoisers.song(net, config.sigma)
    if config.name == "flow":
        return denoisers.flow(net)
    return denoisers.prediction(net, *_process_and_type(config))


def build_process(config: LossConfig) -> Process | None:
    """The process that a loss is of; None for `edm`, which has none but the package's frame."""
    return None if config.name == "edm" else _process(config)


def trained_range(config: LossConfig) -> tuple[float, float]:
    """The lowest and the highest noise level that a network of this loss learns of.

    `edm` and `flow` draw from all levels, so that these are 0 and infinity. `dsm` and `vp` have the
    levels of their times from `eps` to 1, `cosine` of 0.001 to 0.999, 0.0016 to 637, and `ddpm` the
    ends of its table, 0.01 to 157.
    """
    if config.name in ("edm", "flow"):
        return 0.0, math.inf
    process = _process(config)
    first, last = (0.0, 999.0) if config.name == "ddpm" else _times(config)
    return float(process.sigma(first)), float(process.sigma(last))


def _times(config: LossConfig) -> tuple[float, float]:
    """The first and the last time that the loss draws, where times are continuous."""
    return {"cosine": _INNER, "flow": (0.0, 1.0)}.get(config.name, (config.eps, 1.0))


def _process(config: LossConfig) -> Process:
    return processes.song_ve(config.sigma) if config.name == "dsm" else _PROCESSES[config.name]()


def _process_and_type(config: LossConfig) -> tuple[Process, str]:
    return _process(config), _TYPES[config.predict or _USUAL[config.name]]


def _plain_loss(config: LossConfig) -> Loss:
    """The loss without a weighting of its levels."""
    if config.name == "edm":
        options = {name: getattr(config, name) for name in ("sigma_data", "p_mean", "p_std")}
        options = {name: value for name, value in options.items() if value is not None}
        return partial(losses.edm_per_sample, **options, stratified=config.stratified)
    if config.name == "dsm":
        options = {name: getattr(config, name) for name in ("sigma", "eps", "stratified")}
        return partial(losses.dsm_per_sample, **options)
    law = partial(_draw_times, config)
    if config.name == "flow":
        coupled = config.coupling == "minibatch"
        return partial(losses.flow_per_sample, times=law, coupled=coupled)
    process, predicts = _process_and_type(config)
    return partial(_prediction, process=process, prediction_type=predicts, times=law)


def _prediction(
    net: Any,
    params: PyTree,
    x0: Any,
    key: Key[Array, ""],
    *,
    process: Process,
    prediction_type: str,
    **options: Any,
) -> losses.PerSample:
    of = net, params, x0, key, process, prediction_type
    return losses.prediction_per_sample(*of, **options)


def _draw_times(config: LossConfig, key: Key[Array, ""], n: int) -> Float[Array, " n"]:
    """One time a sample; float32, whatever x64."""
    if config.stratified:
        uniform = stratified_uniform(key, n, jnp.float32)
    else:
        # Not 0, where the normal quantile is infinite.
        uniform = random.uniform(key, (n,), jnp.float32, minval=1e-7)
    if config.name == "ddpm":
        return jnp.floor(1000 * uniform)
    if config.time == "logit_normal":
        return jax.nn.sigmoid(jax.scipy.special.ndtri(uniform))
    first, last = _times(config)
    return first + (last - first) * uniform


def _no_network(x: PyTree, c_noise: Any) -> PyTree:
    """In a denoiser of which the coefficients alone are read."""
    return x
