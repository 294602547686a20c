"""pigdm, tmpd and mmps: exact on Gaussians, and their formulas on mixtures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edmjax as ej
from edmjax import posterior
from edmjax.posterior.operators import Fourier

RNG = np.random.default_rng(0)
D = 6
MEAN = RNG.normal(size=D)
ROOT = RNG.normal(size=(D, D)) / 2
COV = ROOT @ ROOT.T
A = RNG.normal(size=(3, D))
X = RNG.normal(size=(5, D))
MIXTURE = ej.problems.Mixture([0.3, 0.7], RNG.normal(size=(2, D)), 0.3 * np.stack([COV, np.eye(D)]))
LEVELS = (0.05, 0.7, 20.0)


def measurements(shape=(D,)):
    """One of each kind, by name, with noise 0.3."""
    rng = np.random.default_rng(1)
    keep = np.array([1.0, 0, 1, 1, 0, 0])
    y = rng.normal(size=D)
    return {
        "matrix": posterior.matrix(A, rng.normal(size=3), 0.3),
        "linear": posterior.linear(
            lambda x: {"a": A @ x, "b": x[0] - 2 * x[1]},
            {"a": rng.normal(size=3), "b": np.array(0.4)},
            0.3,
        ),
        "mask": posterior.mask(keep, y, 0.3),
        "noises": posterior.mask(keep, y, np.linspace(0.1, 1, D)),
        "blur": posterior.blur([0.25, 0.5, 0.25], y, 0.3),
        "downsample": posterior.downsample(2, [D], rng.normal(size=3), 0.3),
        "fourier": posterior.fourier(keep, rng.normal(size=(D, 2)), 0.3),
        "each": posterior.matrix(A, rng.normal(size=(5, 3)), 0.3),
    }


KINDS = list(measurements())
TIERS = [k if k == "matrix" else pytest.param(k, marks=pytest.mark.thorough) for k in KINDS]
SLOW = [pytest.param(k, marks=pytest.mark.slow) for k in KINDS if k != "matrix"]


def in_matrices(measurement, i):
    batched = jnp.ndim(jax.tree.leaves(measurement.y)[0]) == 2 and measurement.y.shape[0] == 5
    if batched and not isinstance(measurement.apply, Fourier):
        measurement = posterior.matrix(measurement.apply.dense, measurement.y[i], 0.3)
    return measurement.in_matrices((D,))


def moments(problem, x, sigma):
    """E[x0 | x] and Cov[x0 | x] of a mixture, from its components."""
    log_weights, means, covariances = [], [], []
    for k in range(len(problem.weights)):
        basis = np.eye(D) if problem.bases is None else problem.bases[k]
        c = basis * problem.variances[k] @ basis.T
        total = c + sigma**2 * np.eye(D)
        gain = c @ np.linalg.inv(total)
        gap = x - problem.means[k]
        means.append(problem.means[k] + gain @ gap)
        covariances.append(c - gain @ c)
        density = -0.5 * (gap @ np.linalg.solve(total, gap) + np.linalg.slogdet(total)[1])
        log_weights.append(np.log(problem.weights[k]) + density)
    w = np.exp(np.array(log_weights) - max(log_weights))
    w /= w.sum()
    mean = w @ np.array(means)
    second = sum(w[k] * (covariances[k] + np.outer(means[k], means[k])) for k in range(len(w)))
    return mean, second - np.outer(mean, mean)


def all_methods(problem, measurement):
    """The outputs of all methods, as one program."""
    methods = {
        "tmpd": posterior.tmpd(problem, measurement),
        "mmps": posterior.mmps(problem, measurement, iterations=50),
        "gmres": posterior.mmps(problem, measurement, iterations=50, solver="gmres"),
        "pigdm": posterior.pigdm(problem, measurement, data_var=0.4),
    }
    return jax.jit(lambda x, sigma: {name: made(x, sigma) for name, made in methods.items()})


def of_gaussian(mean, cov, x, sigma, a, y, noise):
    """E[x0 | x, y] by Bayes' rule: both x and y are measurements of x0."""
    precision = np.linalg.inv(cov) + np.eye(D) / sigma**2 + a.T @ (a / noise[:, None])
    right = np.linalg.solve(cov, mean) + x / sigma**2 + a.T @ (y / noise)
    return np.linalg.solve(precision, right)


@pytest.mark.parametrize("kind", ["matrix", *SLOW])
def test_exact_on_gaussians(kind, x64):
    measurement = measurements()[kind]
    made = all_methods(ej.problems.Gaussian(MEAN, COV), measurement)
    for sigma in LEVELS:
        for name, got in made(X, sigma).items():
            for i, x in enumerate(X):
                want = of_gaussian(MEAN, COV, x, sigma, *in_matrices(measurement, i))
                if name != "pigdm":
                    np.testing.assert_allclose(got[i], want, rtol=0, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("kind", ["matrix", *SLOW])
def test_pigdm_is_exact_on_white_data(kind, x64):
    measurement = measurements()[kind]
    problem = ej.problems.Gaussian(MEAN, 1.7)
    method = jax.jit(posterior.pigdm(problem, measurement, data_var=1.7).__call__)
    for sigma in LEVELS:
        got = method(X, sigma)
        for i, x in enumerate(X):
            cov = 1.7 * np.eye(D)
            want = of_gaussian(MEAN, cov, x, sigma, *in_matrices(measurement, i))
            np.testing.assert_allclose(got[i], want, rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", TIERS)
def test_the_formulas_on_mixtures(kind, x64):
    measurement = measurements()[kind]
    methods = all_methods(MIXTURE, measurement)
    for sigma in (0.3, 1.0, 5.0):
        made = methods(X, sigma)
        for i, x in enumerate(X):
            mean, cov = moments(MIXTURE, x, sigma)
            a, y, noise = in_matrices(measurement, i)
            for name, got in made.items():
                spread = cov if name != "pigdm" else sigma**2 * 0.4 / (sigma**2 + 0.4) * np.eye(D)
                total = a @ spread @ a.T + np.diag(noise)
                want = mean + cov @ a.T @ np.linalg.solve(total, y - a @ mean)
                np.testing.assert_allclose(got[i], want, rtol=0, atol=1e-6, err_msg=name)
