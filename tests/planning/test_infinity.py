"""A first level of infinity (zero terminal signal-to-noise), in the scale of a process."""

import itertools

import jax
import numpy as np
import pytest
from jax import random
from support.helpers import mixture

import edmjax as ej
from edmjax import samplers as s

FLOW = ej.processes.flow()
TIMES = np.linspace(1.0, 0.0, 9)
LEVELS = FLOW.levels(TIMES)
START = np.random.default_rng(0).normal(size=(6, 2))


def far(sigma):
    """The same grid from a finite level."""
    return ej.processes.Levels(
        np.append(sigma, LEVELS.sigmas[1:]), np.append(sigma / (1 + sigma), TIMES[1:]), FLOW
    )


def test_euler_in_the_flow_is_the_rectified_flows(x64):
    """x' = x + (t' - t) v with v = noise - x0: from t = 1, where x0 is the mean of the data."""
    problem, x = mixture(), START
    for t, t_next in itertools.pairwise(TIMES):
        if t == 1:
            denoised = np.broadcast_to(problem.weights @ problem.means, x.shape)
        else:
            denoised = problem.denoise(x / (1 - t), t / (1 - t))
        x = x + (t_next - t) * (x - denoised) / t
    plan = ej.make_plan(s.euler(), LEVELS)
    assert plan.grid[0] == np.inf and np.isfinite(plan.sigmas).all()
    got = ej.sample(problem, plan, START)
    np.testing.assert_allclose(got, x, rtol=0, atol=1e-9)
    np.testing.assert_allclose(plan.sigmas[0] * plan.scale[0], 1.0)  # the noise to start from


@pytest.mark.parametrize(
    "make",
    [s.euler, s.ddpm, lambda: s.ddim(0.4), s.lms, s.ipndm_v, lambda: s.churn(s.euler(), 4, 0, 5)],
)
def test_powers_of_the_level_vanish(x64, make):
    plan, finite = ej.make_plan(make(), LEVELS), ej.make_plan(make(), far(1e9))
    for name in ("y", "d", "z"):
        np.testing.assert_allclose(getattr(plan, name), getattr(finite, name), atol=1e-7)


@pytest.mark.parametrize(
    "make",
    [s.dpmpp_2m, s.dpmpp_3m, s.deis, s.unipc, s.res_multistep, s.dpmpp_2m_sde, s.sa_solver],
)
def test_logarithms_of_the_level_go_to_their_limit(make):
    """The gap closes as the reciprocal of the logarithm does, and not faster or to elsewhere."""
    limit = ej.make_plan(make(), LEVELS)
    gaps = []
    for sigma in (1e35, 1e70, 1e140):
        plan = ej.make_plan(make(), np.append(sigma, LEVELS.sigmas[1:]))
        gaps.append(np.abs(limit.d - plan.d * limit.scale[:, None]).max())
    assert gaps[2] > 1e-4
    np.testing.assert_allclose(gaps[0] / gaps[1], 2.0, rtol=0.1)
    np.testing.assert_allclose(gaps[1] / gaps[2], 2.0, rtol=0.05)


def test_dpmpp_2m_starts_again_after_an_infinite_step():
    """Its second step extrapolates over the first, which is infinitely long: to nothing."""
    plan = ej.make_plan(s.dpmpp_2m(), LEVELS)
    euler = ej.make_plan(s.euler(), LEVELS)
    np.testing.assert_allclose(plan.d[:3, 0], euler.d[:3, 0], atol=1e-11)
    np.testing.assert_allclose(plan.d[2, 1], 0.0, atol=1e-11)
    assert abs(plan.d[3, 1]) > 0.05


def test_float32_and_gradients(x64):
    plan, problem = ej.make_plan(s.dpmpp_2m(), LEVELS), mixture()
    exact = ej.sample(problem, plan, START)
    with jax.enable_x64(False):
        got = ej.sample(problem, plan, START.astype(np.float32))
        slope = jax.grad(lambda x: ej.sample(problem, plan, x).sum())(START.astype(np.float32))
    np.testing.assert_allclose(got, exact, atol=5e-6)
    assert np.isfinite(slope).all()


