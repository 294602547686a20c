"""Training losses as pure functions of `(net, params, x0, key)`.

`net(params, x, c_noise)` or `net(params, x, c_noise, cond)` is the raw network `F`; `x0` is a batch
of clean data, axis 0 counting samples. A loss is one number: the **sum over the entries of a sample
and the mean over samples** of a weighted squared error; `*_per_sample` is the same before the mean,
with the noise levels. Noise levels and noises are drawn from `key`: `key_level, key_noise =
split(key)`, one level a sample. `stratified` draws the levels of a batch together, one in each of
as many equally likely intervals, in a random order: the same distribution for each sample, and a
loss that varies less from batch to batch (after the low-discrepancy sampler of times of Kingma et
al. 2021, arXiv 2107.00630).

All of them raise TypeError unless `net` is a function, `x0` a floating array, `key` a single typed
key and each option a number; ValueError where an option is out of its range, `x0` has no samples,
or `net` returns another shape than `x0` has.
"""

from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Array, Float, Key

from edmjax._common.arguments import real, whole
from edmjax._common.functions import check_function, with_cond
from edmjax._common.trees import check_cond, check_like
from edmjax._common.typing import Int, PyTree, Scalar
from edmjax.noise.keys import check_single_key

__all__ = [
    "ParametricNetwork",
    "PerSample",
    "dsm",
    "dsm_per_sample",
    "edm",
    "edm_per_sample",
    "init_uncertainty",
    "log_uncertainty",
    "uncertainty_weighted",
]

# `net(params, x, c_noise) -> F`, and `net(params, x, c_noise, cond)` where `cond` is given.
ParametricNetwork: TypeAlias = Callable[..., Array]


class PerSample(NamedTuple):
    """The loss of each sample of a batch, and the noise level that was drawn for it."""

    loss: Float[Array, " batch"]
    sigma: Float[Array, " batch"]
    c_noise: Float[Array, " batch"]  # what the network was given for sigma


def edm(
    net: ParametricNetwork,
    params: PyTree,
    x0: Float[Array, "batch ..."],
    key: Key[Array, ""],
    *,
    sigma_data: Scalar = 0.5,
    p_mean: Scalar = -1.2,
    p_std: Scalar = 1.2,
    stratified: bool = False,
    cond: PyTree = None,
) -> Float[Array, ""]:
    """The EDM loss, `E lambda(sigma) |D(x0 + sigma n; sigma) - x0|^2`.

    Levels are lognormal, `log sigma ~ N(p_mean, p_std^2)`. With
    `D(x; sigma) = c_skip x + c_out F(c_in x, c_noise)` and `lambda = 1 / c_out^2` this equals
    `E |F - (x0 - c_skip x) / c_out|^2`, which is what is computed: a target of unit variance at
    every level where the data's deviation is `sigma_data`. A network that outputs zero then loses
    the number of entries of a sample.

    Source: Karras et al. 2022, equation 8 and table 1 ("Ours").
    """
    options: dict[str, Any] = dict(sigma_data=sigma_data, p_mean=p_mean, p_std=p_std)
    options["stratified"] = stratified
    return edm_per_sample(net, params, x0, key, **options, cond=cond).loss.mean()


def edm_per_sample(
    net: ParametricNetwork,
    params: PyTree,
    x0: Float[Array, "batch ..."],
    key: Key[Array, ""],
    *,
    sigma_data: Scalar = 0.5,
    p_mean: Scalar = -1.2,
    p_std: Scalar = 1.2,
    stratified: bool = False,
    cond: PyTree = None,
) -> PerSample:
    """The terms whose mean is `edm`, with their noise levels."""
    n = _num_samples(net, x0, key, cond)
    sigma_data, p_std = real(sigma_data, "sigma_data", above=0), real(p_std, "p_std", above=0)
    p_mean = real(p_mean, "p_mean")
    key_level, key_noise = random.split(key)
    if stratified:
        level = jax.scipy.special.ndtri(_stratified_uniform(key_level, n))
    else:
        level = random.normal(key_level, (n,))
    sigma = jnp.exp(p_mean + p_std * level)
    noise = random.normal(key_noise, x0.shape)

    s = _along(sigma, x0)
    total = jnp.sqrt(s**2 + sigma_data**2)
    x = x0 + s * noise
    # (x0 - c_skip x) / c_out with the cancellation done by hand: no 0/0 as sigma goes to 0.
    target = (s * x0 - sigma_data**2 * noise) / (sigma_data * total)
    c_noise = jnp.log(sigma) / 4
    output = _call(net, params, x / total, c_noise, cond)
    return PerSample(_sum_of_squares(output - target), sigma, c_noise)


def dsm(
    net: ParametricNetwork,
    params: PyTree,
    x0: Float[Array, "batch ..."],
    key: Key[Array, ""],
    *,
    sigma: Scalar = 25.0,
    eps: Scalar = 1e-5,
    stratified: bool = False,
    cond: PyTree = None,
) -> Float[Array, ""]:
    """Song's denoising score matching loss, `E std(t)^2 |s(x0 + std(t) n, t) + n / std(t)|^2`.

    The process is `dx = sigma^t dw` on times `t ~ U(eps, 1)`, which puts noise of deviation
    `std(t) = sqrt((sigma^(2 t) - 1) / (2 log sigma))` on the data. The score is
    `s(x, t) = F(x, t) / std(t)`, so the error is `F + n`; the network reads `x` as it is and
    `c_noise = t`. A network that outputs zero loses the number of entries of a sample.

    Source: Song et al. 2021 (arXiv 2011.13456), equation 7 with `lambda = std^2`; process and `eps`
    from Song's MNIST tutorial.
    """
    options: dict[str, Any] = dict(sigma=sigma, eps=eps, stratified=stratified)
    return dsm_per_sample(net, params, x0, key, **options, cond=cond).loss.mean()


