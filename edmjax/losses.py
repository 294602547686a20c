"""Training losses as pure functions of `(net, params, x0, key)`.

`net(params, x, c_noise)` or `net(params, x, c_noise, cond)` is the raw network `F`; `x0` is a batch
of clean data, axis 0 counting samples. A loss is one number: the **sum over the entries of a sample
and the mean over samples** of a weighted squared error. Noise levels and noises are drawn from
`key`: `key_level, key_noise = split(key)`, one level a sample.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Float, Key, PyTree

ParametricNetwork = Callable[..., Array]


def edm(
    net: ParametricNetwork,
    params: PyTree,
    x0: Float[Array, "batch ..."],
    key: Key[Array, ""],
    *,
    sigma_data: float = 0.5,
    p_mean: float = -1.2,
    p_std: float = 1.2,
    cond: Any = None,
) -> Float[Array, ""]:
    """The EDM loss, `E lambda(sigma) |D(x0 + sigma n; sigma) - x0|^2`.

    Levels are lognormal, `log sigma ~ N(p_mean, p_std^2)`. With
    `D(x; sigma) = c_skip x + c_out F(c_in x, c_noise)` and `lambda = 1 / c_out^2` this equals
    `E |F - (x0 - c_skip x) / c_out|^2`, which is what is computed: a target of unit variance at
    every level where the data's deviation is `sigma_data`. A network that outputs zero then loses
    the number of entries of a sample.

    Source: Karras et al. 2022, equation 8 and table 1 ("Ours").
    """
    key_level, key_noise = random.split(key)
    level = random.normal(key_level, x0.shape[:1])
    sigma = jnp.exp(p_mean + p_std * level)
    noise = random.normal(key_noise, x0.shape)

    s = _along(sigma, x0)
    total = jnp.sqrt(s**2 + sigma_data**2)
    x = x0 + s * noise
    # (x0 - c_skip x) / c_out with the cancellation done by hand: no 0/0 as sigma goes to 0.
    target = (s * x0 - sigma_data**2 * noise) / (sigma_data * total)
    output = _call(net, params, x / total, jnp.log(sigma) / 4, cond)
    return _sum_of_squares(output - target)


def dsm(
    net: ParametricNetwork,
    params: PyTree,
    x0: Float[Array, "batch ..."],
    key: Key[Array, ""],
    *,
    sigma: float = 25.0,
    eps: float = 1e-5,
    cond: Any = None,
) -> Float[Array, ""]:
    """Song's denoising score matching loss, `E std(t)^2 |s(x0 + std(t) n, t) + n / std(t)|^2`.

    The process is `dx = sigma^t dw` on times `t ~ U(eps, 1)`, which puts noise of deviation
    `std(t) = sqrt((sigma^(2 t) - 1) / (2 log sigma))` on the data. The score is
    `s(x, t) = F(x, t) / std(t)`, so the error is `F + n`; the network reads `x` as it is and
    `c_noise = t`. A network that outputs zero loses the number of entries of a sample.

    Source: Song et al. 2021 (arXiv 2011.13456), equation 7 with `lambda = std^2`; the process and
    `eps` are those of Song's MNIST tutorial.
    """
    key_level, key_noise = random.split(key)
    t = random.uniform(key_level, x0.shape[:1], minval=eps, maxval=1.0)
    noise = random.normal(key_noise, x0.shape)
    log_sigma = jnp.log(sigma)
    # expm1: at t = 1e-5 the plain difference keeps three digits of float32.
    std = jnp.sqrt(jnp.expm1(2 * t * log_sigma) / (2 * log_sigma))
    output = _call(net, params, x0 + _along(std, x0) * noise, t, cond)
    return _sum_of_squares(output + noise)


def _along(levels: Float[Array, " batch"], x: Array) -> Array:
    return levels.reshape(-1, *(1,) * (x.ndim - 1))


def _call(net, params, x, c_noise, cond):
    return net(params, x, c_noise, *(() if cond is None else (cond,)))


def _sum_of_squares(error: Array) -> Float[Array, ""]:
    return jnp.mean(jnp.sum(jnp.square(error), axis=tuple(range(1, error.ndim))))