def by_differences(x, at):
    """Euler as x + h (x - D) / sigma: at a large level it loses the small part of a number."""
    return x + (at.sigma_next - at.sigma) / at.sigma * (x - at.denoise(x, at.sigma))


def test_a_sum_that_loses_its_small_part_at_large_levels():
    plan, want = ej.make_plan(by_differences, LEVELS), ej.make_plan(s.euler(), LEVELS)
    for name in ("y", "d", "sigmas", "scale"):
        np.testing.assert_allclose(getattr(plan, name), getattr(want, name), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "sampler",
    [s.heun(), s.dpm_2(), s.midpoint(), s.churn(s.euler(), 4.0)],
)
def test_what_has_no_limit_gets_a_sentence(sampler):
    """On levels of a flow the first three step in its time, and have one."""
    with pytest.raises(ValueError, match="have no limit: use one of `euler`"):
        ej.make_plan(sampler, ej.processes.cosine().levels(TIMES))


def test_infinity_stands_first_and_in_a_scale():
    with pytest.raises(ValueError, match=r"must be finite and not negative, got sigmas\[0\] = inf"):
        ej.make_plan(s.euler(), [np.inf, 1.0, 0.0])
    levels = ej.processes.Levels(np.array([np.inf, np.inf, 1.0]), np.array([1.0, 1.0, 0.5]), FLOW)
    with pytest.raises(ValueError, match="only the first may be infinite"):
        ej.make_plan(s.euler(), levels)
    with pytest.raises(ValueError, match="has a scale of 0: give infinity itself"):
        ej.make_plan(s.euler(), far(1e70))
    traced = jax.jit(
        lambda t: ej.make_plan(
            s.euler(), ej.processes.Levels([np.inf, t, 0.5], [1.0, 0.6, 0.3], FLOW)
        )
    )
    with pytest.raises(ValueError, match="must be numbers, not traced"):
        traced(1.0)


# ---- variances that the network learned


def learned(x, at):
    """Euler down to half the next level, and noise with the learned exponent back up."""
    denoised = at.denoise(x, at.sigma)
    r = at.sigma_next / 2 / at.sigma
    x = r * x + (1 - r) * denoised
    return x if at.last else x + at.sigma_next * at.noise(at.sigma, at.sigma_next, log_var=0.3)


def test_learned_variances_scale_the_draw_point_by_point(x64):
    grid, problem = ej.schedules.karras(6), mixture()
    plan = ej.make_plan(learned, grid)
    assert plan.v.shape == plan.z.shape and plan.num_draws == 5

    def denoise(x, sigma):
        return {"x0": problem.denoise(x, sigma), "log_var": jax.numpy.sin(x)}

    x = 80 * START
    noise = ej.draw_noise(plan, random.key(0), x)
    expected = x
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(grid)):
        r = sigma_next / 2 / sigma
        spread = sigma_next * np.exp(0.3 * np.sin(expected))
        expected = r * expected + (1 - r) * np.asarray(problem.denoise(expected, sigma))
        if sigma_next:
            expected = expected + spread * noise[i]
    got = ej.sample(denoise, plan, x, random.key(0))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ej.sample(denoise, plan, x, noise=noise), expected, atol=1e-12)
    padded = ej.make_plan(s.ddpm(), grid, like=plan)
    np.testing.assert_allclose(
        ej.sample(denoise, padded, x, noise=noise),
        ej.sample(problem, ej.make_plan(s.ddpm(), grid), x, noise=noise),
        rtol=1e-12,
    )


def test_learned_variances_need_a_network_that_learned_them():
    plan = ej.make_plan(learned, ej.schedules.karras(6))
    with pytest.raises(ValueError, match="the denoiser returned no 'log_var'"):
        ej.sample(mixture(), plan, START.astype(np.float32), random.key(0))

    def late(x, at):
        z = at.memory.setdefault("z", at.noise(log_var=1.0))
        return x + 0.0 * at.denoise(x, at.sigma) + z

    with pytest.raises(ValueError, match="must enter the point after the evaluation"):
        ej.make_plan(late, ej.schedules.karras(6))
