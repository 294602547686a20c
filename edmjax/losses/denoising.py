"""The losses of the denoisers `edm` and `song`: their laws of levels, weights and targets."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Float, Key

from edmjax import processes
from edmjax._common.arguments import real
from edmjax._common.typing import NoiseFunction, PyTree, Scalar
from edmjax.losses.batch import (
    Batch,
    Data,
    Law,
    ParametricNetwork,
    PerSample,
    along,
    stratified_uniform,
)

_P_MEAN, _P_STD = -1.2, 1.2


def edm(
    net: ParametricNetwork,
    params: PyTree,
    x0: Data,
    key: Key[Array, ""],
    *,
    sigma_data: Scalar = 0.5,
    p_mean: Scalar = _P_MEAN,
    p_std: Scalar = _P_STD,
    stratified: bool = False,
    cond: PyTree = None,
    weights: PyTree = None,
    levels: Law | None = None,
    noise: NoiseFunction | None = None,
) -> Float[Array, ""]:
    """The EDM loss, `E lambda(sigma) |D(x0 + sigma n; sigma) - x0|^2`.

    Levels are lognormal, `log sigma ~ N(p_mean, p_std^2)`, or `levels`. With
    `D(x; sigma) = c_skip x + c_out F(c_in x, c_noise)` and `lambda = 1 / c_out^2` this equals
    `E |F - (x0 - c_skip x) / c_out|^2`, which is what is computed: a target of unit variance at
    every level where the data's deviation is `sigma_data`. A network that outputs zero then loses
    the number of entries of a sample. `weights` multiply the squares, and `noise` draws `n`.

    Source: Karras et al. 2022, equation 8 and table 1 ("Ours").
    """
    options: dict[str, Any] = dict(sigma_data=sigma_data, p_mean=p_mean, p_std=p_std)
    options |= dict(stratified=stratified, cond=cond, weights=weights, levels=levels, noise=noise)
    return edm_per_sample(net, params, x0, key, **options).loss.mean()


def edm_per_sample(
    net: ParametricNetwork,
    params: PyTree,
    x0: Data,
    key: Key[Array, ""],
    *,
    sigma_data: Scalar = 0.5,
    p_mean: Scalar = _P_MEAN,
    p_std: Scalar = _P_STD,
    stratified: bool = False,
    cond: PyTree = None,
    weights: PyTree = None,
    levels: Law | None = None,
    noise: NoiseFunction | None = None,
) -> PerSample:
    """The terms whose mean is `edm`, with their noise levels."""
    batch = Batch(net, params, x0, key, cond, weights, noise)
    sigma_data, p_std = real(sigma_data, "sigma_data", above=0), real(p_std, "p_std", above=0)
    p_mean = real(p_mean, "p_mean")
    if levels is not None:
        _one_law(stratified, p_mean=(p_mean, _P_MEAN), p_std=(p_std, _P_STD))
        sigma = batch.drawn(levels, "levels").astype(batch.dtype)
    else:
        if stratified:
            uniform = stratified_uniform(batch.key_level, batch.n, batch.dtype)
            level = jax.scipy.special.ndtri(uniform)
        else:
            level = random.normal(batch.key_level, (batch.n,), batch.dtype)
        sigma = jnp.exp(p_mean + p_std * level)
    drawn = batch.noise()
    s = along(sigma, batch.x0)
    total = jax.tree.map(lambda s: jnp.sqrt(s**2 + sigma_data**2), s)
    x = jax.tree.map(lambda x0, s, n: x0 + s * n, batch.x0, s, drawn)

    def target(x0: Any, s: Any, n: Any, total: Any) -> Any:
        # (x0 - c_skip x) / c_out with the cancellation done by hand: no 0/0 as sigma goes to 0.
        return (s * x0 - sigma_data**2 * n) / (sigma_data * total)

    wanted = jax.tree.map(target, batch.x0, s, drawn, total)
    c_noise = jnp.log(sigma) / 4
    output = batch.outputs(jax.tree.map(jnp.divide, x, total), c_noise)
    errors = jax.tree.map(jnp.subtract, output, wanted)
    return PerSample(batch.sums(errors), sigma, c_noise)


def dsm(
    net: ParametricNetwork,
    params: PyTree,
    x0: Data,
    key: Key[Array, ""],
    *,
    sigma: Scalar = 25.0,
    eps: Scalar = 1e-5,
    stratified: bool = False,
    cond: PyTree = None,
    weights: PyTree = None,
    levels: Law | None = None,
    noise: NoiseFunction | None = None,
) -> Float[Array, ""]:
    """Song's denoising score matching loss, `E std(t)^2 |s(x0 + std(t) n, t) + n / std(t)|^2`.

    The process is `dx = sigma^t dw` on times `t ~ U(eps, 1)`, which puts noise of deviation
    `std(t) = sqrt((sigma^(2 t) - 1) / (2 log sigma))` on the data. The score is
    `s(x, t) = F(x, t) / std(t)`, so the error is `F + n`; the network reads `x` as it is and
    `c_noise = t`. A network that outputs zero loses the number of entries of a sample. `levels` are
    `std(t)` in place of the times' own law; `weights` multiply the squares, and `noise` draws `n`.

    Source: Song et al. 2021 (arXiv 2011.13456), equation 7 with `lambda = std^2`; process and `eps`
    from Song's MNIST tutorial.
    """
    options: dict[str, Any] = dict(sigma=sigma, eps=eps, stratified=stratified, cond=cond)
    options |= dict(weights=weights, levels=levels, noise=noise)
    return dsm_per_sample(net, params, x0, key, **options).loss.mean()


def dsm_per_sample(
    net: ParametricNetwork,
    params: PyTree,
    x0: Data,
    key: Key[Array, ""],
    *,
    sigma: Scalar = 25.0,
    eps: Scalar = 1e-5,
    stratified: bool = False,
    cond: PyTree = None,
    weights: PyTree = None,
    levels: Law | None = None,
    noise: NoiseFunction | None = None,
) -> PerSample:
    """The terms whose mean is `dsm`, with their levels `std(t)`; `c_noise` is `t`."""
    batch = Batch(net, params, x0, key, cond, weights, noise)
    sigma, eps = real(sigma, "sigma", above=1), real(eps, "eps", above=0, below=1)
    if levels is not None:
        _one_law(stratified, eps=(eps, 1e-5))
        std = batch.drawn(levels, "levels").astype(batch.dtype)
        t = processes.song_ve(sigma).time(std).astype(batch.dtype)
    else:
        if stratified:
            t = eps + (1.0 - eps) * stratified_uniform(batch.key_level, batch.n, batch.dtype)
        else:
            t = random.uniform(batch.key_level, (batch.n,), batch.dtype, minval=eps, maxval=1.0)
        log_sigma = jnp.log(jnp.asarray(sigma, batch.dtype))
        # expm1: at t = 1e-5 the plain difference keeps three digits of float32.
        std = jnp.sqrt(jnp.expm1(2 * t * log_sigma) / (2 * log_sigma))
    drawn = batch.noise()
    x = jax.tree.map(lambda x, s, n: x + s * n, batch.x0, along(std, batch.x0), drawn)
    output = batch.outputs(x, t)
    return PerSample(batch.sums(jax.tree.map(jnp.add, output, drawn)), std, t)


def _one_law(stratified: bool, **numbers: tuple[Any, float]) -> None:
    """Raises where `levels` are given, and options of the loss's own law too."""
    given = [name for name, pair in numbers.items() if not _equal(*pair)]
    given += ["stratified"] if stratified else []
    if given:
        raise ValueError(
            f"`levels` are the law of the noise levels, so `{given[0]}` would change nothing: "
            "leave one of the two out."
        )


def _equal(value: Any, usual: float) -> bool:
    return isinstance(value, float | int) and value == usual
