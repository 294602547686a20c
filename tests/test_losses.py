"""Losses against the papers' formulas in NumPy with the same draws, and against known minima."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edmjax import losses


def net(params, x, c_noise, cond=0.0):
    """Any network: nonlinear in everything it is given."""
    c = jnp.reshape(c_noise, (-1, 1, 1, 1))
    return jnp.tanh(params * x + c) + jnp.reshape(jnp.asarray(cond, jnp.float32), (-1, 1, 1, 1))


def draws(key, shape, level):
    key_level, key_noise = jax.random.split(key)
    level = np.asarray(level(key_level, shape[:1]), float).reshape(-1, 1, 1, 1)
    return level, np.asarray(jax.random.normal(key_noise, shape), float)


def f(params, x, c_noise):
    return np.tanh(params * x + c_noise)


X0 = np.asarray(jax.random.normal(jax.random.key(9), (6, 4, 3, 2))) * 0.6


@pytest.mark.parametrize("sigma_data, p_mean, p_std", [(0.5, -1.2, 1.2), (0.8, 0.3, 2.0)])
def test_edm_equals_equation_8(sigma_data, p_mean, p_std):
    level, noise = draws(jax.random.key(3), X0.shape, jax.random.normal)
    sigma = np.exp(p_mean + p_std * level)
    c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    c_out = sigma * sigma_data / np.sqrt(sigma_data**2 + sigma**2)
    c_in = 1 / np.sqrt(sigma**2 + sigma_data**2)
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    x = X0 + sigma * noise
    denoised = c_skip * x + c_out * f(0.7, c_in * x, np.log(sigma) / 4)
    expected = np.mean(np.sum(weight * (denoised - X0) ** 2, axis=(1, 2, 3)))
    loss = losses.edm(
        net,
        0.7,
        jnp.asarray(X0),
        jax.random.key(3),
        sigma_data=sigma_data,
        p_mean=p_mean,
        p_std=p_std,
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("sigma, eps", [(25.0, 1e-5), (3.0, 1e-3)])
def test_dsm_equals_the_tutorial(sigma, eps):
    uniform = partial(jax.random.uniform, minval=eps, maxval=1.0)
    t, noise = draws(jax.random.key(3), X0.shape, uniform)
    std = np.sqrt((sigma ** (2 * t) - 1) / (2 * np.log(sigma)))
    x = X0 + noise * std
    score = f(0.7, x, t) / std
    expected = np.mean(np.sum((score * std + noise) ** 2, axis=(1, 2, 3)))
    loss = losses.dsm(net, 0.7, jnp.asarray(X0), jax.random.key(3), sigma=sigma, eps=eps)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


@pytest.mark.parametrize("std", [0.5, 1.5])
def test_the_exact_denoiser_of_a_gaussian_has_the_known_loss(std):
    """`lambda(sigma)` times the posterior variance, integrated over the levels; z-score below 4.

    Where the data's deviation is sigma_data the loss is 1 an entry at every level.
    """
    sigma_data = 0.5

    def exact(params, x, c_noise):
        # F that makes D(x; sigma) = std^2 / (std^2 + sigma^2) x.
        s = jnp.exp(4 * c_noise).reshape(-1, 1)
        total = s**2 + sigma_data**2
        gain = params**2 / (params**2 + s**2) - sigma_data**2 / total
        return gain * jnp.sqrt(total) * x / (s * sigma_data / jnp.sqrt(total))

    u = np.linspace(-8, 8, 4001)
    sigma = np.exp(-1.2 + 1.2 * u)
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    posterior = weight * std**2 * sigma**2 / (std**2 + sigma**2)
    density = np.exp(-(u**2) / 2) / math.sqrt(2 * math.pi)
    expected = 8 * np.trapezoid(posterior * density, u)

    def one(key):
        key_data, key_loss = jax.random.split(key)
        x0 = std * jax.random.normal(key_data, (500, 8))
        return losses.edm(exact, std, x0, key_loss)

    values = jax.vmap(one)(jax.random.split(jax.random.key(0), 200))
    z = (values.mean() - expected) / (values.std() / math.sqrt(200))
    assert abs(z) < 4
    worse = jax.vmap(lambda k: losses.edm(exact, 1.2 * std, std * jnp.ones((4, 8)), k))
    assert jnp.isfinite(worse(jax.random.split(jax.random.key(1), 2))).all()


def test_a_network_of_zeros_loses_the_number_of_entries():
    x0 = 0.5 * jax.random.normal(jax.random.key(0), (20000, 3, 2))
    zero = lambda params, x, c_noise: jnp.zeros_like(x)  # noqa: E731
    for loss in (losses.edm, losses.dsm):
        np.testing.assert_allclose(loss(zero, None, x0, jax.random.key(1)), 6, rtol=0.03)


@pytest.mark.parametrize("loss", [losses.edm, losses.dsm])
def test_losses_are_pure_take_cond_and_have_finite_gradients(loss):
    x0, key = jnp.asarray(X0), jax.random.key(0)
    first = loss(net, 0.7, x0, key)
    assert first == loss(net, 0.7, x0, key) != loss(net, 0.7, x0, jax.random.key(1))
    np.testing.assert_allclose(jax.jit(partial(loss, net))(0.7, x0, key), first, rtol=1e-6)
    cond = jnp.arange(6)
    assert loss(net, 0.7, x0, key, cond=cond) != first
    assert jnp.isfinite(jax.grad(lambda p: loss(net, p, x0, key))(0.7))


@pytest.mark.parametrize("p_mean", [-30.0, 30.0])
def test_edm_is_finite_at_both_ends_of_the_levels(p_mean):
    loss = losses.edm(net, 0.7, jnp.asarray(X0), jax.random.key(0), p_mean=p_mean, p_std=0.1)
    assert jnp.isfinite(loss)
    assert loss < 1e3
