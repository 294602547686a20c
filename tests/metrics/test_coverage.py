"""Ranks and coverage, against posteriors whose calibration is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from support.helpers import later

import edmjax as ej

ranks, central = ej.metrics.ranks, ej.metrics.central_coverage
by_density, tarp = ej.metrics.highest_density_coverage, ej.metrics.tarp
LEVELS = np.array([0.2, 0.5, 0.8, 0.95])


def pairs(scale, n=3000, m=99, d=2, seed=0):
    """Truths from N(0, I) and posterior samples of `scale` times the deviation that is right."""
    rng = np.random.default_rng(seed)
    return scale * rng.normal(size=(n, m, d)), rng.normal(size=(n, d))


def log_prob(theta, scale):
    return stats.norm.logpdf(theta, scale=scale).sum(-1)


@pytest.mark.parametrize("scale", [0.6, *later(1.0, 1.5)])
def test_coverage_of_gaussian_posteriors_is_known(scale):
    samples, truth = pairs(scale)
    z, chi = stats.norm.ppf((1 + LEVELS) / 2), stats.chi2(2)
    wanted = {
        # |truth| < scale z, in each coordinate
        "central": (central(samples, truth, LEVELS), 2 * stats.norm.cdf(scale * z) - 1),
        # |truth|^2 < scale^2 q
        "density": (
            by_density(log_prob(samples, scale), log_prob(truth, scale), LEVELS),
            chi.cdf(scale**2 * chi.ppf(LEVELS)),
        ),
        # Balls around 0 are the regions of highest density.
        "tarp": (
            tarp(samples, truth, np.zeros_like(truth), LEVELS),
            chi.cdf(scale**2 * chi.ppf(LEVELS)),
        ),
    }
    for name, (found, exact) in wanted.items():
        error = np.sqrt(exact * (1 - exact) / len(truth))
        value = np.asarray(found.value).reshape(len(LEVELS), -1)
        # With m = 99 samples the quantiles themselves have a deviation, of 1 / sqrt(m + 2) at most.
        m = 0 if scale == 1 else 0.004
        assert np.all(np.abs(value - exact[:, None]) < 4 * error[:, None] + m), name
        np.testing.assert_allclose(found.level, LEVELS, rtol=1e-6)
        np.testing.assert_allclose(
            found.standard_error, np.sqrt(LEVELS * (1 - LEVELS) / len(truth)), rtol=1e-5
        )


@pytest.mark.parametrize("m", [4, *later(1, 99)])
def test_an_exact_posterior_has_its_level_however_few_the_samples(m):
    samples, truth = pairs(1.0, m=m)
    reference = np.random.default_rng(9).normal(size=truth.shape)
    for found in (central(samples, truth), tarp(samples, truth, reference)):
        value = np.asarray(found.value).reshape(21, -1)
        error = np.asarray(found.standard_error)[:, None]
        assert np.all(np.abs(value - np.asarray(found.level)[:, None]) <= 4 * error + 1e-6)


def test_an_exact_posterior_exceeds_the_chance_of_its_ranks_as_often_as_it_should():
    samples, truth = pairs(1.0, n=100, m=50, d=1000)
    found = ranks(samples, truth)
    assert found.ranks.shape == (100, 1000) and found.distance.shape == (1000,)
    share = np.mean(np.asarray(found.distance) > found.chance)
    assert 0.02 < share < 0.08  # 0.05, or a little less, with a deviation of 0.007


def test_ranks_and_their_distance_are_counts():
    samples, truth = pairs(1.3, n=50, m=7, d=3)
    found = ranks(samples, truth)
    counted = (samples < truth[:, None]).sum(1)
    np.testing.assert_array_equal(found.ranks, counted)
    uniform = np.arange(1, 9) / 8
    for i in range(3):
        empirical = [(counted[:, i] <= k).mean() for k in range(8)]
        np.testing.assert_allclose(found.distance[i], np.abs(empirical - uniform).max(), atol=1e-6)


@pytest.mark.thorough
def test_a_shifted_posterior_is_far_from_uniform():
    samples, truth = pairs(1.0, n=1000, d=1)
    # The rank is the position of truth - 1 under N(0, 1): the largest distance of N(-1, 1) from
    # N(0, 1) is at -1/2.
    found = ranks(samples + 1, truth)
    assert abs(found.distance[0] - (2 * stats.norm.cdf(0.5) - 1)) < 4 * 0.5 / np.sqrt(1000) + 0.01
    assert found.distance[0] > 5 * found.chance


def test_ties_share_their_places():
    """A flat density says nothing, and leaves the truth anywhere."""
    flat = by_density(np.zeros((10, 19)), np.zeros(10))
    np.testing.assert_allclose(flat.value, flat.level, atol=1e-6)
    nowhere = by_density(np.zeros((10, 19)), np.full(10, -np.inf))
    np.testing.assert_allclose(nowhere.value[-2:], [0, 1], atol=1e-6)


@pytest.mark.thorough
def test_coverage_is_invariant_where_it_should_be():
    samples, truth = (v.astype(np.float32) for v in pairs(1.2, n=200, m=31, d=6))
    log_p, log_t = log_prob(samples, 1.2), log_prob(truth, 1.2)
    base = central(samples, truth)
    increasing = central(np.exp(samples), np.exp(truth))
    np.testing.assert_array_equal(base.value, increasing.value)
    np.testing.assert_allclose(base.value, central(-samples, -truth).value, atol=1e-6)
    shaped = central(samples.reshape(200, 31, 2, 3), truth.reshape(200, 2, 3))
    np.testing.assert_array_equal(shaped.value.reshape(21, 6), base.value)
    constant = np.linspace(-5, 5, 200)  # it may depend on the data
    shifted = by_density(log_p + constant[:, None], log_t + constant)
    np.testing.assert_allclose(shifted.value, by_density(log_p, log_t).value, atol=2e-3)
    turned = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0].astype(np.float32)
    references = np.random.default_rng(4).normal(size=truth.shape).astype(np.float32)
    rotated = tarp(samples @ turned, truth @ turned, references @ turned)
    np.testing.assert_allclose(rotated.value, tarp(samples, truth, references).value, atol=2e-3)


@pytest.mark.thorough
def test_all_of_it_runs_under_jit():
    samples, truth = pairs(1.0, n=20, m=9)
    run = jax.jit(lambda s, t: (ranks(s, t), central(s, t), tarp(s, t, 0 * t)))
    plain = (ranks(samples, truth), central(samples, truth), tarp(samples, truth, 0 * truth))
    for got, want in zip(jax.tree.leaves(run(samples, truth)), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_mistakes_are_sentences(unchecked):
    s, t = jnp.ones((4, 3, 2)), jnp.ones((4, 2))
    for error, phrase, call in (
        (ValueError, r"m samples for each of n pairs.*\(4, 3, 2\)", lambda: ranks(s, t[:3])),
        (ValueError, r"\(n, m, ...\)", lambda: central(t, t)),
        (ValueError, r"`references` the shape", lambda: tarp(s, t, t[:1])),
        (ValueError, r"a shape \(n, m\)", lambda: by_density(s, t)),
        (ValueError, "holds no samples", lambda: ranks(s[:, :0], t)),
        (
            ValueError,
            r"`truth` must be finite, got nan at index \(1, 0\)",
            lambda: ranks(s, t.at[1, 0].set(jnp.nan)),
        ),
        (
            ValueError,
            r"`log_samples` must be finite, got nan",
            lambda: by_density(jnp.full((4, 3), jnp.nan), t[:, 0]),
        ),
        (ValueError, "`levels` must be a list of prob", lambda: central(s, t, [50, 80])),
        (ValueError, "`levels` must be a list of prob", lambda: central(s, t, [])),
        (TypeError, "`levels` must hold real numbers", lambda: central(s, t, "all")),
        (TypeError, "`samples` must hold real numbers", lambda: ranks("s", t)),
    ):
        with pytest.raises(error, match=phrase):
            call()
