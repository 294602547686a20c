"""Rows of docs/coming_from.md, run against what the other library computes.

score_sde is transcribed from the formulas of Song et al. (2021) and the loop of Algorithm 1 with
the batch norms of its code; k-diffusion and diffusers are in the golden numbers of the samplers.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import edmjax as ej

MEAN, VARIANCE = 0.3, 0.25


def vp_sde(t, low=0.1, high=20.0):
    """`VPSDE.marginal_prob`: the factor of the data and the deviation of the noise."""
    log_mean = -0.25 * t**2 * (high - low) - 0.5 * t * low
    return np.exp(log_mean), np.sqrt(1 - np.exp(2 * log_mean))


def sub_vp_sde(t):
    mean, std = vp_sde(t)
    return mean, std**2


def ve_sde(t, low=0.01, high=50.0):
    return np.ones_like(t), low * (high / low) ** t


SDES = {
    "vp": (ej.processes.vp(0.1, 20.0), vp_sde),
    "sub_vp": (ej.processes.sub_vp(0.1, 20.0), sub_vp_sde),
    "ve": (ej.processes.ve(0.01, 50.0), ve_sde),
}


def score_fn(process, x, t):
    """The exact score of Gaussian data at the points that the SDE has at time `t`."""
    alpha, std = process.marginal(t)
    return -(x - alpha * MEAN) / (alpha**2 * VARIANCE + std**2)


SLOWER = pytest.mark.thorough


@pytest.mark.parametrize(
    "name", ["sub_vp", pytest.param("vp", marks=SLOWER), pytest.param("ve", marks=SLOWER)]
)
def test_a_score_function_of_the_sde_is_a_denoiser_with_its_process(name, x64):
    process, marginal = SDES[name]
    times = np.linspace(1e-3, 1, 9)
    np.testing.assert_allclose(np.stack(process.marginal(times)), np.stack(marginal(times)), 1e-9)
    problem = ej.problems.Gaussian([MEAN], VARIANCE)
    denoise = ej.denoisers.from_score(functools.partial(score_fn, process), process)
    x = jnp.linspace(-2, 2, 9)[:, None]
    both = jax.jit(lambda x, sigma: (denoise(x, sigma), problem.denoise(x, sigma)))
    for t in times:
        sigma = float(process.sigma(t))
        got, expected = both(sigma * x, sigma)
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-8)
    # One level a sample, and a function of (batch,) times as score_sde has it.
    of_batch = ej.denoisers.from_score(
        lambda x, t: score_fn(process, x, jnp.broadcast_to(t, len(x))[:, None]), process
    )
    sigmas = process.sigma(times)
    x = jnp.asarray(sigmas)[:, None] * x
    expected = problem.denoise(x, jnp.asarray(sigmas))
    got = jax.jit(of_batch)(x, jnp.asarray(sigmas))
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["vp", "sub_vp"])
def test_samples_from_a_score_function_have_the_law_of_the_data(name, x64):
    """s.d. 0.494 on this grid, by the exact flow; the score alone, with `t` in place of sigma, is
    the score of other points."""
    process, _ = SDES[name]
    denoise = ej.denoisers.from_score(functools.partial(score_fn, process), process)
    grid = process.levels(np.append(np.linspace(1, 1e-3, 200), 0))
    n = jax.random.normal(jax.random.key(0), (20_000, 1))
    x0 = ej.sample(denoise, ej.make_plan(ej.samplers.ddim(), grid), n * process.prior_std)
    assert abs(float(x0.mean()) - MEAN) < 0.01 and abs(float(x0.std()) - 0.494) < 0.01


@pytest.mark.thorough
def test_the_predictor_and_corrector_of_score_sde(x64):
    """`get_pc_sampler` with `ReverseDiffusionPredictor`, `LangevinCorrector`, `denoise=True`."""
    n, snr, low, high = 12, 0.16, 0.01, 50.0
    process, draws = ej.processes.ve(low, high), np.random.default_rng(0)
    z = draws.normal(size=(2 * n, 6, 5))
    x = start = high * draws.normal(size=(6, 5))
    levels = np.exp(np.linspace(np.log(high), np.log(low), n))
    for i, sigma in enumerate(levels):
        score = score_fn(process, x, process.time(sigma))
        ratio = np.linalg.norm(z[2 * i], axis=1).mean() / np.linalg.norm(score, axis=1).mean()
        step = 2 * (snr * ratio) ** 2
        x = x + step * score + np.sqrt(2 * step) * z[2 * i]
        below = levels[i + 1] if i + 1 < n else 0.0
        mean = x + (sigma**2 - below**2) * score_fn(process, x, process.time(sigma))
        x = mean + np.sqrt(sigma**2 - below**2) * z[2 * i + 1]
    denoise = ej.denoisers.from_score(functools.partial(score_fn, process), process)
    plan = ej.make_plan(ej.samplers.reverse_diffusion(), np.append(levels, 0))
    correct = ej.correctors.langevin(snr, norm="batch")
    got = start
    for i in range(n):  # the corrector's draws come from the same list, in turn
        sigma, below = plan.grid[i : i + 2]
        got = correct(denoise, jnp.asarray(got), sigma, jnp.asarray(z[2 * i : 2 * i + 1]))
        one = ej.make_plan(ej.samplers.reverse_diffusion(), [sigma, below])
        drawn = jnp.asarray(z[2 * i + 1 : 2 * i + 2]) if below else None
        got = ej.sample(denoise, one, got, noise=drawn)
    np.testing.assert_allclose(got, mean, rtol=1e-9, atol=1e-9)


def test_a_score_needs_a_process_or_none():
    with pytest.raises(TypeError, match="`process` must be a process"):
        ej.denoisers.from_score(lambda x, t: x, "vp")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`score_fn`"):
        ej.denoisers.from_score(3, ej.processes.vp())  # type: ignore[arg-type]
