"""Simulators with a known posterior, against simulations by brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import ks_2samp, multivariate_normal
from support.helpers import later

import edmjax as ej

MOONS, LINEAR = ej.problems.TwoMoons(), ej.problems.GaussianLinear()
KEY = jax.random.key(0)


def moons_by_hand(seed, n):
    """Parameters and data, transcribed from the paper of the benchmark, in NumPy."""
    rng = np.random.default_rng(seed)
    theta = rng.uniform(-1, 1, (n, 2))
    a, r = rng.uniform(-np.pi / 2, np.pi / 2, n), rng.normal(0.1, 0.01, n)
    point = np.stack([r * np.cos(a) + 0.25, r * np.sin(a)], 1)
    shift = np.stack([-np.abs(theta.sum(1)), theta[:, 1] - theta[:, 0]], 1) / np.sqrt(2)
    return theta, point + shift


def test_two_moons_are_simulated_as_in_the_benchmark():
    theta, x = moons_by_hand(0, 4000)
    prior = np.asarray(MOONS.prior(KEY, 4000))
    ours = np.asarray(MOONS.simulate(jax.random.key(1), prior))
    for mine, theirs in ((prior, theta), (ours, x), (ours @ [[1], [1]], x @ [[1], [1]])):
        for column in range(mine.shape[1]):
            assert ks_2samp(mine[:, column], theirs[:, column]).pvalue > 1e-4


def crescent(x, cells=400):
    """The centres of cells that tile a rectangle around one crescent, as theta, and their area."""
    # |u_1| = p_1 - x_1 and u_2 = x_2 - p_2, with p within 0.15 of (1/4, 0) and right of it
    first = np.linspace(max(0.25 - x[0], 0), 0.4 - x[0], cells + 1)
    second = np.linspace(x[1] - 0.15, x[1] + 0.15, cells + 1)
    u = np.meshgrid(*[(side[1:] + side[:-1]) / 2 for side in (first, second)], indexing="ij")
    theta = np.stack([u[0] - u[1], u[0] + u[1]], -1).reshape(-1, 2) / np.sqrt(2)
    return theta, (first[1] - first[0]) * (second[1] - second[0])


# In the middle, where the first datum is above 1/4, and where the square cuts the crescents.
@pytest.mark.parametrize("x", [(-1.06, 0.16), *later((0.0, 0.0), (0.3, 0.1), (0.34, -0.2))])
def test_the_posterior_of_two_moons_is_a_density_and_its_draws_have_it(x):
    grid, area = crescent(x)
    log_p = np.asarray(MOONS.log_posterior(grid.astype(np.float32), jnp.asarray(x)))
    p = np.exp(log_p) * area
    assert abs(p.sum() - 0.5) < 0.005  # of two crescents
    draws = MOONS.posterior(KEY, x, 4000)
    log_q = np.asarray(MOONS.log_posterior(draws, jnp.asarray(x)))
    entropy = -2 * np.sum(p[p > 0] * log_p[p > 0])
    assert np.isfinite(log_q).all()
    assert abs(entropy + log_q.mean()) < 4 * log_q.std() / np.sqrt(4000) + 0.02
    draws = np.asarray(draws)
    side = draws.sum(1) > 0
    assert abs(side.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)
    error = draws[side].std(0) / np.sqrt(2000)
    mean = 2 * (p[:, None] * grid).sum(0)
    assert np.all(np.abs(draws[side].mean(0) - mean) < 4 * error + 0.005 * np.abs(mean))


@pytest.mark.thorough
@pytest.mark.parametrize("x", [(0.0, 0.0), (0.3, 0.1), (-1.06, 0.16)])
def test_the_posterior_of_two_moons_is_that_of_simulations_near_the_data(x):
    """Rejection: of four million simulations those whose data lie within 0.01."""
    width, kept = 0.01, []
    for seed in range(8):
        theta, data = moons_by_hand(seed, 500_000)
        kept.append(theta[np.abs(data - x).max(1) < width])
    brute = np.concatenate(kept)
    # Exact draws with the same blur: given data near `x`, as many of each as they are probable.
    near = x + np.random.default_rng(0).uniform(-width, width, (24, 2))
    share = np.asarray(MOONS._share(jnp.asarray(near)))
    exact = np.concatenate(
        [
            MOONS.posterior(jax.random.key(i), one, 1000)[: int(1000 * part)]
            for i, (one, part) in enumerate(zip(near, share / share.max(), strict=True))
        ]
    )
    assert len(brute) > 60
    for direction in ([1, 0], [0, 1], [1, 1], [1, -1]):
        assert ks_2samp(brute @ direction, exact @ direction).pvalue > 1e-3


@pytest.mark.thorough
def test_the_truth_is_one_more_draw_of_the_exact_posterior():
    n, m = 200, 19
    theta = MOONS.prior(KEY, n)
    x = MOONS.simulate(jax.random.key(1), theta)
    keys = jax.random.split(jax.random.key(2), n)
    draws = np.stack(
        [MOONS.posterior(key, one, m) for key, one in zip(keys, np.asarray(x), strict=True)]
    )
    ranks = ej.metrics.ranks(draws, theta)
    assert np.all(ranks.distance < 1.5 * ranks.chance)
    log_draws = jax.vmap(MOONS.log_posterior)(draws, x)
    found = ej.metrics.highest_density_coverage(log_draws, MOONS.log_posterior(theta, x))
    assert np.all(np.abs(found.value - found.level) < 4 * found.standard_error + 1e-6)


def test_the_posterior_of_a_gaussian_mean():
    theta = LINEAR.prior(KEY, 5000)
    x = LINEAR.simulate(jax.random.key(1), theta)
    # theta - x / 2 has the variance of the posterior, and does not depend on x
    left = np.asarray(theta - x / 2)
    np.testing.assert_allclose(left.var(0), 0.05, rtol=0.1)
    assert np.abs(left.T @ np.asarray(x) / 5000).max() < 5 * 0.1 / np.sqrt(5000)
    draws = np.asarray(LINEAR.posterior(jax.random.key(2), x[0], 5000))
    np.testing.assert_allclose(draws.mean(0), x[0] / 2, atol=4 * np.sqrt(0.05 / 5000))
    np.testing.assert_allclose(draws.var(0), 0.05, rtol=0.1)
    exact = multivariate_normal(np.asarray(x[0]) / 2, 0.05 * np.eye(10)).logpdf(draws[:5])
    np.testing.assert_allclose(LINEAR.log_posterior(draws[:5], x[0]), exact, rtol=1e-5)


def test_mistakes_are_sentences(unchecked):
    theta = MOONS.prior(KEY, 3)
    for error, phrase, call in (
        (
            ValueError,
            r"`theta` must have the shape \(n, 2\), got \(3, 3\)",
            lambda: MOONS.simulate(KEY, jnp.ones((3, 3))),
        ),
        (ValueError, r"`theta` must have the shape \(n, 10\)", lambda: LINEAR.simulate(KEY, theta)),
        (
            ValueError,
            r"`x` must have the shape \(n, 2\) or \(2,\)",
            lambda: MOONS.log_posterior(theta, jnp.ones(3)),
        ),
        (ValueError, "`x` must be the data of one", lambda: MOONS.posterior(KEY, theta, 3)),
        (ValueError, "`x` cannot be data of two moons", lambda: MOONS.posterior(KEY, [2, 0], 3)),
        (ValueError, "`x` must be finite", lambda: LINEAR.posterior(KEY, [np.nan] * 10, 3)),
        (ValueError, "`n` must be at least 1", lambda: MOONS.prior(KEY, 0)),
        (TypeError, "`n` must be an integer", lambda: LINEAR.prior(KEY, 2.5)),
    ):
        with pytest.raises(error, match=phrase):
            call()
    assert np.all(MOONS.log_posterior(theta, jnp.array([2.0, 0.0])) == -np.inf)
