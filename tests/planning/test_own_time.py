"""Euler-Maruyama in the time and the scale of a process."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.cases import golden
from support.helpers import mixture, over
from support.laws import weak_order

import edmjax as ej
from edmjax import samplers as s

# Drift and diffusion as the papers write them, and the marginal's scale and level.
LOG = np.log(80.0 / 0.01)
PAPERS = {
    "vp": (
        ej.processes.vp,
        lambda t: -(0.1 + 19.9 * t) / 2,
        lambda t: np.sqrt(0.1 + 19.9 * t),
        lambda t: np.exp(-(0.1 * t + 19.9 * t**2 / 2) / 2),
        lambda t: np.sqrt(np.expm1(0.1 * t + 19.9 * t**2 / 2)),
    ),
    "ve": (
        lambda: ej.processes.ve(0.01, 80.0),
        lambda t: 0.0,
        lambda t: 0.01 * 8000.0**t * np.sqrt(2 * LOG),
        lambda t: 1.0,
        lambda t: 0.01 * 8000.0**t,
    ),
    "flow": (
        ej.processes.flow,
        lambda t: -1 / (1 - t),
        lambda t: np.sqrt(2 * t / (1 - t)),
        lambda t: 1 - t,
        lambda t: t / (1 - t),
    ),
}


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_the_papers_update_in_the_processs_own_scale(x64, name, lam):
    make, f, g, scale, sigma = PAPERS[name]
    problem, rng, times = mixture(), np.random.default_rng(0), np.linspace(0.9, 0.05, 8)
    levels = make().levels(times)
    plan = ej.make_plan(s.euler_maruyama(make(), lam), levels)
    noise = rng.normal(size=(plan.num_draws, 16, 2))
    x = start = rng.normal(size=(16, 2))
    for i, (t, t_next) in enumerate(itertools.pairwise(times)):
        score = (problem.denoise(x / scale(t), sigma(t)) - x / scale(t)) / sigma(t) ** 2 / scale(t)
        step = t - t_next
        x = x - step * (f(t) * x - (1 + lam**2) / 2 * g(t) ** 2 * score)
        if lam:
            x = x + lam * g(t) * np.sqrt(step) * noise[i]
    got = ej.sample(problem, plan, start, noise=noise)  # held in the scale of the process
    np.testing.assert_allclose(got, x, rtol=0, atol=1e-12 * np.abs(x).max())
    # The same levels without their times, and points held as they are.
    bare = ej.make_plan(s.euler_maruyama(make(), lam), levels.sigmas)
    got = ej.sample(problem, bare, start / scale(times[0]), noise=noise) * scale(times[-1])
    np.testing.assert_allclose(got, x, rtol=0, atol=1e-10 * np.abs(x).max())


def test_the_edm_process_is_the_default():
    grid = ej.schedules.karras(12)
    for lam, final in ((1.0, "denoise"), (0.3, "mean")):
        plans = (
            ej.make_plan(s.euler_maruyama(process, lam, final), grid)
            for process in (None, ej.processes.edm())
        )
        for one, other in zip(*map(jax.tree.leaves, plans), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("case", golden("song_sde")["cases"], ids=lambda case: f"{case['n']}")
def test_songs_tutorial(x64, case):
    """Steps of one size from 1 to eps and, as its loop has it, one more of that size: a mean."""
    stored = golden("problem")
    problem = ej.problems.Mixture(stored["weights"], stored["means"], stored["std"] ** 2)
    noise, bank = np.array(stored["noise"]), np.array(stored["bank"])
    process, times = ej.processes.song_ve(case["sigma"]), np.linspace(1, case["eps"], case["n"])
    beyond = 2 * times[-1] - times[-2]
    levels = ej.processes.Levels(
        np.append(process.sigma(times), 0.0), np.append(times, beyond), process
    )
    plan = ej.make_plan(s.euler_maruyama(process, final="method"), levels)
    got = ej.sample(problem, plan, noise * plan.grid[0], noise=bank[: plan.num_draws])
    expected = np.array(case["euler_maruyama"])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("name", over(PAPERS, ["vp"], ["flow"]))
def test_weak_order(name):
    process = PAPERS[name][0]()
    for lam in (0.5, 1.0):
        assert abs(weak_order(lambda n, lam=lam: s.euler_maruyama(process, lam)) - 1) < 0.15


def test_the_last_step():
    process, times = ej.processes.vp(), np.linspace(1.0, 0.01, 6)
    above, to_zero = process.levels(times), process.levels(np.append(times, 0.0))
    assert ej.make_plan(s.euler_maruyama(process), above).num_draws == 5
    assert ej.make_plan(s.euler_maruyama(process, final="method"), above).num_draws == 4
    plan = ej.make_plan(s.euler_maruyama(process), to_zero)
    np.testing.assert_array_equal(plan.y[-1], 0.0)
    np.testing.assert_array_equal(plan.d[-1], 1.0)
    mean = ej.make_plan(s.euler_maruyama(process, final="method"), to_zero)
    # By hand at t = 0.01: beta 0.299, B = 0.001995, scale = e^(-B / 2), variance 1 - e^-B.
    pull = -0.01 * 0.299 / -np.expm1(-0.001995)
    expected = np.exp(-0.001995 / 2) * (1 + 0.01 * 0.299 / 2 + pull)
    assert mean.num_draws == 5 and mean.y[-1, 0] / mean.scale[-1] * mean.scale[-2] == (
        pytest.approx(expected, rel=1e-12)
    )


def test_a_level_that_a_wrapper_has_moved_is_not_at_the_grids_time():
    process = ej.processes.vp()
    levels, sampler = process.levels(np.linspace(1.0, 0.01, 6)), s.euler_maruyama(process)
    plan = ej.make_plan(s.churn(sampler, 2.0), levels)
    bare = ej.make_plan(s.churn(sampler, 2.0), levels.sigmas)
    assert np.all(plan.sigmas > levels.sigmas[:-1])
    np.testing.assert_allclose(plan.d / plan.scale[:, None], bare.d, rtol=1e-9)


@pytest.mark.slow
def test_slopes_in_lam_the_times_and_the_process(x64):
    times, x = np.linspace(0.9, 0.1, 5), np.random.default_rng(1).normal(size=(4, 2))
    noise = np.random.default_rng(2).normal(size=(4, 4, 2))

    @jax.jit
    def loss(values):
        process = ej.processes.vp(values[0], values[1])
        sampler = s.euler_maruyama(process, values[2])
        plan = ej.make_plan(sampler, process.levels(values[3:]), ends_at_zero=False)
        return jnp.sum(jnp.sin(ej.sample(mixture(), plan, x, noise=noise)))

    values = np.concatenate([[0.1, 20.0, 0.7], times])
    gradient = jax.grad(loss)(jnp.asarray(values))
    for i, value in enumerate(values):
        bump = 1e-6 * value * (np.arange(len(values)) == i)
        difference = (loss(values + bump) - loss(values - bump)) / (2e-6 * value)
        np.testing.assert_allclose(gradient[i], difference, rtol=1e-5, atol=1e-7)


def test_bad_options_get_a_sentence(unchecked):
    with pytest.raises(TypeError, match=r"such as `ej.processes.vp\(\)`, got <function vp"):
        s.euler_maruyama(ej.processes.vp)
    with pytest.raises(TypeError, match="`process` must be a process"):
        s.euler_maruyama(1.0)
    with pytest.raises(ValueError, match="no time at sigma = 0"):
        ej.make_plan(s.euler_maruyama(ej.processes.ve(), final="method"), [1.0, 0.5, 0.0])
