"""Losses against the papers' formulas in NumPy with the same draws, and against known minima."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats
from support.helpers import later

from edmjax import losses, nn, training
from edmjax.training import ema


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


@pytest.mark.parametrize("std", [*later(0.5), 1.5])
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


U_PARAMS = {
    "bias": jnp.float32(1.5),
    "weight": jax.random.normal(jax.random.key(5), (128,)),
}


def test_uncertainty_is_a_linear_map_of_features_of_norm_1():
    c_noise = jnp.linspace(-2, 2, 101)
    features = jax.jacobian(losses.log_uncertainty)(U_PARAMS, c_noise)["weight"]
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    expected = 1.5 + np.asarray(features, float) @ np.asarray(U_PARAMS["weight"], float)
    np.testing.assert_allclose(losses.log_uncertainty(U_PARAMS, c_noise), expected, atol=1e-5)
    # Fourier features: each squared pair is constant, so each is a pure frequency.
    halves = np.asarray(features).reshape(101, 2, 64)
    np.testing.assert_allclose((halves**2).sum(1), np.full((101, 64), 1 / 64), rtol=1e-4)
    start = losses.log_uncertainty(losses.init_uncertainty(784), c_noise)
    np.testing.assert_allclose(start, np.full(101, np.log(784)), rtol=1e-6)


def uncertain_steps(batch_loss, optimizer, params, uncertainty, examples, indices):
    """`make_train_steps` around the network of this file, which has one parameter."""
    graphdef = nn.functional(nnx.Linear(1, 1, rngs=nnx.Rngs(0)))[0].graphdef  # never called
    functional = nn.Functional(graphdef, {})
    advance = training.make_train_steps(functional, batch_loss, optimizer, [ema.exponential(0.0)])
    state = training.init_state(
        functional, params, optimizer, jax.random.key(4), uncertainty=uncertainty
    )
    return advance(state, training.Examples(examples), indices)


def test_the_networks_gradient_is_the_weighted_one_and_the_loss_the_plain_one():
    def loss(_, params, x0, key, cond):
        return losses.edm_per_sample(net, params["p"], x0, key)

    batch_loss = training.make_batch_loss(loss, lambda x: x)
    one = {"p": jnp.float32(0.7)}
    examples, indices = jnp.asarray(X0), jnp.arange(6)[None]
    each = lambda p: batch_loss(None, p, jax.random.key(4), 0, training.Examples(examples))  # noqa: E731
    losses_now, slopes = each(one), jax.jacobian(lambda p: each(p).loss)(one)["p"]
    u = np.asarray(losses.log_uncertainty(U_PARAMS, losses_now.c_noise), float)

    state, mean = uncertain_steps(batch_loss, optax.sgd(1.0), one, U_PARAMS, examples, indices)
    np.testing.assert_allclose(mean, [losses_now.loss.mean()], rtol=1e-5)
    step = 0.7 - state.params["p"]
    np.testing.assert_allclose(step, np.mean(np.exp(-u) * np.asarray(slopes)), rtol=1e-4)
    bias_step = 1.5 - state.uncertainty["bias"]
    expected = np.mean(1 - np.asarray(losses_now.loss) * np.exp(-u))
    np.testing.assert_allclose(bias_step, expected, rtol=1e-4)

    # Clipped apart: with one norm for both, the larger gradient would leave the other nothing.
    clipped = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0))
    state, _ = uncertain_steps(batch_loss, clipped, one, U_PARAMS, examples, indices)
    np.testing.assert_allclose(abs(state.params["p"] - 0.7), 1e-3, rtol=1e-3)
    moved = jax.tree.map(jnp.subtract, state.uncertainty, U_PARAMS)
    np.testing.assert_allclose(optax.tree.norm(moved), 1e-3, rtol=1e-3)


@pytest.mark.thorough
def test_uncertainty_becomes_the_logarithm_of_the_mean_loss_of_each_level():
    """A network of zeros on a Gaussian of deviation s, whose loss is known at each level.

    The target `(sigma x0 - sigma_data^2 n) / (sigma_data sqrt(sigma^2 + sigma_data^2))` has the
    variance `(sigma^2 s^2 + sigma_data^4) / (sigma_data^2 (sigma^2 + sigma_data^2))`.
    """
    sigma_data, s, entries = 0.5, 2.0, 16

    def loss(_, params, x0, key, cond):
        zero = lambda p, x, c: p["p"] * jnp.zeros_like(x)  # noqa: E731
        return losses.edm_per_sample(zero, params, x0, key, sigma_data=sigma_data)

    examples = s * jax.random.normal(jax.random.key(0), (20000, entries))
    indices = np.random.default_rng(0).integers(0, 20000, (800, 256))
    state, means = uncertain_steps(
        training.make_batch_loss(loss, lambda x: x),
        optax.adam(optax.cosine_decay_schedule(0.03, 800)),
        {"p": jnp.float32(1.0)},
        losses.init_uncertainty(entries),
        examples,
        jnp.asarray(indices),
    )
    sigma = np.exp(-1.2 + 1.2 * np.linspace(-1.5, 1.5, 31))
    total = sigma**2 + sigma_data**2
    expected = np.log(entries * (sigma**2 * s**2 + sigma_data**4) / (sigma_data**2 * total))
    assert np.ptp(expected) > 1.5  # a constant would not do
    u = losses.log_uncertainty(state.uncertainty, jnp.log(jnp.asarray(sigma, jnp.float32)) / 4)
    np.testing.assert_allclose(u, expected, atol=0.1)
    # What is reported is the plain loss: about 60 here, where the weighted one is about 5.
    density = np.exp(-(np.linspace(-6, 6, 2001) ** 2) / 2)
    sigma = np.exp(-1.2 + 1.2 * np.linspace(-6, 6, 2001))
    variance = (sigma**2 * s**2 + sigma_data**4) / (sigma_data**2 * (sigma**2 + sigma_data**2))
    plain = entries * (density @ variance) / density.sum()
    np.testing.assert_allclose(means.mean(), plain, rtol=0.02)
    assert state.params["p"] == 1.0


def test_terms_of_each_sample_come_with_their_levels():
    x0, key = jnp.asarray(X0), jax.random.key(3)
    each = losses.edm_per_sample(net, 0.7, x0, key, p_mean=-0.5)
    level = jax.random.normal(jax.random.split(key)[0], (6,))
    np.testing.assert_allclose(each.sigma, np.exp(-0.5 + 1.2 * level), rtol=1e-6)
    np.testing.assert_allclose(each.c_noise, np.log(each.sigma) / 4, rtol=1e-5)
    np.testing.assert_allclose(each.loss.mean(), losses.edm(net, 0.7, x0, key, p_mean=-0.5))
    each = losses.dsm_per_sample(net, 0.7, x0, key, sigma=3.0)
    expected = np.sqrt((3.0 ** (2 * np.asarray(each.c_noise, float)) - 1) / (2 * np.log(3)))
    np.testing.assert_allclose(each.sigma, expected, rtol=1e-4)
    np.testing.assert_allclose(each.loss.mean(), losses.dsm(net, 0.7, x0, key, sigma=3.0))


@pytest.mark.parametrize("loss", [losses.edm_per_sample, losses.dsm_per_sample])
def test_stratified_levels_are_one_in_each_equally_likely_interval(loss):
    n, cdf = 256, stats.norm(-1.2, 1.2).cdf
    x0, keys = jnp.zeros((n, 1, 1, 1)), jax.random.split(jax.random.key(0), 40)
    each = jax.jit(jax.vmap(lambda key: loss(net, 0.7, x0, key, stratified=True)))(keys)
    c_noise = np.asarray(each.c_noise, float)
    uniform = cdf(4 * c_noise) if loss is losses.edm_per_sample else (c_noise - 1e-5) / (1 - 1e-5)
    intervals = np.floor(n * uniform + 1e-4 * (0.5 - uniform)).astype(int)
    np.testing.assert_array_equal(np.sort(intervals, axis=1), np.tile(np.arange(n), (40, 1)))
    # Each sample's own level has the whole distribution, and is anywhere in its interval.
    assert stats.kstest(uniform[:, 0], "uniform").pvalue > 1e-3
    assert stats.kstest((n * uniform % 1).ravel(), "uniform").pvalue > 1e-3
    assert np.isfinite(each.loss).all()
