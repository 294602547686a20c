"""The losses of networks that predict in a process's own scale and time: eps, v, x0, velocity.

    x_t = alpha x0 + s n,    (alpha, s) = process.marginal(t),    loss = |F(x_t, t) - target|^2

with the target `n` (epsilon), `alpha n - s x0` (v_prediction), `x0` (sample) or, for `flow`,
`n - x0`. These are the networks that `denoisers.prediction` and `denoisers.flow` take.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Float, Key

from edmjax import processes
from edmjax._common.arguments import one_of
from edmjax._common.typing import NoiseFunction, PyTree
from edmjax.losses.batch import Batch, Data, Law, ParametricNetwork, PerSample, along
from edmjax.losses.coupling import paired
from edmjax.processes import DDPM, Process
from edmjax.processes.process import check_process, root
from edmjax.scalar import flag

# What the network is to return, of the data, the noise, and the factors of both in `x_t`.
_TARGETS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "epsilon": lambda x0, n, alpha, s: n,
    "v_prediction": lambda x0, n, alpha, s: alpha * n - s * x0,
    "sample": lambda x0, n, alpha, s: x0,
    "velocity": lambda x0, n, alpha, s: n - x0,
}


def prediction(
    net: ParametricNetwork,
    params: PyTree,
    x0: Data,
    key: Key[Array, ""],
    process: Process,
    prediction_type: str = "epsilon",
    *,
    cond: PyTree = None,
    weights: PyTree = None,
    times: Law | None = None,
    noise: NoiseFunction | None = None,
) -> Float[Array, ""]:
    """The loss of a network that predicts "epsilon", "v_prediction" or "sample": see above.

    Times are uniform: on the timesteps of `processes.ddpm`, from 0 to `t_max` of another process,
    or `times`. The network is given them in the process's unit, one a sample, as floats; `times` of
    whole numbers reach it as int32. `weights` multiply the squares, and `noise` draws `n`. A
    network that returns zero loses the number of entries of a sample where it predicts epsilon.

    Raises as all losses; TypeError where `process` is not a process; ValueError for another
    prediction type. Source: Ho et al. (2020), equation 14; Salimans and Ho (2022), appendix D.
    """
    options: dict[str, Any] = dict(cond=cond, weights=weights, times=times, noise=noise)
    of = net, params, x0, key, process, prediction_type
    return prediction_per_sample(*of, **options).loss.mean()


def prediction_per_sample(
    net: ParametricNetwork,
    params: PyTree,
    x0: Data,
    key: Key[Array, ""],
    process: Process,
    prediction_type: str = "epsilon",
    *,
    cond: PyTree = None,
    weights: PyTree = None,
    times: Law | None = None,
    noise: NoiseFunction | None = None,
) -> PerSample:
    """The terms whose mean is `prediction`, with their levels; `c_noise` is the time."""
    batch = Batch(net, params, x0, key, cond, weights, noise)
    check_process(process)
    known = [name for name in _TARGETS if name != "velocity"]
    return _per_sample(batch, process, one_of(prediction_type, "prediction_type", known), times)


def flow(
    net: ParametricNetwork,
    params: PyTree,
    x0: Data,
    key: Key[Array, ""],
    *,
    cond: PyTree = None,
    weights: PyTree = None,
    times: Law | None = None,
    noise: NoiseFunction | None = None,
    coupled: bool = False,
) -> Float[Array, ""]:
    """The loss of a rectified flow, `E |F(x_t, t) - (n - x0)|^2` at `x_t = (1 - t) x0 + t n`.

    Times are uniform on 0 to 1, or `times`, for example `lambda key, n:
    jax.nn.sigmoid(jax.random.normal(key, (n,)))`, the logit-normal law of Esser et al. (2024).
    `weights` multiply the squares, and `noise` draws `n`.

    `coupled` gives the noises of a batch to its samples so that the sum of the squared distances
    `|n - x0|^2` is least, among the samples of one label where `cond` has labels. The paths of the
    flow are then straighter. Their end at `t = 0` is the data all the same, but `D` is no longer
    `E[x0 | x]`: sample with a method for the ODE, without noise. The pairs are found on the host.

    Raises as all losses; ValueError where `coupled` meets a condition that is not of whole numbers,
    or weights that differ from sample to sample. Source: Liu et al. (2023), equation 1; Lipman et
    al. (2023); Pooladian et al. (2023) and Tong et al. (2024) for the coupling.
    """
    options: dict[str, Any] = dict(cond=cond, weights=weights, times=times, noise=noise)
    return flow_per_sample(net, params, x0, key, **options, coupled=coupled).loss.mean()


def flow_per_sample(
    net: ParametricNetwork,
    params: PyTree,
    x0: Data,
    key: Key[Array, ""],
    *,
    cond: PyTree = None,
    weights: PyTree = None,
    times: Law | None = None,
    noise: NoiseFunction | None = None,
    coupled: bool = False,
) -> PerSample:
    """The terms whose mean is `flow`, with their levels `t / (1 - t)`; `c_noise` is `t`."""
    batch = Batch(net, params, x0, key, cond, weights, noise)
    together = flag(coupled, "coupled")
    return _per_sample(batch, processes.flow(), "velocity", times, together)


def _per_sample(
    batch: Batch, process: Process, target: str, times: Law | None, coupled: bool = False
) -> PerSample:
    if times is not None:
        seen = batch.drawn(times, "times")
    elif isinstance(process, DDPM):
        last = jnp.asarray(process.t_max, jnp.int32)
        seen = random.randint(batch.key_level, (batch.n,), 0, last + 1).astype(batch.dtype)
    else:
        t_max = jnp.asarray(process.t_max, batch.dtype)
        seen = t_max * random.uniform(batch.key_level, (batch.n,), batch.dtype)
    t = process.within(seen.astype(batch.dtype), batch.x0)
    # The numbers of a process may be float64, and the data decide.
    factors = process.scale(t), root(process.variance(t))
    alpha, s = (along(factor.astype(batch.dtype), batch.x0) for factor in factors)
    drawn = batch.noise()
    if coupled:
        drawn = paired(drawn, batch.x0, batch.cond, batch.weights)
    x = jax.tree.map(lambda x0, n, a, s: a * x0 + s * n, batch.x0, drawn, alpha, s)
    wanted = jax.tree.map(_TARGETS[target], batch.x0, drawn, alpha, s)
    errors = jax.tree.map(jnp.subtract, batch.outputs(x, seen), wanted)
    return PerSample(batch.sums(errors), process.sigma(t).astype(batch.dtype), seen)