def dsm_per_sample(
    net: ParametricNetwork,
    params: PyTree,
    x0: Float[Array, "batch ..."],
    key: Key[Array, ""],
    *,
    sigma: Scalar = 25.0,
    eps: Scalar = 1e-5,
    stratified: bool = False,
    cond: PyTree = None,
) -> PerSample:
    """The terms whose mean is `dsm`, with their levels `std(t)`; `c_noise` is `t`."""
    n = _num_samples(net, x0, key, cond)
    sigma, eps = real(sigma, "sigma", above=1), real(eps, "eps", above=0, below=1)
    key_level, key_noise = random.split(key)
    if stratified:
        t = eps + (1.0 - eps) * _stratified_uniform(key_level, n)
    else:
        t = random.uniform(key_level, (n,), minval=eps, maxval=1.0)
    noise = random.normal(key_noise, x0.shape)
    log_sigma = jnp.log(sigma)
    # expm1: at t = 1e-5 the plain difference keeps three digits of float32.
    std = jnp.sqrt(jnp.expm1(2 * t * log_sigma) / (2 * log_sigma))
    output = _call(net, params, x0 + _along(std, x0) * noise, t, cond)
    return PerSample(_sum_of_squares(output + noise), std, t)


def uncertainty_weighted(
    each: PerSample, uncertainty: dict[str, Float[Array, "..."]]
) -> Float[Array, ""]:
    """The mean of `loss / exp(u(sigma)) + u(sigma)` with `u` of `log_uncertainty`.

    For a given network it is lowest at `u(sigma) = log E[loss | sigma]`. Then every level has the
    same weighted loss, 1, and the network's gradient is the gradient of the loss, divided by the
    average loss of the level.

    Source: Karras et al. 2024 (arXiv 2312.02696), appendix B, after Kendall et al. 2018.
    """
    u = log_uncertainty(uncertainty, each.c_noise)
    return jnp.mean(each.loss * jnp.exp(-u) + u)


def log_uncertainty(
    uncertainty: dict[str, Float[Array, "..."]], c_noise: Float[Array, "*levels"]
) -> Float[Array, "*levels"]:
    """`u = bias + weight . features`, of Fourier features of `c_noise` with norm 1."""
    half = uncertainty["weight"].shape[-1] // 2
    # Quantiles of a normal distribution in place of draws, so that there is nothing to store. The
    # upper half will do: with a sine and a cosine of each, its sign makes no difference.
    quantiles = [NormalDist().inv_cdf(0.5 + (k + 0.5) / (2 * half)) for k in range(half)]
    angles = 2 * jnp.pi * c_noise[..., None] * np.asarray(quantiles, np.float32)
    features = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1) / np.sqrt(half)
    # Not a matrix product, which accelerators may round to bfloat16.
    return uncertainty["bias"] + jnp.sum(features * uncertainty["weight"], axis=-1)


def init_uncertainty(num_entries: Int, *, dim: Int = 128) -> dict[str, Float[Array, "..."]]:
    """The parameters of `u` at the start: `log(num_entries)` at all levels.

    `num_entries` is the number of entries of a sample; the start is then the optimum for a network
    that outputs zero. `dim` is the number of features, sines and cosines: even.
    """
    num_entries, dim = whole(num_entries, "num_entries"), whole(dim, "dim", least=2)
    if dim % 2:
        raise ValueError(f"`dim` counts sines and cosines, so it must be even, got {dim}.")
    return {"bias": jnp.log(jnp.float32(num_entries)), "weight": jnp.zeros(dim, jnp.float32)}


def _num_samples(net: ParametricNetwork, x0: Any, key: Any, cond: PyTree) -> int:
    """The number of samples, once the arguments of a loss are checked."""
    extra = () if cond is None else ("cond",)
    check_function(net, "net", "params", "x", "c_noise", *extra)
    floating = hasattr(x0, "dtype") and jnp.issubdtype(x0.dtype, jnp.floating)
    if not floating:
        got = x0.dtype if hasattr(x0, "dtype") else f"{type(x0).__name__} {x0!r:.80}"
        raise TypeError(
            f"`x0` must be a floating array, got {got}: scale images to about [-1, 1] in float32."
        )
    if np.ndim(x0) == 0 or len(x0) == 0:
        raise ValueError(
            f"Axis 0 of `x0` counts samples, at least one of them, got shape {np.shape(x0)}."
        )
    check_single_key(key)
    if cond is not None:
        check_cond(cond, x0, "x0")
    return len(x0)


def _stratified_uniform(key: Key[Array, ""], n: int) -> Float[Array, " n"]:
    """One number in each of `n` equal parts of (0, 1), in a random order."""
    key_within, key_order = random.split(key)
    number = (jnp.arange(n) + random.uniform(key_within, (n,))) / n
    # The normal quantile is infinite at both ends, and the last number may be rounded to 1.
    number = jnp.clip(number, 1e-7, 1 - 6e-8)
    return random.permutation(key_order, number)


def _along(levels: Float[Array, " batch"], x: Array) -> Array:
    return levels.reshape(-1, *(1,) * (x.ndim - 1))


def _call(net, params, x, c_noise, cond):
    output = with_cond(net, params, x, c_noise, cond=cond)
    # Another shape would be broadcast, and the loss would be one of something else.
    return check_like(output, x, "The network", "x0")


def _sum_of_squares(error: Array) -> Float[Array, " batch"]:
    return jnp.sum(jnp.square(error), axis=tuple(range(1, error.ndim)))


def __dir__() -> list[str]:
    return __all__
