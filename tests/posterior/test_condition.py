"""`problem.condition`: against brute-force importance sampling, and its own identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edmjax as ej
from edmjax import posterior

RNG = np.random.default_rng(3)
ROOT = RNG.normal(size=(3, 3))
PROBLEMS = {
    "gaussian": ej.problems.Gaussian([0.3, -1.0, 0.5], ROOT @ ROOT.T),
    "diagonal": ej.problems.Gaussian([0.3, -1.0, 0.5], [1.0, 0.2, 2.0]),
    "mixture": ej.problems.Mixture([0.2, 0.5, 0.3], RNG.normal(size=(3, 3)), [0.1, 0.4, 1.0]),
    "matrices": ej.problems.Mixture(
        [0.4, 0.6], RNG.normal(size=(2, 3)), np.stack([ROOT @ ROOT.T, np.eye(3)])
    ),
    "empirical": ej.problems.Empirical(RNG.normal(size=(20, 3)), 0.4),
}
A = np.array([[1.0, 0.5, 0.0], [0.0, -1.0, 2.0]])
MEASURED = posterior.matrix(A, [0.7, -0.3], 0.5)


TIERS = [
    name if name == "matrices" else pytest.param(name, marks=pytest.mark.thorough)
    for name in PROBLEMS
]


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_against_importance_sampling(name, x64):
    """Prior draws weighted by the likelihood: mean, covariance, evidence, to 4 standard errors."""
    prior, n = PROBLEMS[name], 200_000
    draws = np.asarray(prior.sample(jax.random.key(0), n))
    log_weights = np.asarray(MEASURED.log_prob(draws))
    weights = np.exp(log_weights - log_weights.max())
    evidence = weights.mean() * np.exp(log_weights.max())
    error = weights.std() / np.sqrt(n) * np.exp(log_weights.max())
    found = prior.condition(MEASURED)
    assert abs(np.exp(found.log_evidence) - evidence) < 4 * error
    weights /= weights.sum()
    mean = weights @ draws
    # Of a ratio of means: the weighted deviations.
    slack = 4 * np.sqrt(((weights[:, None] * (draws - mean)) ** 2).sum(0))
    exact = np.asarray(found.sample(jax.random.key(1), n))
    slack = slack + 4 * exact.std(0) / np.sqrt(n)
    assert (np.abs(exact.mean(0) - mean) < slack).all()
    cov = (draws - mean).T @ (weights[:, None] * (draws - mean))
    np.testing.assert_allclose(np.cov(exact.T), cov, atol=0.03 * np.abs(cov).max())


@pytest.mark.parametrize("name", TIERS)
def test_the_density_is_bayes_rule(name, x64):
    """log p(x0 | y) = log p(x0) + log p(y | x0) - log p(y), at level 0."""
    prior, points = PROBLEMS[name], RNG.normal(size=(7, 3))
    found = prior.condition(MEASURED)
    want = prior.log_prob(points, 0.0) + MEASURED.log_prob(points) - found.log_evidence
    np.testing.assert_allclose(found.log_prob(points, 0.0), want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", TIERS)
def test_the_score_and_the_denoiser_are_those_of_the_density(name, x64):
    found, x = PROBLEMS[name].condition(MEASURED), RNG.normal(size=(4, 3))
    for sigma in (0.2, 3.0):
        slope = jax.grad(lambda x, sigma: found.log_prob(x, sigma).sum())(jnp.asarray(x), sigma)
        np.testing.assert_allclose(found.score(x, sigma), slope, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(found(x, sigma), x + sigma**2 * slope, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", TIERS)
def test_y_may_be_traced(name, x64):
    prior, x = PROBLEMS[name], RNG.normal(size=(4, 3))
    matrix, y = A, np.array([0.7, -0.3])

    @jax.jit
    def of(y, std):
        found = prior.condition(posterior.matrix(matrix, y, std))
        return found(x, 0.5), found.log_evidence, found.sample(jax.random.key(0), 3)

    want = prior.condition(MEASURED)
    for got, expected in zip(
        of(y, 0.5),
        (want(x, 0.5), want.log_evidence, want.sample(jax.random.key(0), 3)),
        strict=True,
    ):
        # Draws by another basis of the same covariance are other draws.
        if np.shape(got) != (3, 3):
            np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-9)
    assert of._cache_size() == 1


def test_without_noise_the_measurement_holds(x64):
    y = np.array([0.7, -0.3])
    for prior in PROBLEMS.values():
        if isinstance(prior, ej.problems.Empirical):
            continue
        found = prior.condition(posterior.matrix(A, y, 0.0))
        draws = np.asarray(found.sample(jax.random.key(0), 50))
        np.testing.assert_allclose(draws @ A.T, np.broadcast_to(y, (50, 2)), atol=1e-7)


def test_twice_is_at_once(x64):
    first, second = posterior.matrix(A[:1], [0.7], 0.5), posterior.matrix(A[1:], [-0.3], 0.5)
    for prior in (PROBLEMS["gaussian"], PROBLEMS["mixture"]):
        one, two = prior.condition(MEASURED), prior.condition(first).condition(second)
        x = RNG.normal(size=(4, 3))
        np.testing.assert_allclose(one(x, 0.5), two(x, 0.5), rtol=1e-9, atol=1e-10)
        total = prior.condition(first).log_evidence + two.log_evidence
        np.testing.assert_allclose(one.log_evidence, total, rtol=1e-10)


def test_bad_input_is_a_sentence(unchecked):
    prior = PROBLEMS["gaussian"]
    with pytest.raises(TypeError, match="`measurement` must be a linear one"):
        prior.condition(posterior.nonlinear(lambda x: x**2, np.zeros(3), 0.1))
    with pytest.raises(ValueError, match="as many columns as a sample has entries"):
        prior.condition(posterior.matrix(np.eye(4), np.zeros(4), 0.1))
    with pytest.raises(ValueError, match="`y` has shape"):
        prior.condition(posterior.matrix(A, np.zeros((5, 2)), 0.1))
