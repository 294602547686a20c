"""P1, P2 and P3 against golden numbers: parameters, denoisers, and the ends of their flows.

The golden numbers are from another package (diffrax's Dopri8 at 1e-10 in log sigma) and other code
for the denoisers. The first 8 of the starts at sigma 80, and their ends at 0.002.
"""

import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.stats import multivariate_normal

import edmjax as ej

NAMES = ("P1", "P2", "P3")
GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "support" / "golden" / "few_step.npz")

everyone = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def problem_of(name):
    return getattr(ej.problems, name)()


@everyone
def test_denoisers_are_the_golden_ones(name):
    x, want = GOLDEN[f"{name}_check_x"], GOLDEN[f"{name}_check_denoised_at_0.8"]
    np.testing.assert_allclose(problem_of(name)(x, 0.8), want, rtol=0, atol=1e-12)


@pytest.mark.slow  # about 3 s each, of tight tolerances
@everyone
def test_flows_end_where_the_golden_ones_do(name):
    start, want = GOLDEN[f"{name}_x_start"], GOLDEN[f"{name}_x_end"]
    denoise = jax.jit(problem_of(name).denoise)

    def flow(log_sigma, x):
        x = x.reshape(start.shape)
        return (x - np.asarray(denoise(x, np.exp(log_sigma)))).ravel()

    interval = np.log(80.0), np.log(0.002)
    got = solve_ivp(flow, interval, start.ravel(), method="DOP853", rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(got.y[:, -1].reshape(start.shape), want, rtol=0, atol=1e-10)


def test_P2_is_the_mixture_of_its_covariances():
    p2 = problem_of("P2")
    covs = np.einsum("kij,kj,klj->kil", p2.bases, p2.variances, p2.bases)
    sigma, x = 0.3, GOLDEN["P2_check_x"][:3]
    parts = [
        np.log(w) + multivariate_normal(m, c + sigma**2 * np.eye(64)).logpdf(x)
        for w, m, c in zip(p2.weights, p2.means, covs, strict=True)
    ]
    np.testing.assert_allclose(
        p2.log_prob(x, sigma), np.logaddexp.reduce(parts), rtol=1e-11, atol=0
    )
    # And of low rank: 24 directions, and a floor that is the same in all others.
    assert (p2.variances[:, 24:] == p2.variances[0, 24]).all() and p2.variances[0, 24] < 1e-5
    np.testing.assert_allclose(
        np.einsum("kij,kil->kjl", p2.bases, p2.bases),
        np.broadcast_to(np.eye(64), (10, 64, 64)),
        rtol=0,
        atol=1e-13,
    )


@pytest.mark.slow
@everyone
def test_score_is_the_gradient_of_log_prob(name):
    problem, x = problem_of(name), GOLDEN[f"{name}_check_x"][:2]
    slope = jax.grad(lambda x: problem.log_prob(x, 0.5).sum())(x)
    np.testing.assert_allclose(problem.score(x, 0.5), slope, rtol=1e-9, atol=1e-9)
    denoised = x + 0.25 * problem.score(x, 0.5)
    np.testing.assert_allclose(problem.denoise(x, 0.5), denoised, rtol=0, atol=1e-12)


@pytest.mark.slow
@everyone
def test_samples_have_the_width_of_the_data(name):
    # About its mean over the data, as in the golden file; P1 and P2 are the mixtures' own.
    x = np.asarray(problem_of(name).sample(jax.random.key(1), 4000))
    assert x.dtype == np.float64
    width = np.sqrt(np.mean((x - x.mean(axis=0)) ** 2))
    # 4 standard errors, with at least 2 coordinates of kurtosis below 3: 4 width / sqrt(4 * 4000).
    assert abs(width - GOLDEN[f"{name}_sigma_data"]) < 0.032 * width


def test_P3_are_the_digits():
    data = problem_of("P3")
    points = data.centred + data.centre
    datasets = pytest.importorskip("sklearn.datasets")
    np.testing.assert_allclose(points, datasets.load_digits().data / 8 - 1, rtol=0, atol=1e-15)
    assert data.std == 0.05


def test_no_scikit_learn_at_run_time():
    code = "import sys, edmjax as ej; ej.problems.P3(); assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
